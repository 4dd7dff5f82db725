"""Tasks: settings, category splits, instruction texts and label mapping. Holds no images."""

from earthinstruct.tasks.categories import DIOR, NWPU, Vocabulary
from earthinstruct.tasks.free import free_instruction, names_of_one_kind, read_instruction
from earthinstruct.tasks.instructions import instruction_text
from earthinstruct.tasks.labels import (
    ExactMapper,
    ExactThenMapper,
    FileMapper,
    LabelMapper,
    MappedLabel,
    NamesMapper,
    forms,
    named_mapper,
    normalised,
)
from earthinstruct.tasks.task import Task, task_named, tasks_of
from earthinstruct.tasks.variants import (
    BLIND,
    DISTRACTORS,
    REPEATS,
    SUITE_VERSIONS,
    VARIANTS,
    WORDINGS,
    Chosen,
    Variant,
    changes_words,
    with_variant,
    with_variant_of,
)

__all__ = [
    "BLIND",
    "DIOR",
    "DISTRACTORS",
    "NWPU",
    "REPEATS",
    "SUITE_VERSIONS",
    "VARIANTS",
    "WORDINGS",
    "Chosen",
    "ExactMapper",
    "ExactThenMapper",
    "FileMapper",
    "LabelMapper",
    "MappedLabel",
    "NamesMapper",
    "Task",
    "Variant",
    "Vocabulary",
    "changes_words",
    "forms",
    "free_instruction",
    "instruction_text",
    "named_mapper",
    "names_of_one_kind",
    "normalised",
    "read_instruction",
    "task_named",
    "tasks_of",
    "with_variant",
    "with_variant_of",
]
