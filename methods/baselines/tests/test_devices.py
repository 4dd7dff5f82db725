"""Detectors run on a device without float64, such as Apple's GPUs, and find the same there."""

import numpy as np
import pytest
from earthinstruct_baselines.faster_rcnn import FasterRCNN
from earthinstruct_baselines.florence2 import Florence2
from earthinstruct_baselines.grounding_dino import GroundingDino, MMGroundingDino
from earthinstruct_baselines.omdet_turbo import OmDetTurbo
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_baselines.sam3 import SAM3, SAM3LiteText

from earthinstruct import Instruction

pytest.importorskip("transformers", reason="transformers is not installed")


def faster_rcnn(folder):
    architecture = "fasterrcnn_mobilenet_v3_large_320_fpn"
    return FasterRCNN(folder / "weights.safetensors", folder / "classes.json", architecture, 0.0, device="cpu")


DETECTORS = {
    "grounding_dino_weights": lambda folder: GroundingDino(folder, device="cpu"),
    "mm_grounding_dino_weights": lambda folder: MMGroundingDino(folder, device="cpu"),
    "owlv2_weights": lambda folder: OWLv2(folder, device="cpu"),
    "sam3_weights": lambda folder: SAM3(folder, threshold=0.0, limit=20, device="cpu"),
    "sam3_litetext_weights": lambda folder: SAM3LiteText(folder, threshold=0.0, limit=20, device="cpu"),
    "omdet_turbo_weights": lambda folder: OmDetTurbo(folder, device="cpu"),
    "faster_rcnn_weights": faster_rcnn,
}


@pytest.mark.parametrize("weights", DETECTORS)
def test_a_detector_needs_no_float64_on_its_device(weights, request, image, like_apple):
    detector = DETECTORS[weights](request.getfixturevalue(weights))
    expected = detector.detect(image, ("ship", "storage tank"))
    with like_apple() as seen:
        found = detector.detect(image, ("ship", "storage tank"))
    assert seen  # tensors came onto the device
    assert len(found.scores) > 0
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.corners, expected.corners)


def test_florence_2_needs_no_float64_on_its_device(florence_2_weights, image, like_apple):
    method = Florence2(florence_2_weights, max_new_tokens=100, device="cpu")
    asked = Instruction("open_vocabulary", "Find.", ("ship", "storage tank"))
    expected = method.predict(image, asked)
    with like_apple() as seen:
        found = method.predict(image, asked)
    assert seen
    assert len(found) > 0
    assert found.boxes.tolist() == expected.boxes.tolist()
