"""Read a free instruction, such as "count every sports field", as one of the three settings."""

from __future__ import annotations

import re

from earthinstruct.contract import Instruction, Setting
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks.categories import DIOR, NWPU, Vocabulary
from earthinstruct.tasks.instructions import instruction_text
from earthinstruct.tasks.labels import normalised

_VERB = re.compile(
    r"^(?:please )?(?:count|find|detect|segment|locate|show|mark|outline|map|identify|list|label)(?: me)? ",
    re.IGNORECASE,
)
_ALL = re.compile(r"^(?:all |every |each |any |both )?(?:of )?(?:the |a |an )?", re.IGNORECASE)
_KIND = re.compile(r"^(?:kinds?|types?|sorts?|classes|subclass(?:es)?) of ", re.IGNORECASE)
_PLACE = re.compile(r" (?:in|on|of|from) (?:this|the) (?:image|picture|scene|photo|map)$", re.IGNORECASE)
_EVERYTHING = ("everything", "all", "object", "thing", "visible object", "object you can see", "thing you can see")
_PARENTS = {normalised(parent): parent for vocabulary in (DIOR, NWPU) for parent in vocabulary.parents}


def free_instruction(setting: Setting, categories: tuple[str, ...] = (), parent: str | None = None) -> Instruction:
    """Make the instruction of a setting for images that belong to no dataset."""
    return Instruction(setting, instruction_text(Vocabulary(categories), setting, parent), categories, parent)


def read_instruction(text: str) -> Instruction:
    """Read an instruction in free words.

    "everything" and "all objects" are open_ended. A parent category of the benchmark ("sports field", "means of
    transport") and "every kind of ..." are open_subclass. A list of names is open_vocabulary, with the names in the
    singular. The free words become the first line of the text for the language model.

    Args:
        text: what to find, with or without a verb: "count the ships and harbors".

    Raises:
        EarthInstructError: the text names nothing to find.

    >>> read_instruction("Count all ships, storage tanks and harbors.").categories
    ('ship', 'storage tank', 'harbor')
    >>> read_instruction("count every sports field").parent, read_instruction("find everything").setting
    ('sports field', 'open_ended')
    >>> read_instruction("outline every kind of roof").parent
    'roof'
    """
    words = " ".join(text.split()).rstrip(".!?")
    what = _PLACE.sub("", _ALL.sub("", _VERB.sub("", words)))
    kind = _KIND.match(what)
    parent = normalised(_ALL.sub("", what[kind.end() :])) if kind else normalised(what)
    names = [parent] if kind else re.split(r"\s*,\s*(?:and )?| and | or ", what)
    found = tuple(dict.fromkeys(filter(None, (normalised(_ALL.sub("", name)) for name in names))))
    if not found:
        raise EarthInstructError(f'instruction {text!r} names nothing to find; write for example "count the ships"')
    if normalised(what) in _EVERYTHING:
        instruction = free_instruction("open_ended")
    elif kind or parent in _PARENTS:
        instruction = free_instruction("open_subclass", parent=_PARENTS.get(parent, parent))
    else:
        instruction = free_instruction("open_vocabulary", found)
    return Instruction(instruction.setting, f"{words}.\n{instruction.text}", instruction.categories, instruction.parent)
