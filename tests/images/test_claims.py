"""Image files whose headers claim more pixels than fit into memory are refused before any memory is taken."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Prediction, evaluate, load_dataset, predict
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.images import image_size, open_scene, read_raster

CLAIMED = 60_000  # pixels a side
WORDS = r"60000x60000 pixels; at most 536,870,912 are decoded at once: "


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png():
    header = struct.pack(">IIBBBBB", CLAIMED, CLAIMED, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(bytes(99)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks.items())


def stored(kind, places, form, **options):
    """A small picture in which the numbers at some places claim the size."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, kind, **options)
    content = bytearray(file.getvalue())
    for place in places(content):
        struct.pack_into(form, content, place, CLAIMED, CLAIMED)
    return bytes(content)


def tiff(**blocks):
    """A TIFF of one band with few bytes, in strips or tiles of a size."""
    tags = {256: (CLAIMED, 4), 257: (CLAIMED, 4), 258: (8, 3), 259: (8, 3), 262: (1, 3), 277: (1, 3)}
    tags |= {int(tag[1:]): (value, 4) for tag, value in blocks.items()}
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (value, kind) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(200)


PICTURES = {
    "a.png": png,
    "a.jpg": lambda: stored("JPEG", lambda c: [c.find(b"\xff\xc0") + 5], ">HH"),
    "progressive.jpg": lambda: stored("JPEG", lambda c: [c.find(b"\xff\xc2") + 5], ">HH", progressive=True),
    "a.gif": lambda: stored("GIF", lambda c: [6, c.find(b"\x2c") + 5], "<HH"),
    "a.bmp": lambda: stored("BMP", lambda c: [18], "<ii"),
}
RASTERS = {
    "strip.tif": lambda: tiff(t273=150, t278=CLAIMED, t279=99),
    "block.tif": lambda: tiff(t322=CLAIMED - 16, t323=CLAIMED - 16, t324=150, t325=99),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_refused_with_its_size_and_what_to_do(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(PICTURES[name]())
    assert image_size(file) == (CLAIMED, CLAIMED)
    with pytest.raises(DataError, match=f"{name} has {WORDS}.*gdal_translate -co TILED=YES .*{name} A.tif"):
        read_raster(file)


@pytest.mark.parametrize("name", RASTERS)
def test_a_raster_is_refused_whole_and_its_blocks_are_not_decoded(tmp_path, name):
    pytest.importorskip("rasterio")
    file = tmp_path / name
    file.write_bytes(RASTERS[name]())
    with pytest.raises(DataError, match=f"{name} that is read has {WORDS}cut it into smaller tiles"):
        read_raster(file)
    with open_scene(file) as scene, pytest.raises(DataError, match=f"{name} (cannot be read|has 59984x59984 pixels)"):
        scene.read((0, 0, 64, 64))


def test_a_large_raster_is_read_tile_by_tile(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": CLAIMED, "height": CLAIMED, "count": 1, "dtype": "uint8"}
    tiled = {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "compress": "deflate", "SPARSE_OK": True}
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(1, 0, 500_000, 0, -1, 4_000_000)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **tiled, **place) as file:
        file.write(np.full((1, 8, 8), 200, np.uint8), window=((50_000, 50_008), (40_000, 40_008)))
    with open_scene(tmp_path / "a.tif") as scene:
        pixels, _ = scene.read((39_999, 49_999, 40_010, 50_010))
        assert pixels[..., 0].sum() == 64 * 200
        with pytest.raises(DataError, match=f"a.tif that is read has {WORDS}cut it into smaller tiles"):
            scene.read()
    with pytest.raises(EarthInstructError, match=r"the part that is read has 30012x30012 pixels; .*give --tile"):
        predict(Finds(), tmp_path / "a.tif", categories="ship", resolution=2, tile=0, output=None)


class Finds:
    name = "finds"

    def predict(self, image, instruction):
        return Prediction(["ship"], [[0, 0, 10, 10]])


def test_predict_and_evaluate_list_the_picture_and_go_on(coco, write_coco, tmp_path):
    dataset = load_dataset(str(write_coco(coco)))
    names = [image.file_name for image in dataset.images]
    (dataset.image_root / names[0]).write_bytes(png())
    answers = predict(Finds(), dataset.image_root, categories="ship", output=None)
    assert [answer.path.name for answer in answers if answer.problem] == names[:1]
    assert any("60000x60000 pixels" in (answer.problem or "") for answer in answers)
    result = evaluate(Finds(), dataset, setting="open_vocabulary", output=tmp_path / "runs").results[0]
    assert list(result.run.failed) == [str(dataset.images[0].id)]
    assert "60000x60000" in result.run.failed[str(dataset.images[0].id)]


def test_a_picture_of_another_size_than_its_dataset_says_is_not_decoded(coco, write_coco, monkeypatch):
    dataset = load_dataset(str(write_coco(coco)))
    Image.new("RGB", (64, 64)).save(dataset.path_of(0))
    monkeypatch.setattr("earthinstruct.images.reading.read_picture", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"is 64x64 pixels, but the annotation file says"):
        dataset.read_image(0)
