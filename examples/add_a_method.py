"""Adds a method and evaluates it on the embedded scenes: `python examples/add_a_method.py`."""

import numpy as np
from scipy.ndimage import label

from earthinstruct import Instruction, Prediction, evaluate
from earthinstruct.regions import decode_rles, encode_masks


class WhiteTanks:
    """Labels every white region of 100 to 5,000 pixels as a storage tank."""

    name = "white-tanks"

    def predict(self, image: np.ndarray, instruction: Instruction) -> Prediction:
        """Find storage tanks in one RGB image, uint8 (height, width, 3)."""
        regions, n = label(image.min(axis=2) > 190)
        tanks = [regions == i for i in range(1, n + 1) if 100 < (regions == i).sum() < 5000]
        masks = encode_masks(np.reshape(tanks, (len(tanks), *regions.shape)))
        return Prediction(["storage_tank"] * len(masks), decode_rles(masks).boxes, masks)


if __name__ == "__main__":
    (result,) = evaluate(WhiteTanks(), "scenes", setting="open_vocabulary", limit=12, overwrite=True).results
    print(result.metrics.box.tally["storage_tank"])  # noqa: T201
