"""Every checkpoint format loads the same weights; what is not a checkpoint, or another architecture's, is refused."""

import argparse

import numpy as np
import pytest
import torch
from earthinstruct_models.encoders.open_clip import OpenClipEncoder, crop_corners

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

IMAGE = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOXES = np.array([[10.0, 10, 20, 30], [0, 0, 5, 5], [70, 50, 10, 10]])


@pytest.fixture
def reference(tiny_clip):
    """Embeddings by open_clip itself, crop by crop."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    model = tiny_clip[1].eval()
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    crops = [Image.fromarray(IMAGE).crop(corners) for corners in crop_corners(BOXES, 80, 60)]
    with torch.inference_mode():
        return model.encode_image(torch.stack([transform(crop) for crop in crops]), normalize=True).numpy()


def checkpoint(kind, model, folder):
    state = model.state_dict()
    prefixed = {f"module.{key}": value for key, value in state.items()}
    path = folder / f"{kind}.pt"
    content = {
        "state_dict": state,
        "training": {"epoch": 3, "name": "x", "state_dict": prefixed, "optimizer": {}},
        "half": {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
    }[kind]
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", ["state_dict", "training"])
def test_every_format_gives_the_features_of_open_clip(tiny_clip, tmp_path, reference, kind):
    encoder = OpenClipEncoder(checkpoint(kind, tiny_clip[1], tmp_path), config=tiny_clip[0], batch_size=2, device="cpu")
    assert np.allclose(encoder.embed_crops(IMAGE, BOXES), reference, atol=1e-6)


def test_half_precision_weights_load(tiny_clip, tmp_path, reference):
    encoder = OpenClipEncoder(checkpoint("half", tiny_clip[1], tmp_path), config=tiny_clip[0], device="cpu")
    assert np.abs(encoder.embed_crops(IMAGE, BOXES) - reference).max() < 0.01


def test_safetensors_load(tiny_clip, tiny_checkpoint, reference):
    encoder = OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu")
    assert np.allclose(encoder.embed_crops(IMAGE, BOXES), reference, atol=1e-6)
    assert encoder.embed_crops(IMAGE, np.zeros((0, 4))).shape == (0, 32)
    labels = encoder.embed_labels(["storage_tank", "ship", "storage_tank"])
    assert np.array_equal(labels[0], labels[2])
    assert np.allclose(np.linalg.norm(labels, axis=1), 1, atol=1e-5)
    assert encoder.embed_labels([]).shape == (0, 32)


def test_the_template_and_the_activation_change_what_they_should(tiny_clip, tiny_checkpoint):
    plain, other, quick = (
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", **options)
        for options in ({}, {"template": "{category}"}, {"activation": "quickgelu"})
    )
    assert not np.allclose(plain.embed_labels(["ship"]), other.embed_labels(["ship"]))
    assert not np.allclose(plain.embed_crops(IMAGE, BOXES), quick.embed_crops(IMAGE, BOXES))
    assert quick.describe()["activation"] == "quickgelu"
    assert other.describe()["template"] == "{category}"
    assert len(plain.describe()["weights"][0]["sha256"]) == 64


def test_another_architecture_is_refused(tiny_checkpoint):
    with pytest.raises(DataError, match="does not load as ViT-B-32"):
        OpenClipEncoder(tiny_checkpoint, architecture="ViT-B-32", device="cpu")


def test_a_checkpoint_that_would_run_code_is_refused(tiny_clip, tmp_path):
    path = tmp_path / "pickle.pt"
    torch.save({"state_dict": tiny_clip[1].state_dict(), "args": argparse.Namespace(x=1)}, path)
    with pytest.raises(DataError, match="nothing but weights"):
        OpenClipEncoder(path, config=tiny_clip[0], device="cpu")


def test_missing_weights_are_refused(tiny_clip, tmp_path):
    state = tiny_clip[1].state_dict()
    state.pop(next(iter(state)))
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(DataError, match="does not load"):
        OpenClipEncoder(tmp_path / "part.pt", config=tiny_clip[0], device="cpu")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"architecture": "ViT-B-23"}, UnknownNameError, "did you mean 'ViT-B-32'.*others"),
        ({}, UnknownNameError, "unknown architecture 'None'"),
        ({"architecture": "ViT-B-32", "activation": "relu"}, UnknownNameError, "activation"),
        ({"architecture": "ViT-B-32", "template": "a photo"}, EarthInstructError, "must contain {category}"),
        ({"config": "none.json"}, DataError, "none.json cannot be read"),
    ],
)
def test_wrong_parameters_are_answered(tiny_checkpoint, options, error, message):
    with pytest.raises(error, match=message):
        OpenClipEncoder(tiny_checkpoint, **options)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.pt does not exist"):
        OpenClipEncoder(tmp_path / "none.pt", architecture="ViT-B-32")
