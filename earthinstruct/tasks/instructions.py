"""The instruction texts for language models, in our own words: one text for each task."""

from __future__ import annotations

import json

from earthinstruct.contract import Setting
from earthinstruct.tasks.categories import Vocabulary


def instruction_text(vocabulary: Vocabulary, setting: Setting, parent: str | None = None) -> str:
    """Write the prompt of a task.

    Args:
        vocabulary: the categories and annotation rules of the dataset.
        setting: the setting of the task.
        parent: the parent category; open_subclass only.
    """
    example = {"first kind": 2, "second kind": 1}
    lines = ["You are looking at one image taken from above, by a satellite or an aircraft."]
    if setting == "open_vocabulary":
        lines += [
            "Count the objects of each of these categories: " + ", ".join(vocabulary.categories) + ".",
            "Use the category names exactly as given, and give 0 for a category that is not there.",
        ]
        example = dict.fromkeys(vocabulary.categories[:2], 0)
    elif setting == "open_ended":
        lines += [
            "Name every kind of object that you can see, and count the objects of each kind.",
            "Name a kind by a short English noun in the singular. Leave out what you cannot see clearly.",
        ]
    else:
        lines += [
            f"Name every kind of {parent} that you can see, and count the objects of each kind.",
            "Name a kind by a short English noun in the singular. Leave out everything that is not a kind of "
            f"{parent}. If there is none, answer {{}}.",
        ]
    if vocabulary.resolution:
        lines.append(f"Images of this collection have a ground resolution of {vocabulary.resolution}.")
    if setting == "open_vocabulary":
        lines += vocabulary.rules
    elif setting == "open_ended":
        lines.append("Where objects are too small or too dense to be counted reliably, leave that kind out.")
    lines.append(
        f"Answer with one JSON object of names and whole numbers, such as {json.dumps(example)}, and nothing else."
    )
    return "\n".join(lines)
