"""Choices of bands, stretch and nodata, their numbers by hand, and what a run keeps of them."""

import threading
import warnings

import msgspec
import numpy as np
import pytest
from PIL import Image

from earthinstruct import Prediction, evaluate
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.images import ImageOptions, images_below, open_image, read_raster
from earthinstruct.results import read_result
from earthinstruct.scoring import dataset_of, score

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the writers


def write(path, bands, **options):
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype}
    with rasterio.open(path, "w", **profile, **options) as file:
        file.write(bands)
    return path


# 101 values 0, 100, ..., 10,000: the 2nd percentile is 200, the 98th 9,800
RAMP = np.arange(0, 10_001, 100, dtype=np.uint16).reshape(1, 1, 101)


@pytest.mark.parametrize(
    ("stretch", "values", "pixels"),
    [
        (None, [200, 5000, 9800], [0, 128, 255]),  # (5000 - 200) / 9600 * 255 = 127.5, to the even number
        ("joint", [200, 2600, 10_000], [0, 64, 255]),  # 2400 / 9600 * 255 = 63.75
        ("band", [200, 2600, 10_000], [0, 64, 255]),
        ("none", [0, 5000, 10_000], [0, 19, 39]),  # 5000 / 65535 * 255 = 19.46; 38.9
        ("1000,2000", [900, 1500, 2100], [0, 128, 255]),
        ((0, 10_000), [0, 4000, 10_000], [0, 102, 255]),
    ],
)
def test_values_of_16_bits_by_hand(tmp_path, stretch, values, pixels):
    raster = read_raster(write(tmp_path / "a.tif", RAMP), ImageOptions.of(stretch=stretch))
    assert [raster.pixels[0, value // 100, 1] for value in values] == pixels


def test_a_joint_stretch_keeps_colours_and_one_by_band_does_not(tmp_path):
    path = write(tmp_path / "a.tif", np.concatenate([RAMP, RAMP // 2, RAMP // 4]))
    red, green, blue = (read_raster(path, ImageOptions(stretch="joint")).pixels[0, 80, band] for band in range(3))
    assert red > 1.5 * green > 2 * blue
    alone = read_raster(path, ImageOptions(stretch="band")).pixels
    assert np.array_equal(alone[..., 0], alone[..., 2])


def test_values_of_8_bits_are_kept_whatever_the_stretch(tmp_path):
    path = write(tmp_path / "a.tif", np.arange(40, 140, dtype=np.uint8).reshape(1, 10, 10))
    for stretch in ("joint", "band", "none", "50,60"):
        raster = read_raster(path, ImageOptions.of(stretch=stretch))
        assert (raster.pixels[0, 0, 0], raster.pixels[9, 9, 0], raster.notes) == (40, 139, ())


def test_floats_from_0_to_1_are_stretched_on_request(tmp_path):
    path = write(tmp_path / "a.tif", (RAMP / 10_000).astype(np.float32))
    assert read_raster(path).pixels[0, 50, 0] == 128
    assert read_raster(path, ImageOptions(stretch="joint")).pixels[0, 2, 0] == 0


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_the_value_of_no_data_may_be_given(tmp_path, name):
    pixels = np.full((4, 6, 3), [9, 80, 90], dtype=np.uint8)
    pixels[:, :2] = 7
    pixels[0, 5] = (7, 80, 90)  # data in two bands
    Image.fromarray(pixels).save(tmp_path / name)
    raster = read_raster(tmp_path / name, ImageOptions(nodata=7))
    assert raster.valid.tolist() == [[False] * 2 + [True] * 4] * 4
    assert not raster.pixels[:, :2].any()
    assert np.array_equal(raster.pixels[:, 2:], pixels[:, 2:])
    assert read_raster(tmp_path / name, ImageOptions(nodata=6.5)).valid is None


def test_the_given_value_of_no_data_does_not_count_in_the_stretch(tmp_path):
    values = np.concatenate([RAMP.astype(np.float32), np.full((1, 1, 50), -9999, dtype=np.float32)], axis=2)
    raster = read_raster(write(tmp_path / "a.tif", values), ImageOptions(nodata=-9999))
    assert [raster.pixels[0, i, 0] for i in (2, 98)] == [0, 255]
    assert [note for note in raster.notes if "--nodata" in str(note)] == []


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_bands_are_those_of_the_file_in_every_format(tmp_path, name):
    pixels = np.arange(96, dtype=np.uint8).reshape(4, 6, 4)
    pixels[..., 3] = 255
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / name, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    raster = read_raster(tmp_path / name, ImageOptions.of("3,2,1"))
    assert np.array_equal(raster.pixels[1:], pixels[1:, :, 2::-1])
    assert (raster.valid[0, 0], raster.pixels[0, 0].tolist()) == (False, [0, 0, 0])
    alpha = read_raster(tmp_path / name, ImageOptions.of([4]))  # looked at, it hides nothing
    assert (alpha.valid, alpha.pixels[0, :2, 0].tolist()) == (None, [0, 255])
    with pytest.raises(DataError, match=f"{name} has 4 bands, no band 5"):
        read_raster(tmp_path / name, ImageOptions.of("1,2,5"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": "1,2"}, r"--bands is \[1, 2\]; expected one band or three"),
        ({"bands": "red"}, "--bands is 'red'; expected numbers from 1, such as 4,3,2"),
        ({"stretch": "linear"}, "--stretch is 'linear'; expected joint, band, none, or a lower and a higher"),
        ({"stretch": "a,b"}, "--stretch is 'a,b'; expected a lower and a higher number, such as 0,3000"),
        ({"stretch": (1, 1)}, r"--stretch is \[1.0, 1.0\]; expected a lower and a higher"),
        ({"stretch": "1,2,3"}, "expected a lower and a higher"),
        ({"stretch": "0,inf"}, "expected a lower and a higher"),
        ({"nodata": float("nan")}, "--nodata is nan; expected a number"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ContractError, match=message):
        ImageOptions.of(**options)


def test_options_survive_a_file():
    for options in (ImageOptions(), ImageOptions.of("4,3,2", "0,3000", -9999), ImageOptions(stretch="band")):
        assert msgspec.json.decode(msgspec.json.encode(options), type=ImageOptions) == options


class Sees:
    name = "sees"

    def __init__(self):
        self.images = []

    def predict(self, image, instruction):
        self.images.append(image)
        return Prediction()


@pytest.fixture
def deep(coco, write_coco):
    """A dataset of three images of 16 bits."""
    file = write_coco(coco)
    for number, name in enumerate("abc"):
        values = np.arange(600, dtype=np.uint16).reshape(1, 20, 30) * 5 + number
        write(file.parent / "images" / f"{name}.png", np.repeat(values, 3, axis=0))  # a TIFF, whatever its name
    return file


def test_a_run_keeps_its_options_and_resumes_with_the_same_alone(deep, tmp_path):
    base = {"setting": "open_vocabulary", "output": tmp_path / "runs"}
    method = Sees()
    (result,) = evaluation = evaluate(method, deep, stretch="0,2995", nodata=0, **base)
    assert result.task.images == ImageOptions(stretch=(0, 2995), nodata=0)
    assert result.run.events == {"images: uint16: 0 is shown as 0, 2995 as 255": 3}
    assert [image.max() for image in method.images] == [255] * 3
    (folder,) = evaluation.folders
    assert read_result(folder / "result.json").task.images == result.task.images
    evaluate(method, deep, stretch=(0, 2995), nodata=0, **base)
    assert len(method.images) == 3  # nothing was missing
    with pytest.raises(
        EarthInstructError, match=r"another run \(--stretch was \(0.0, 2995.0\), is joint; --nodata was"
    ):
        evaluate(method, deep, stretch="joint", **base)
    again = score(folder, load_dataset(deep), "open_vocabulary", output=tmp_path / "runs")
    assert again.task.images == result.task.images
    shown = dataset_of(folder, result).read_image(0)  # as a report shows it
    assert np.array_equal(shown, method.images[0])


def test_many_images_share_a_note(deep, tmp_path):
    with rasterio.open(deep.parent / "images" / "a.png", "r+") as file:
        values = file.read()
        values[:, :5] = 0
        file.write(values)
    (result,) = evaluate(Sees(), deep, setting="open_vocabulary", output=tmp_path / "runs")
    assert result.run.events == {
        "images: uint16 stretched to 8 bits, percentiles 2 to 98 over all bands": 3,
        "images: more than 2 % of the pixels have the lowest value: if they hold no data, give --nodata": 1,
    }


def test_the_limit_of_pillow_does_not_hold_and_is_left_as_it_was(tmp_path, monkeypatch):
    Image.new("L", (40, 30), 200).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    filters = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_raster(tmp_path / "a.png").pixels.shape == (30, 40, 3)
        with open_image(tmp_path / "a.png"):
            other = threading.Thread(target=read_raster, args=(tmp_path / "a.png",))
            other.start()
            other.join()
            assert Image.MAX_IMAGE_PIXELS is None  # still inside
    assert Image.MAX_IMAGE_PIXELS == 10
    assert warnings.filters == filters


def test_no_image_of_a_folder_is_left_out_for_its_suffix(tmp_path):
    suffixes = [
        "JP2",
        "TIF",
        "bmp",
        "ecw",
        "gif",
        "heic",
        "img",
        "jfif",
        "jpeg",
        "jpg",
        "jxl",
        "nc",
        "ntf",
        "png",
        "tiff",
        "vrt",
        "webp",
    ]
    names = [f"a.{suffix}" for suffix in suffixes]
    (tmp_path / "__MACOSX").mkdir()
    for name in (*names, "._a.jpg", "__MACOSX/a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in images_below(tmp_path)] == names


def test_an_image_of_ones_own_size_says_its_orientation(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "JPEGImages" / "a.jpg")
    size = "<size><width>20</width><height>30</height></size>"
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.jpg</filename>{size}</annotation>")
    with pytest.raises(DataError, match=r"is 30x20 pixels, but .*a\.xml says 20x30; swap them there, or save"):
        load_dataset(tmp_path)
