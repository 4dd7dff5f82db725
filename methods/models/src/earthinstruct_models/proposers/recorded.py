"""Replays the proposals of a segmenter from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Proposals
from earthinstruct.errors import DataError
from earthinstruct.predictions import ProposalRecord, read_proposal_file
from earthinstruct_models.fingerprints import recorded_images


class RecordedProposer:
    """Proposals from `{image file name: {"bboxes", "scores", "segmentations"}}`.

    Args:
        proposals: the file.
        images: the folder of the images that the proposals belong to.

    Raises:
        DataError: the file is missing or malformed, names two images alike but for folder and extension, or the folder
            is missing.
    """

    deterministic = True

    def __init__(self, proposals: Path | str, images: Path | str) -> None:
        self.path = Path(proposals)
        self._names = recorded_images(Path(images).resolve())
        self._records: dict[str, ProposalRecord] = {}
        for file, record in read_proposal_file(self.path).items():
            name = Path(file).stem
            if name in self._records:
                raise DataError(f"{self.path} has proposals for two images named {name!r}; keep those of one")
            self._records[name] = record

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """The recorded proposals for the image with these pixels, in the order of the file.

        Raises:
            DataError: the file has none for it.
        """
        name = self._names.name_of(image)
        if name not in self._records:
            raise DataError(f"{self.path} has no proposals for image {name!r}")
        return self._records[name].proposals()

    def describe(self) -> dict[str, Any]:
        """The source of the proposals."""
        return {"proposer": "recorded", "proposals": self.path.name}
