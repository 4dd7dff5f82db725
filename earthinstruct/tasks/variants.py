"""Variants of a task: the same question in other words, about other pixels, once more, or with other names added.

A variant is run and scored like its task. It says what differs, and how its names are those of the dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from earthinstruct.contract import Instruction
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.tasks import distractors, wordings
from earthinstruct.tasks.instructions import instruction_text

if TYPE_CHECKING:
    from earthinstruct.tasks.task import Task

WORDINGS = "wordings"
BLIND = "blind"
REPEATS = "repeats"
DISTRACTORS = "distractors"
VARIANTS = (WORDINGS, BLIND, REPEATS, DISTRACTORS)
PIXELS = ("grey", "noise", "other")
SUITE_VERSIONS: Mapping[str, str] = {WORDINGS: wordings.VERSION, DISTRACTORS: distractors.VERSION}
_CHECKED_REPEATS = 2  # of a method that says that it is deterministic


@dataclass(frozen=True)
class Variant:
    """How a question differs from its task.

    Attributes:
        kind: `wordings`, `blind`, `repeats` or `distractors`.
        of_kind: which of its kind, such as `german`, `grey`, `2` or `20`.
        instruction: what the method is asked.
        names: a name in the instruction -> the category of the dataset, or None for a distractor. Empty: the names are
            those of the dataset.
        pixels: what the method sees in place of the image: `grey`, `noise`, or `other`, another image of the set.
        repeat: the number of the repeat; nothing that the method keeps is shared between repeats. 0 is the run itself.
    """

    kind: str
    of_kind: str
    instruction: Instruction
    names: Mapping[str, str | None] = field(default_factory=dict)
    pixels: str | None = None
    repeat: int = 0

    @property
    def name(self) -> str:
        """For example `wordings-german`: the name of its run folder."""
        return f"{self.kind}-{self.of_kind}"


@dataclass(frozen=True)
class Chosen:
    """The variants that a run is asked for.

    Attributes:
        wordings: `all`, or how many of the suite; 0: none.
        blind: what replaces the pixels, of `PIXELS`.
        repeats: how often each image is asked about, the run itself included.
        distractors: how many other names are asked for as well, for each variant.

    Raises:
        EarthInstructError: a number is out of range, or something is named twice.
        UnknownNameError: there is no such wording or no such replacement of pixels.
    """

    wordings: str | int = 0
    blind: tuple[str, ...] = ()
    repeats: int = 1
    distractors: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        wordings: str | int | None = None,
        blind: str | Sequence[str] | None = None,
        repeats: int | None = None,
        distractors: str | int | Sequence[int] | None = None,
    ) -> Chosen:
        """Read what `evaluate` is given; lists may be texts with commas."""
        numbers = [distractors] if isinstance(distractors, int) else _parts(distractors)
        return cls(
            _whole("wordings", wordings) if wordings not in (None, "all") else wordings or 0,
            tuple(_parts(blind)),
            1 if repeats is None else repeats,
            tuple(_whole("distractors", number) for number in numbers),
        )

    def __post_init__(self) -> None:
        for how in self.blind:
            if how not in PIXELS:
                raise UnknownNameError("blind", how, PIXELS)
        most = len(distractors.DISTRACTORS)
        if bad := [number for number in self.distractors if not 1 <= number <= most]:
            raise EarthInstructError(f"distractors must be from 1 to {most}, got {bad[0]}")
        if isinstance(self.wordings, int) and not 0 <= self.wordings <= len(wordings.SUITE):
            raise EarthInstructError(f"wordings must be all, or from 0 to {len(wordings.SUITE)}, got {self.wordings}")
        if self.repeats < 1:
            raise EarthInstructError(f"repeats must be at least 1, got {self.repeats}")
        for what in ("blind", "distractors"):
            if len(set(getattr(self, what))) < len(getattr(self, what)):
                raise EarthInstructError(f"{what} names something twice: {', '.join(map(str, getattr(self, what)))}")

    def check_protocol(self, protocol: str) -> None:
        """Refuse variants under another protocol than `standard`.

        Raises:
            EarthInstructError: there are variants, and the protocol is another.
        """
        if self != Chosen() and protocol != "standard":
            raise EarthInstructError(
                "wordings, blind, repeats and distractors are summed up under protocol 'standard'; leave out --protocol"
            )

    def declined(self, tasks: Sequence[Task]) -> Iterator[str]:
        """A sentence on each task that has no distractors, although they are asked for."""
        for task in tasks:
            if self.distractors and task.setting != "open_vocabulary":
                yield f"{task.name}: without distractors, because {task.setting} names no categories"

    def of_task(self, task: Task, *, deterministic: bool) -> list[Task]:
        """The variants of a task.

        A deterministic method is repeated once, to check that it is. Distractors are for tasks that name categories.

        Raises:
            EarthInstructError: the text of the instruction is not ours, and wordings or distractors are asked for.
        """
        if task.text is not None and (self.wordings or self.distractors):
            raise EarthInstructError(
                "wordings and distractors change our own instruction texts; leave out the instruction file, or leave "
                "them out"
            )
        names = [f"{WORDINGS}-{wording}" for wording in _wordings_for(task)]
        if isinstance(self.wordings, int):
            names = names[: self.wordings]
        names += [f"{BLIND}-{how}" for how in self.blind]
        repeats = min(self.repeats, _CHECKED_REPEATS) if deterministic else self.repeats
        names += [f"{REPEATS}-{number}" for number in range(2, repeats + 1)]
        if task.setting == "open_vocabulary":
            names += [f"{DISTRACTORS}-{number}" for number in self.distractors]
        return [with_variant(task, name) for name in names]


def with_variant(task: Task, name: str | None) -> Task:
    """A task with the variant of this name, such as `wordings-german`; None: the task itself.

    Raises:
        UnknownNameError: the task has no such variant.
    """
    if name is None:
        return replace(task, variant=None)
    kind, _, of_kind = name.partition("-")
    vocabulary = task.vocabulary
    if kind == WORDINGS and of_kind in _wordings_for(task):
        return replace(task, variant=_worded(task, of_kind))
    if kind == BLIND and of_kind in PIXELS:
        return replace(task, variant=Variant(kind, of_kind, task.instruction, pixels=of_kind))
    if of_kind.isdecimal():
        number = int(of_kind)
        if kind == REPEATS and number >= 2:
            return replace(task, variant=Variant(kind, of_kind, task.instruction, repeat=number - 1))
        if kind == DISTRACTORS and 1 <= number <= len(distractors.DISTRACTORS) and task.setting == "open_vocabulary":
            added = distractors.distractors_for(vocabulary, number)
            names = {**dict(zip(vocabulary.categories, vocabulary.categories, strict=True)), **dict.fromkeys(added)}
            asked = _asked(replace(task, vocabulary=replace(vocabulary, categories=tuple(names))))
            return replace(task, variant=Variant(kind, of_kind, asked, names))
    known = [*(f"{WORDINGS}-{wording}" for wording in _wordings_for(task)), *(f"{BLIND}-{how}" for how in PIXELS)]
    raise UnknownNameError(f"variant of task {task.name!r}", name, (*known, f"{REPEATS}-2", f"{DISTRACTORS}-20"))


def with_variant_of(task: Task, name: str | None, instruction_sha256: str) -> Task:
    """A task with the variant that a stored run is of.

    Args:
        task: the task.
        name: the name of the variant; None: the run is of the task itself.
        instruction_sha256: the hash of the instruction text of the run.

    Raises:
        UnknownNameError: the task has no such variant.
        EarthInstructError: the run was asked in the words of another version of the suite.
    """
    varied = with_variant(task, name)
    if changes_words(varied) and varied.instruction_sha256 != instruction_sha256:
        raise EarthInstructError(
            f"variant {name!r} was run with another instruction text than that of this release, by whose names its "
            "answers would be scored; run it again with --overwrite"
        )
    return varied


def changes_words(task: Task) -> bool:
    """Whether a task is a variant with an instruction text of its own."""
    return task.instruction != task.whole.instruction


def _wordings_for(task: Task) -> Iterator[str]:
    """The wordings of the suite that change something in a task."""
    for wording in wordings.SUITE:
        if _worded(task, wording).instruction != _asked(task):
            yield wording


def _worded(task: Task, wording: str) -> Variant:
    vocabulary, parent = task.vocabulary, task.parent
    names: dict[str, str | None] = {}
    if task.setting == "open_vocabulary":
        vocabulary, of_wording = wordings.worded(vocabulary, wording)
        names.update(of_wording)
    elif parent is not None:
        parent = wordings.worded_parent(parent, wording)
    text = instruction_text(vocabulary, task.setting, parent, wordings.SUITE[wording][0])
    return Variant(WORDINGS, wording, _instruction(task, text, vocabulary.categories, parent), names)


def _asked(task: Task) -> Instruction:
    """The instruction of a task in our own plain words."""
    text = instruction_text(task.vocabulary, task.setting, task.parent)
    return _instruction(task, text, task.vocabulary.categories, task.parent)


def _instruction(task: Task, text: str, categories: tuple[str, ...], parent: str | None) -> Instruction:
    return Instruction(task.setting, text, categories if task.setting == "open_vocabulary" else (), parent)


def _parts(given: str | Sequence[object] | None) -> list[str]:
    if given is None:
        return []
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else [str(part) for part in given]


def _whole(what: str, given: object) -> int:
    try:
        return int(str(given))
    except ValueError:
        expected = "all, or a whole number" if what == "wordings" else "whole numbers, such as 5,20,100"
        raise EarthInstructError(f"{what} must be {expected}, got {given!r}") from None
