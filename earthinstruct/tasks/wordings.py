"""The suite of wordings: the same instruction in other words, in five languages, and with other names of categories.

Every wording states the facts of the plain text. A change of a sentence or of a name needs a new `VERSION`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from earthinstruct.tasks.categories import Vocabulary
from earthinstruct.tasks.instructions import PLAIN, Phrases
from earthinstruct.tasks.labels import forms, normalised
from earthinstruct.tasks.languages import CHINESE, FRENCH, GERMAN, PORTUGUESE, SPANISH

VERSION = "1"

_TERSE = Phrases(
    view="Aerial or satellite image.",
    count="Count, by category: {names}.",
    exactly="Names exactly as given; 0 where a category is absent.",
    everything="Name and count every kind of object in view.",
    noun="Kinds as short English nouns, singular.",
    unclear="Nothing that is not clearly visible.",
    of_parent="Name and count every kind of {parent} in view.",
    others="Nothing that is not a kind of {parent}; {{}} if there is none.",
    resolution="Ground resolution of the collection: {resolution}.",
    dense="No kinds whose objects are too small or too dense to be counted reliably.",
    answer="Reply with one JSON object of names and whole numbers, such as {example}, and nothing else.",
)
_POLITE = Phrases(
    view="Here is one image that a satellite or an aircraft took from above.",
    count="Could you please count the objects of each of the following categories? {names}.",
    exactly="Please write the names of the categories exactly as they are given, and write 0 for a category that the "
    "image does not show.",
    everything="Could you please name every kind of object that is visible, and count the objects of each kind?",
    noun="Please name each kind by a short English noun in the singular.",
    unclear="Please leave out what is not clearly visible.",
    of_parent="Could you please name every kind of {parent} that is visible, and count the objects of each kind?",
    others="Please leave out whatever is not a kind of {parent}. Please answer {{}} if there is none.",
    resolution="The images of this collection have a ground resolution of {resolution}.",
    dense="Please leave out a kind if its objects are too small or too dense to be counted reliably.",
    answer="Please answer with one JSON object of names and whole numbers, for example {example}, and with nothing "
    "else. Thank you.",
)
_EXPERT = Phrases(
    view="You are an expert in the interpretation of images taken from above by satellites and aircraft. You are given "
    "one such image.",
    count="Determine the number of objects of each of these categories: {names}.",
    exactly="Report each category under exactly the name given here. Report 0 for a category without objects.",
    everything="Identify every kind of object in the image, and determine the number of objects of each kind.",
    noun="Report a kind as a short English noun in the singular.",
    unclear="Do not report what cannot be seen clearly.",
    of_parent="Identify every kind of {parent} in the image, and determine the number of objects of each kind.",
    others="Do not report anything that is not a kind of {parent}. Report {{}} if there is none.",
    resolution="The ground resolution of the images in this collection is {resolution}.",
    dense="Do not report a kind whose objects are too small or too dense for a reliable count.",
    answer="Report one JSON object of names and whole numbers, such as {example}, and nothing else.",
)
_QUESTION = Phrases(
    view="The image was taken from above, by a satellite or an aircraft.",
    count="How many objects of each of these categories does it show: {names}?",
    exactly="The answer uses exactly these names, with 0 for a category that the image does not show.",
    everything="Which kinds of objects does it show, and how many objects of each kind?",
    noun="The answer names a kind by a short English noun in the singular.",
    unclear="It leaves out what is not clearly visible.",
    of_parent="Which kinds of {parent} does it show, and how many objects of each kind?",
    others="It leaves out everything that is not a kind of {parent}, and is {{}} if there is none.",
    resolution="What is the ground resolution? In this collection it is {resolution}.",
    dense="It leaves out a kind whose objects are too small or too dense to be counted reliably.",
    answer="The answer is one JSON object of names and whole numbers, such as {example}, and nothing else.",
)

# a name -> another one of the same thing
SYNONYMS: Mapping[str, str] = {
    "airplane": "aircraft",
    "airport": "airfield",
    "baseball field": "baseball diamond",
    "basketball court": "court for basketball",
    "bridge": "river crossing",
    "building": "edifice",
    "car": "automobile",
    "chimney": "smokestack",
    "dam": "barrage",
    "expressway service area": "motorway rest area",
    "expressway toll station": "motorway toll plaza",
    "golf field": "golf course",
    "ground track field": "running track",
    "harbor": "dock",
    "helicopter": "chopper",
    "large vehicle": "truck",
    "overpass": "flyover",
    "person": "human",
    "plane": "aircraft",
    "roundabout": "traffic circle",
    "ship": "vessel",
    "small vehicle": "car",
    "soccer ball field": "football pitch",
    "stadium": "sports arena",
    "storage tank": "oil tank",
    "swimming pool": "pool",
    "tennis court": "court for tennis",
    "track field": "running track",
    "train station": "railway station",
    "tree": "woody plant",
    "truck": "lorry",
    "vehicle": "car",
    "windmill": "wind turbine",
    "means of transport": "mode of transport",
    "sports field": "sports ground",
}


_NO_OTHER_PLURAL = ("aircraft", "means of transport")


def _plural(name: str) -> str:
    if normalised(name) in _NO_OTHER_PLURAL or len(forms(name)) > 1:  # in the plural already
        return name
    if re.search(r"(s|x|z|ch|sh)$", name):
        return f"{name}es"
    return re.sub(r"y$", "ie", name) + "s" if re.search(r"[^aeiou]y$", name) else f"{name}s"


def _synonym(name: str) -> str:
    return SYNONYMS.get(normalised(name), name)


def _hyphens(name: str) -> str:
    return re.sub(r"[ _]", "-", name)


# name of a wording -> its sentences, and the form of the names in it. The first ones differ most.
SUITE: Mapping[str, tuple[Phrases, Callable[[str], str]]] = {
    "terse": (_TERSE, str),
    "synonyms": (PLAIN, _synonym),
    "german": (GERMAN, str),
    "upper-case": (PLAIN, str.upper),
    "reversed": (PLAIN, str),
    "chinese": (CHINESE, str),
    "polite": (_POLITE, str),
    "plural": (PLAIN, _plural),
    "facts-first": (replace(PLAIN, facts_first=True), str),
    "spanish": (SPANISH, str),
    "hyphens": (PLAIN, _hyphens),
    "expert": (_EXPERT, str),
    "french": (FRENCH, str),
    "sorted": (PLAIN, str),
    "question": (_QUESTION, str),
    "portuguese": (PORTUGUESE, str),
}
_ORDER: Mapping[str, Callable[[tuple[str, ...]], tuple[str, ...]]] = {
    "reversed": lambda names: names[::-1],
    "sorted": lambda names: tuple(sorted(names)),
}


def worded(vocabulary: Vocabulary, wording: str) -> tuple[Vocabulary, Mapping[str, str]]:
    """The categories in a wording: as it names and orders them, with the rules, and its names -> the dataset's.

    A name that would stand for two categories stays as it is in the dataset.
    """
    rename = SUITE[wording][1]
    known = {form: name for name in vocabulary.categories for form in forms(name)}
    names: dict[str, str] = {}
    for name in _ORDER.get(wording, tuple)(vocabulary.categories):
        new = rename(name)
        taken = new in names or any(known.get(form, name) != name for form in forms(new))
        names[name if taken else new] = name
    rules = vocabulary.rules
    if wording == "synonyms":
        rules = tuple(_with_names(rule, names) for rule in rules)
    return replace(vocabulary, categories=tuple(names), rules=rules), names


def worded_parent(parent: str, wording: str) -> str:
    """A parent category in a wording."""
    return SUITE[wording][1](parent)


def _with_names(rule: str, names: Mapping[str, str]) -> str:
    """A rule that calls the categories by other names, in the number and with the article that they have there."""
    for new, name in names.items():
        if new == name:
            continue
        old = re.escape(name.replace("_", " "))
        rule = re.sub(rf"(\ban? )?\b{old}(s)?\b", partial(_in_place, new=new), rule, flags=re.IGNORECASE)
    return rule


def _in_place(found: re.Match[str], new: str) -> str:
    article, plural = found.groups()
    word = _plural(new) if plural else new
    if article:
        word = f"an {word}" if word[0] in "aeiou" else f"a {word}"
    return word[0].upper() + word[1:] if found[0][0].isupper() else word
