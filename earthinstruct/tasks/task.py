"""A task: a dataset, a setting and, for open_subclass, a parent category. Holds no images and no ground truth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

from earthinstruct.contract import SETTINGS, Instruction, Setting
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.tasks.categories import Vocabulary
from earthinstruct.tasks.instructions import instruction_text
from earthinstruct.tasks.variants import Variant


@dataclass(frozen=True)
class Task:
    """What a method has to find on a dataset, and which categories are scored.

    Attributes:
        dataset: the dataset's name.
        vocabulary: its categories.
        setting: open_vocabulary, open_ended or open_subclass.
        parent: the parent category; open_subclass only.
        text: an instruction text that replaces ours.
        version: increased whenever the meaning of a score changes.
        variant: how the question differs, such as another wording; None: it is that of the task.
    """

    dataset: str
    vocabulary: Vocabulary
    setting: Setting
    parent: str | None = None
    text: str | None = None
    version: str = "1"
    variant: Variant | None = None

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
                f"task name {self.name!r} cannot be the name of a run folder; rename the "
                + ("parent category (supercategory)" if self.parent else "file or folder of the dataset")
            )

    @property
    def name(self) -> str:
        """For example `dior/open_subclass/sports_field`, of a variant `dior/open_vocabulary@wordings-german`."""
        parts = [self.dataset, self.setting] + ([self.parent.replace(" ", "_")] if self.parent else [])
        return "/".join(parts) + (f"@{self.variant.name}" if self.variant else "")

    @property
    def whole(self) -> Task:
        """The task without its variant."""
        return replace(self, variant=None)

    @cached_property
    def instruction(self) -> Instruction:
        """The instruction, the same for every image of the task."""
        if self.variant is not None:
            return self.variant.instruction
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
        return {
            name: tuple(member for member in members if member in self.categories)
            for name, members in self.vocabulary.groups.items()
            if not self.parent or name in ("all", "base", "novel")
        }


def task_named(name: str, dataset: str, vocabulary: Vocabulary) -> Task:
    """Look up a task of a dataset by name.

    The dataset part of the name is ignored, because a file can be renamed.

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
    """List the tasks of a dataset.

    Args:
        dataset: the dataset's name.
        vocabulary: its categories.
        setting: one setting, or `all`.
        parent: one parent category ("sports field" or "sports_field"); None: every parent of the dataset.
        text: an instruction text that replaces ours; for one task only.

    Raises:
        UnknownNameError: the setting or the parent does not exist.
        EarthInstructError: `parent` is given for a setting other than open_subclass, `text` for several tasks, or the
            dataset has no parents.
    """
    if setting != "all" and setting not in SETTINGS:
        raise UnknownNameError("setting", setting, ("all", *SETTINGS))
    if parent is not None and setting != "open_subclass":
        raise EarthInstructError(f"a parent category needs setting 'open_subclass', got {setting!r}")
    tasks: list[Task] = []
    for chosen in SETTINGS if setting == "all" else (setting,):
        if chosen == "open_subclass":
            parents = list(vocabulary.parents)
            if parent is not None:  # spaces and underscores are treated alike
                asked = parent.replace("_", " ")
                parents = [name for name in parents if name.replace("_", " ") == asked] or [asked]
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
            f"an instruction file is for one task, not for {len(tasks)}; choose a setting and a parent"
        )
    return tasks
