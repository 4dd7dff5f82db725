"""Random scenes for the property tests, and short ways to build instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from earthinstruct.metrics import STANDARD, Chunk, Predicted, Protocol, Tally, Truth
from earthinstruct.regions import Instances, decode_rles, encode_masks

SIDE = 40


class Build:
    """Builds what `measure` takes."""

    def instances(
        self,
        rows: Sequence[tuple[int, int, float, float, float, float]],
        scores: Sequence[float] | None = None,
        masks: bool = True,
    ) -> Instances:
        """Rows of (image, category, x, y, width, height); the masks are the boxes, drawn."""
        table = np.array(rows, dtype=np.float64).reshape(-1, 6)
        drawn = np.zeros((len(table), SIDE, SIDE), dtype=bool)
        for mask, (x, y, width, height) in zip(drawn, table[:, 2:].astype(int), strict=True):
            mask[y : y + height, x : x + width] = True
        return Instances(
            table[:, 0].astype(np.int64),
            table[:, 1].astype(np.int64),
            table[:, 2:],
            decode_rles(encode_masks(drawn) if len(drawn) else []) if masks else None,
            None if scores is None else np.array(scores, dtype=np.float64),
        )

    def truth(self, instances: Instances, images: int = 3, categories: int = 3) -> Truth:
        names = tuple("abcdefgh"[:categories])
        return Truth(tuple(range(images)), names, {"all": names, "first": names[:1]}, instances)

    def predicted(
        self, instances: Instances, truth: Truth, counts: np.ndarray | None = None, proposals: Instances | None = None
    ) -> Predicted:
        n, c = truth.shape
        given = counts is not None
        return Predicted(
            instances,
            counts if counts is not None else np.zeros((n, c), dtype=np.int64),
            np.full(n, given),
            np.full(c, given),
            proposals,
            None if instances.masks is not None else "no masks",
        )

    def tallies(
        self, truth: Truth, predicted: Predicted, protocol: Protocol = STANDARD, threshold: float | None = None
    ) -> dict[str, Tally]:
        """Every tally by name."""
        counted = bool(predicted.has_counts.any())
        return Chunk.of(truth, predicted, protocol, threshold=threshold, any_counts=counted).named_tallies

    def random(self, generator: np.random.Generator, n: int, scores: bool = False) -> Instances:
        """Boxes on a coarse grid, so that many overlap and many scores are equal."""
        rows = np.column_stack(
            [
                generator.integers(0, 3, n),
                generator.integers(0, 3, n),
                2 * generator.integers(0, 6, (n, 2)),
                2 * generator.integers(3, 8, (n, 2)),
            ]
        )
        return self.instances(rows.tolist(), (generator.integers(0, 8, n) / 8).tolist() if scores else None)


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()
