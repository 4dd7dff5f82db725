import numpy as np
import pytest
import torch
from earthinstruct_baselines.florence2 import Florence2
from earthinstruct_baselines.grounding_dino import GroundingDino
from earthinstruct_baselines.omdet_turbo import OmDetTurbo
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_baselines.sam3 import SAM3

from earthinstruct.contract import Instruction

ASK = Instruction("open_vocabulary", "Find the ships.", ("ship",))


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        (Florence2, "florence_2_weights"),
        (GroundingDino, "grounding_dino_weights"),
        (OmDetTurbo, "omdet_turbo_weights"),
        (OWLv2, "owlv2_weights"),
        (SAM3, "sam3_weights"),
    ],
)
def test_the_rows_of_an_image_are_not_taken_for_its_colours(method, weights, request, monkeypatch):
    """An array of 3 x 40 x 3 may mean either, and transformers would take the rows."""
    short = {"max_new_tokens": 8} if method is Florence2 else {}
    made = method(request.getfixturevalue(weights), device="cpu", **short)
    preparing = made.loaded.processor.image_processor
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 3), dtype=np.uint8)
    expected = preparing(image, input_data_format="channels_last", return_tensors="pt").pixel_values
    seen, preprocess = [], type(preparing).preprocess

    def recorded(*args, **options):
        seen.append(preprocess(*args, **options))
        return seen[-1]

    monkeypatch.setattr(type(preparing), "preprocess", recorded)
    made.predict(image, ASK)
    assert [torch.equal(of.pixel_values, expected) for of in seen] == [True]
