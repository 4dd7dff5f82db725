"""Every kind of image file, read by `predict` and by `evaluate`."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Prediction, evaluate, predict
from earthinstruct.errors import DataError
from earthinstruct.images import image_size, read_raster

from .kinds import HEIGHT, KINDS, WIDTH

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the writers


def test_real_images_keep_their_place_and_their_pixels_without_data(reference):
    folder = reference / "neon"
    scene = read_raster(folder / "OSBS_029.tif")  # says that 255 is no data
    assert scene.place.crs == "EPSG:32617"
    white = (scene.pixels.reshape(-1, 3) == 255).all(axis=1)
    assert not white.any()
    assert 0 < (~scene.valid).mean() < 0.01
    assert not scene.pixels[~scene.valid].any()
    crop = read_raster(folder / "SOAP_061.png")
    assert (crop.pixels.shape, crop.valid, crop.place) == ((400, 400, 3), None, None)


class Sees:
    """A method that keeps what it is shown."""

    name = "sees"

    def __init__(self):
        self.images = []

    def predict(self, image, instruction):
        self.images.append(image.copy())
        return Prediction()


@dataclass
class Read:
    """What one verb made of a file."""

    pixels: np.ndarray | None = None
    problem: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Files:
    folder: Path
    expected: dict
    by_predict: dict
    by_evaluate: dict


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """All files in one folder, through both verbs once."""
    folder = tmp_path_factory.mktemp("kinds") / "images"
    folder.mkdir()
    expected = {name: writer(folder / name) for name, writer in KINDS.items()}
    names = sorted(expected)
    method = Sees()
    by_predict = {}
    for answer in predict(method, [folder / name for name in names], open_ended=True, output=None):
        found = method.images.pop(0) if answer.prediction is not None else None
        by_predict[answer.path.name] = Read(found, answer.problem, list(answer.notes))
    images = [{"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(names)]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "ship"}]}
    (folder.parent / "annotations.json").write_text(json.dumps(content))
    (result,) = evaluate(
        method, folder.parent, setting="open_vocabulary", output=folder.parent / "runs", engine="local"
    )
    by_evaluate = {}
    for number, name in enumerate(names):
        problem = result.run.failed.get(str(number))
        by_evaluate[name] = Read(None if problem else method.images.pop(0), problem)
    assert not method.images
    return Files(folder, expected, by_predict, by_evaluate)


@pytest.mark.parametrize("name", KINDS)
def test_both_verbs_see_the_picture_or_refuse_it_with_the_same_words(files, name):
    expected, one, other = files.expected[name], files.by_predict[name], files.by_evaluate[name]
    if expected.refused is not None:
        assert expected.refused in one.problem
        assert name in one.problem
        assert other.problem == one.problem
        return
    assert (one.problem, other.problem) == (None, None)
    assert np.array_equal(one.pixels, other.pixels)
    assert np.abs(one.pixels.astype(int) - expected.pixels).max() <= expected.near
    raster = read_raster(files.folder / name)
    assert (raster.valid is None) == (expected.valid is None)
    assert raster.valid is None or np.array_equal(raster.valid, expected.valid)
    assert len(one.notes) == len(expected.notes)
    for note, words in zip(one.notes, expected.notes, strict=True):
        assert words in note
    assert image_size(files.folder / name) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", KINDS)
def test_without_rasterio_pixels_are_the_same_or_the_extra_is_named(files, name, monkeypatch, capfd):
    path, expected = files.folder / name, files.expected[name]
    if expected.refused is None:
        raster = read_raster(path)
    monkeypatch.setattr("earthinstruct.images.rasters.has_rasterio", lambda: False)
    if expected.refused is not None:
        with pytest.raises(DataError, match=f"{path.name.split()[-1]}"):
            read_raster(path)
    elif expected.alone == "same":
        alone = read_raster(path)
        assert np.array_equal(alone.pixels, raster.pixels)
        assert (alone.valid is None) == (raster.valid is None)
        assert alone.valid is None or np.array_equal(alone.valid, raster.valid)
        assert image_size(path) == (WIDTH, HEIGHT)
    else:
        with pytest.raises(DataError, match=r"needs rasterio.*: pip install 'earthinstruct\[geo\]'"):
            read_raster(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.tif", "a.jp2", "a.png", "a.jpg"])
def test_a_damaged_file_is_read_or_refused_and_nothing_is_printed(tmp_path, capfd, name):
    pytest.importorskip("rasterio")
    whole = tmp_path / name
    Image.fromarray(np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)).save(whole)
    content = whole.read_bytes()
    cut = [content[: len(content) * part // 8] for part in range(8)]
    spoiled = [content[:at] + b"\xff\xff" + content[at + 2 :] for at in range(4, 160, 6)]
    refused = 0
    for i, damaged in enumerate([*cut, *spoiled]):
        path = tmp_path / f"{i}_{name}"
        path.write_bytes(damaged)
        try:
            read_raster(path)
        except DataError as error:
            assert path.name in str(error)
            refused += 1
    assert refused >= 4
    assert capfd.readouterr() == ("", "")
