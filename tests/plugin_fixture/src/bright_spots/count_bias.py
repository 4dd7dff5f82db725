"""How far counts are off on average, with the sign that MAE drops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import Predicted, Truth, count_per_image


class CountBias:
    """Predicted minus actual count, mean over images; below 0: too few are counted."""

    name = "count-bias"
    unit = "objects"

    def tally(self, truth: Truth, predicted: Predicted, /) -> Mapping[str, NDArray[np.int64]]:
        """How far each image is off, and that it is one image."""
        instances = count_per_image(predicted.instances, *truth.shape)
        counted = np.where(predicted.has_counts[:, None], predicted.counts, instances)
        actual = count_per_image(truth.instances, *truth.shape)
        return {"off": counted - actual, "images": np.ones_like(actual)}

    def score(self, sums: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """The mean over images."""
        return sums["off"] / sums["images"]
