"""The instruction texts for language models, in our own words: one text for each task, and its other wordings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from earthinstruct.contract import Setting
from earthinstruct.tasks.categories import Vocabulary


@dataclass(frozen=True)
class Phrases:
    """The sentences that an instruction text is made of. All wordings state the same facts.

    Attributes:
        view: what the image is.
        count: count the objects of each of `{names}`.
        exactly: use these names, and give 0 for a category that is not there.
        everything: name and count every kind of object.
        noun: how to name a kind.
        unclear: what to leave out.
        of_parent: name and count every kind of `{parent}`.
        others: leave out what is no `{parent}`.
        resolution: the ground resolution, `{resolution}`.
        dense: leave out what cannot be counted reliably.
        answer: the form of the answer, such as `{example}`.
        to: the word between the ends of a range.
        space: what stands between two sentences of a line.
        rules: annotation rule in English -> the same rule; others are given as they are.
        facts_first: whether resolution and rules stand before the task.
    """

    view: str
    count: str
    exactly: str
    everything: str
    noun: str
    unclear: str
    of_parent: str
    others: str
    resolution: str
    dense: str
    answer: str
    to: str = "to"
    space: str = " "
    rules: Mapping[str, str] = field(default_factory=dict)
    facts_first: bool = False


PLAIN = Phrases(
    view="You are looking at one image taken from above, by a satellite or an aircraft.",
    count="Count the objects of each of these categories: {names}.",
    exactly="Use the category names exactly as given, and give 0 for a category that is not there.",
    everything="Name every kind of object that you can see, and count the objects of each kind.",
    noun="Name a kind by a short English noun in the singular.",
    unclear="Leave out what you cannot see clearly.",
    of_parent="Name every kind of {parent} that you can see, and count the objects of each kind.",
    others="Leave out everything that is not a kind of {parent}. If there is none, answer {{}}.",
    resolution="Images of this collection have a ground resolution of {resolution}.",
    dense="Where objects are too small or too dense to be counted reliably, leave that kind out.",
    answer="Answer with one JSON object of names and whole numbers, such as {example}, and nothing else.",
)


def instruction_text(
    vocabulary: Vocabulary, setting: Setting, parent: str | None = None, phrases: Phrases = PLAIN
) -> str:
    """Write the prompt of a task.

    Args:
        vocabulary: the categories and annotation rules of the dataset.
        setting: the setting of the task.
        parent: the parent category; open_subclass only.
        phrases: the wording.
    """
    example = {"first kind": 2, "second kind": 1}
    facts = []
    if vocabulary.resolution:
        resolution = vocabulary.resolution.replace(" to ", f" {phrases.to} ")
        facts.append(phrases.resolution.format(resolution=resolution))
    if setting == "open_vocabulary":
        task = [phrases.count.format(names=", ".join(vocabulary.categories)), phrases.exactly]
        facts += [phrases.rules.get(rule, rule) for rule in vocabulary.rules]
        example = dict.fromkeys(vocabulary.categories[:2], 0)
    elif setting == "open_ended":
        task = [phrases.everything, phrases.space.join((phrases.noun, phrases.unclear))]
        facts.append(phrases.dense)
    else:
        others = phrases.others.format(parent=parent)
        task = [phrases.of_parent.format(parent=parent), phrases.space.join((phrases.noun, others))]
    body = facts + task if phrases.facts_first else task + facts
    answer = phrases.answer.format(example=json.dumps(example))
    return "\n".join([phrases.view, *body, answer])
