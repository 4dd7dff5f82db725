"""Cutting on the device against Pillow: the pictures, and what a CLIP makes of them."""

import json

import numpy as np
import pytest
import torch
from earthinstruct_models.encoders.crops import crop_corners, resized_crops
from earthinstruct_models.encoders.open_clip import OpenClipEncoder
from PIL import Image

from earthinstruct.datasets import generate_scene
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.images import read_raster


def by_pillow(image, corners, side, mode, kernel):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(size=side, resize_mode=mode, interpolation=kernel)
    steps = image_transform_v2(config, is_train=False).transforms[:-2]
    pictures = []
    for cut in corners:
        picture = Image.fromarray(image).crop(cut)
        for step in steps:
            picture = step(picture)
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def test_corners_are_rounded_to_the_nearest_pixel_as_pillow_does():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 110, 3), dtype=np.uint8)
    places = rng.integers(0, 80, (200, 2)) / 4  # also halves
    boxes = np.concatenate([places, rng.integers(4, 100, (200, 2)) / 2], axis=1)
    picture = Image.fromarray(image)
    moved = 0
    for box, nearest, outward in zip(
        boxes, crop_corners(boxes, 110, 90, "nearest"), crop_corners(boxes, 110, 90), strict=True
    ):
        x, y, width, height = box
        enlarged = (x + width / 2 - width * 0.6, y + height / 2 - height * 0.6)
        enlarged += (x + width / 2 + width * 0.6, y + height / 2 + height * 0.6)
        clipped = [min(max(corner, 0.0), limit) for corner, limit in zip(enlarged, (110, 90) * 2, strict=True)]
        assert np.array_equal(picture.crop(clipped), picture.crop(nearest))
        moved += nearest != outward
    assert moved > 100


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("kind", "most", "mean"), [(torch.uint8, 2, 0.1), (torch.float32, 2, 0.3)])
def test_cuts_of_every_shape_are_those_of_pillow(mode, kernel, kind, most, mean):
    image = generate_scene("val", 1).image
    height, width = image.shape[:2]
    boxes = np.array([[3, 4, 1, 1], [10, 20, 300, 7], [0, 0, width, height], [40, 40, 90, 100], [30, 9, 21, 64]], float)
    corners = crop_corners(boxes, width, height)
    picture = torch.from_numpy(image.copy()).permute(2, 0, 1).to(kind)
    ours = resized_crops(picture, corners, 48, mode=mode, kernel=kernel).permute(0, 2, 3, 1).numpy().astype(float)
    difference = np.abs(ours - by_pillow(image, corners, 48, mode, kernel))
    assert difference.max() <= most  # grey levels; Pillow rounds between its two passes, floats do not
    assert difference.mean() < mean


def test_no_cuts_give_no_pictures():
    assert resized_crops(torch.zeros(3, 9, 9), [], 8).shape == (0, 3, 8, 8)


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory):
    """The same random CLIP, larger than the tiny one, cutting by Pillow and on the device."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32, "head_width": 16}
    config = folder / "random-b32.json"
    config.write_text(json.dumps({"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)
    torch.manual_seed(1)
    save_file(open_clip.create_model("random-b32", load_weights=False).state_dict(), folder / "w.safetensors")
    file = folder / "w.safetensors"
    return [OpenClipEncoder(file, config=config, device="cpu", crops=crops) for crops in ("pil", "device")]


def test_embeddings_of_real_crops_are_alike(reference, both_ways):
    proposals = json.loads((reference / "dior_mini" / "proposals.json").read_text())
    for name, record in proposals.items():
        image = read_raster(next((reference / "dior_mini" / "images").glob(f"{name.partition('.')[0]}.*"))).pixels
        boxes = np.array(record["bboxes"][::4], dtype=float)
        pil, device = (encoder.embed_crops(image, boxes) for encoder in both_ways)
        assert len(pil) == len(boxes)
        assert (pil * device).sum(axis=1).min() > 0.999


def test_the_way_of_cropping_is_recorded_and_checked(both_ways):
    assert [encoder.describe()["crops"] for encoder in both_ways] == ["pil", "device"]
    with pytest.raises(UnknownNameError, match="way of cropping 'gpu'"):
        OpenClipEncoder(both_ways[0].checkpoint, architecture="random-b32", crops="gpu")
    with pytest.raises(EarthInstructError, match="batch_size must be an integer >= 1"):
        OpenClipEncoder(both_ways[0].checkpoint, architecture="random-b32", batch_size=0)
    with pytest.raises(EarthInstructError, match="use crops='pil'"):
        OpenClipEncoder(
            both_ways[0].checkpoint,
            architecture="random-b32",
            crops="device",
            preprocess={"resize_mode": "longest"},
            device="cpu",
        )
