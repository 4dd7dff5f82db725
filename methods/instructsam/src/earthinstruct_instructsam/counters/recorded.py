"""Replays the counts of a language model from a folder with one file an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.fingerprints import recorded_images
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.errors import DataError
from earthinstruct.predictions import read_count_files
from earthinstruct.tasks import Task
from earthinstruct_instructsam.parts import Answer


class RecordedCounter:
    """Answers from `<counts>/<task>/<image name>.json`, each `{"ship": 3}`.

    `<task>` is `open_vocabulary`, `open_ended` or, for example, `open_subclass_means_of_transport`.

    Args:
        counts: the folder that holds the folders of the tasks.
        images: the folder of the images that the answers belong to.

    Raises:
        DataError: a folder is missing.
    """

    deterministic = True

    def __init__(self, counts: Path | str, images: Path | str) -> None:
        self.folder = Path(counts)
        if not self.folder.is_dir():
            raise DataError(f"recorded counts {self.folder} is not a folder")
        self._names = recorded_images(Path(images).resolve())
        self._answers: dict[str, dict[str, dict[str, int]]] = {}

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """The recorded answer for the image with these pixels.

        Raises:
            DataError: the image has no recorded answer.
        """
        task = _folder_name(instruction.setting, instruction.parent)
        if task not in self._answers:
            self._answers[task] = read_count_files(self.folder / task)
        name = self._names.name_of(image)
        if name not in self._answers[task]:
            raise DataError(f"{self.folder / task} has no recorded counts for image {name!r}")
        return Answer(self._answers[task][name])

    def skip(self, task: Task) -> str | None:
        """The reason to decline a task that has no folder of answers."""
        folder = self.folder / _folder_name(task.setting, task.parent)
        return None if folder.is_dir() else f"there are no recorded counts for it ({folder} does not exist)"

    def describe(self) -> dict[str, Any]:
        """The source of the answers."""
        return {"counter": "recorded", "counts": self.folder.name}


def _folder_name(setting: str, parent: str | None) -> str:
    return setting if parent is None else f"{setting}_{parent.replace(' ', '_')}"
