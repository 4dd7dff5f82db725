"""A task is a dataset, a setting and, for open_subclass, a parent category. It holds no images and no ground truth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from earthinstruct.contract import SETTINGS, Instruction, Setting
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.tasks.categories import Vocabulary
from earthinstruct.tasks.instructions import instruction_text

TASK_VERSION = "1"


@dataclass(frozen=True)
class Task:
    """What a method is asked to do on a dataset, and which categories are scored.

    Attributes:
        dataset: the dataset's name.
        vocabulary: its categories.
        setting: open_vocabulary, open_ended or open_subclass.
        parent: the parent category; open_subclass only.
        text: an instruction text to use in place of ours.
        version: raised whenever the meaning of a score changes.
    """

    dataset: str
    vocabulary: Vocabulary
    setting: Setting
    parent: str | None = None
    text: str | None = None
    version: str = TASK_VERSION

    def __post_init__(self) -> None:
        if self.setting == "open_subclass" and self.parent not in self.vocabulary.parents:
            raise UnknownNameError(
                "parent category",
                str(self.parent),
                self.vocabulary.parents,
                f"These are the parent categories of dataset {self.dataset!r}.",
            )
        if not {"", ".", ".."}.isdisjoint(self.name.split("/")):
            raise EarthInstructError(
                f"task {self.name!r} cannot name a folder, where its runs would go; rename the "
                + ("parent category (supercategory)" if self.parent else "file or folder of the dataset")
            )

    @property
    def name(self) -> str:
        """For example `dior/open_subclass/sports_field`."""
        parts = [self.dataset, self.setting] + ([self.parent.replace(" ", "_")] if self.parent else [])
        return "/".join(parts)

    @cached_property
    def instruction(self) -> Instruction:
        """The instruction that every image of the task is given."""
        return Instruction(
            setting=self.setting,
            text=self.text or instruction_text(self.vocabulary, self.setting, self.parent),
            categories=self.vocabulary.categories if self.setting == "open_vocabulary" else (),
            parent=self.parent,
        )

    @property
    def instruction_sha256(self) -> str:
        """Hash of the instruction text."""
        return hashlib.sha256(self.instruction.text.encode()).hexdigest()

    @property
    def categories(self) -> tuple[str, ...]:
        """The scored categories: all of the dataset, or the members of the parent."""
        return self.vocabulary.parents[self.parent] if self.parent else self.vocabulary.categories

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups of scored categories whose means are reported; `all` first."""
        groups = {
            name: tuple(member for member in members if member in self.categories)
            for name, members in self.vocabulary.groups.items()
        }
        if self.parent:
            return {name: members for name, members in groups.items() if name in ("all", "base", "novel")}
        return groups


def task_named(name: str, dataset: str, vocabulary: Vocabulary) -> Task:
    """The task of a dataset by its name; the dataset's own name in it does not matter, since a file can be moved.

    Raises:
        UnknownNameError: the dataset has no such task.
    """
    known = {task.name.partition("/")[2]: task for task in tasks_of(dataset, vocabulary)}
    asked = name.partition("/")[2]
    if asked not in known:
        raise UnknownNameError(f"task of dataset {dataset!r}", asked, known)
    return known[asked]


def tasks_of(
    dataset: str, vocabulary: Vocabulary, setting: str = "all", parent: str | None = None, text: str | None = None
) -> list[Task]:
    """The tasks of a dataset.

    Args:
        dataset: the dataset's name.
        vocabulary: its categories.
        setting: one setting, or `all`.
        parent: one parent category ("sports field" or "sports_field"); None: each parent of the dataset.
        text: an instruction text to use in place of ours; for one task only.

    Raises:
        UnknownNameError: no such setting or parent.
        EarthInstructError: `parent` with another setting, `text` for several tasks, or a dataset without parents.
    """
    if setting != "all" and setting not in SETTINGS:
        raise UnknownNameError("setting", setting, ("all", *SETTINGS))
    if parent is not None and setting != "open_subclass":
        raise EarthInstructError(f"a parent category goes with setting 'open_subclass', not with {setting!r}")
    tasks: list[Task] = []
    for chosen in SETTINGS if setting == "all" else (setting,):
        if chosen == "open_subclass":
            parents = list(vocabulary.parents) if parent is None else [_parent_named(parent, vocabulary)]
            tasks += [Task(dataset, vocabulary, "open_subclass", name, text) for name in parents]
        else:
            tasks.append(Task(dataset, vocabulary, chosen, None, text))  # type: ignore[arg-type]
    if not tasks:
        raise EarthInstructError(
            f"dataset {dataset!r} has no parent categories, so it has no open_subclass task; "
            "give its categories a 'supercategory' in the annotation file"
        )
    if text is not None and len(tasks) > 1:
        raise EarthInstructError(
            f"an instruction file goes with one task, not with {len(tasks)}; choose a setting and a parent"
        )
    return tasks


def _parent_named(name: str, vocabulary: Vocabulary) -> str:
    """The parent category of a name in which spaces and underscores are one; the name itself where there is none."""
    known = {parent.replace("_", " "): parent for parent in vocabulary.parents}
    return known.get(name.replace("_", " "), name.replace("_", " "))
