"""Read a free instruction, such as "count every sports field", as one of the three settings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from earthinstruct.contract import Instruction, Setting
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks.categories import DIOR, NWPU, Vocabulary
from earthinstruct.tasks.instructions import instruction_text
from earthinstruct.tasks.labels import normalised
from earthinstruct.tasks.languages import NOT_ENGLISH

_POLITE = (
    r"please|kindly|hi|hello|(?:can|could|would|will) you|i (?:want|need|would like)(?: you)? to|i'd like(?: you)? to|"
    r"(?:help|let) me|tell me|and"
)
_VERB = (
    r"(?:count|find|detect|segment|locate|show|mark|outline|map|identify|list|label|draw|highlight|see|spot|give)"
    r"(?: me| us)?(?: (?:the )?(?:total )?(?:number|count) of| how many| where)?"
)
_QUESTION = (
    r"how many(?: of)?|(?:what(?: is|'s) )?(?:the )?(?:total )?number of|"
    r"what(?: is|'s) the count of|(?:what|which)(?! (?:is|are)\b)|"
    r"where (?:is|are|(?:can|do) (?:i|we|you) (?:find|see))|(?:is|are) there|do (?:you|we) see|can (?:we|i) see"
)
_BEGINS = re.compile(rf"^(?:(?:{_POLITE}),? )*(?P<asks>(?:{_QUESTION}|{_VERB}) )?", re.IGNORECASE)
_ENDS = re.compile(
    r"(?: (?:in|on|of|from|within) (?:this|the|that|my) (?:\w+ )?(?:image|picture|scene|photo|photograph|map|view)"
    r"|,? please| here| (?:that )?(?:is|are) (?:there|visible|present|shown)| there (?:is|are)| (?:is|are) there"
    r"|(?: that)? (?:(?:can|do|could) (?:you|we|i)|(?:you|we|i) can|you) (?:see|find|count|spot)| can be seen"
    r"| is| are|(?<=what)'s)+$",
    re.IGNORECASE,
)
_ALL = re.compile(r"^(?:all |every |each |any |some |both )?(?:of )?(?:the |these |those |a |an )?", re.IGNORECASE)
_KIND = re.compile(r"^(?:kinds?|types?|sorts?|classes|subclass(?:es)?) of ", re.IGNORECASE)
_EVERYTHING = ("everything", "all", "object", "anything", "thing", "visible object", "what")
# what no name of a thing holds: words of a question that was not understood, and the end of a sentence
_NO_NAME = re.compile(
    r"\b(?:how|what|where|which|who|why|when|is|are|was|were|do|does|did|there|you|please|many|much|any)\b"
    r"|[?¿؟]|[.!;] ",
    re.IGNORECASE,
)
_MOST_WORDS = 2  # of a name before a question mark, without words of a question that are understood
_PARENTS = {normalised(parent): parent for vocabulary in (DIOR, NWPU) for parent in vocabulary.parents}


def free_instruction(setting: Setting, categories: tuple[str, ...] = (), parent: str | None = None) -> Instruction:
    """Make the instruction of a setting for images that belong to no dataset."""
    return Instruction(setting, instruction_text(Vocabulary(categories), setting, parent), categories, parent)


def names_of_one_kind(categories: Iterable[str]) -> list[tuple[str, ...]]:
    """The names that differ only in case, separators or number: each kind that has several.

    >>> names_of_one_kind(["vehicle", "zebra", "Vehicles"])
    [('vehicle', 'Vehicles')]
    """
    kinds: dict[str, list[str]] = {}
    for name in categories:
        kinds.setdefault(normalised(name), []).append(name)
    return [tuple(names) for names in kinds.values() if len(names) > 1]


def read_instruction(text: str) -> Instruction:
    """Read an instruction in free words.

    "everything" and "all objects" are open_ended. A parent category of the benchmark ("sports field", "means of
    transport") and "every kind of ..." are open_subclass. A list of names is open_vocabulary, with the names in the
    singular. A question, such as "how many ships are there?" or "where are the harbors?", asks for what it names. The
    free words become the first line of the text for the language model.

    Args:
        text: what to find, in English, with or without a verb: "count the ships and harbors".

    Raises:
        EarthInstructError: the text names nothing to find, or it is a question or sentence that is not understood.

    >>> read_instruction("Count all ships, storage tanks and harbors.").categories
    ('ship', 'storage tank', 'harbor')
    >>> read_instruction("count every sports field").parent, read_instruction("find everything").setting
    ('sports field', 'open_ended')
    >>> read_instruction("How many cars are there in this image?").categories
    ('car',)
    >>> read_instruction("outline every kind of roof").parent
    'roof'
    """
    given = " ".join(unicodedata.normalize("NFKC", text).split())  # also question marks of full width
    words = given.rstrip(".!?。؟ ")
    asked = any(mark in given[len(words) :] for mark in "?؟")
    what = _ENDS.sub("", words)
    begins = _BEGINS.match(what)
    what = _ALL.sub("", _BEGINS.sub("", what))
    kind = _KIND.match(what)
    parent = normalised(_ALL.sub("", what[kind.end() :])) if kind else normalised(what)
    names = [parent] if kind else re.split(r"\s*,\s*(?:and )?| and | or ", what)
    found = tuple(dict.fromkeys(filter(None, (normalised(_ALL.sub("", _BEGINS.sub("", name))) for name in names))))
    if not found:
        raise EarthInstructError(f'instruction {text!r} names nothing to find; write for example "count the ships"')
    everything = normalised(what) in _EVERYTHING
    unsure = asked and not (begins and begins["asks"]) and any(len(name.split()) > _MOST_WORDS for name in found)
    if not everything and (unsure or NOT_ENGLISH.match(words) or any(map(_NO_NAME.search, found))):
        raise EarthInstructError(
            f"instruction {text!r} is not understood as a list of things; write it in plain English, such as "
            '"count the ships and harbors" or "how many ships are there?", or name the things themselves: '
            '--categories "ship, harbor"'
        )
    if everything:
        instruction = free_instruction("open_ended")
    elif kind or parent in _PARENTS:
        instruction = free_instruction("open_subclass", parent=_PARENTS.get(parent, parent))
    else:
        instruction = free_instruction("open_vocabulary", found)
    return Instruction(
        instruction.setting,
        f"{words}{'?' if asked else '.'}\n{instruction.text}",
        instruction.categories,
        instruction.parent,
    )
