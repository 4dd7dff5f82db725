"""`predict` as an analyst meets it."""

import json

import numpy as np
import pytest
from PIL import Image

from earthinstruct import predict
from earthinstruct.datasets import load_dataset

rasterio = pytest.importorskip("rasterio")

BRIGHT = """
import numpy as np
from earthinstruct import Prediction
from earthinstruct.contract import Usage
from earthinstruct.regions.masks import decode_rles, encode_masks

class Bright:
    \"\"\"Finds connected regions that are brighter than half.\"\"\"
    name = "bright"

    def predict(self, image, instruction):
        from scipy.ndimage import label
        regions, n = label(image[..., 0] > 127)
        masks = encode_masks(np.array([regions == i + 1 for i in range(n)])) if n else []
        return Prediction(["ship"] * n, decode_rles(masks).boxes, masks, counts={"ship": n})

class Boxes(Bright):
    name = "boxes"

    def predict(self, image, instruction):
        found = super().predict(image, instruction)
        return Prediction(found.labels, found.boxes)

class Cuts(Bright):
    name = "cuts"

    def predict(self, image, instruction):
        return Prediction(usage=Usage(events={"truncated replies": 1}))
"""


@pytest.fixture
def bright(tmp_path):
    (tmp_path / "bright.py").write_text(BRIGHT)
    return str(tmp_path / "bright.py")


# pixels of 2 m, upper left corner at 500,000 E 4,000,000 N of UTM zone 31 north
TRANSFORM = rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000)


def write_raster(path, pixels, transform=TRANSFORM, crs="EPSG:32631", **options):
    """A raster of (bands, height, width)."""
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype} | options
    with rasterio.open(path, "w", transform=transform, crs=crs, **profile) as file:
        file.write(pixels)
    return path


def two_ships(dtype=np.uint8, value=255, bands=3):
    """60 x 40 pixels; ships at columns 10-14, rows 20-26 and columns 40-50, rows 5-8."""
    pixels = np.zeros((bands, 40, 60), dtype=dtype)
    pixels[:, 20:26, 10:14] = value
    pixels[:, 5:8, 40:50] = value
    return pixels


GROUND = [  # x from 500,000 + 2 x column, y from 4,000,000 - 2 x row
    {(500_080, 3_999_990), (500_100, 3_999_990), (500_080, 3_999_984), (500_100, 3_999_984)},
    {(500_020, 3_999_960), (500_028, 3_999_960), (500_020, 3_999_948), (500_028, 3_999_948)},
]


def test_predict_saves_an_overlay_and_the_answer(call, method, file, tmp_path):
    image = tmp_path / "set" / "images" / "a.png"
    arguments = [
        "--method",
        f"{method}:Finds",
        "--categories",
        "ship, harbor",
        "--save",
        "out/a.png",
        "--json",
        "a.jsonl",
    ]
    code, out, _ = call("predict", *arguments, image)
    assert code == 0
    assert "a.png: ship 1" in out
    assert (tmp_path / "out" / "a.png").stat().st_size > 1000
    assert json.loads((tmp_path / "a.jsonl").read_text())["labels"] == ["ship"]
    code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", "--explain", "x.png", image)
    assert code == 2
    assert "draws no explanation" in err


@pytest.mark.parametrize(("tile", "times"), [("0", 1), ("32", 4)])
def test_events_are_notes(call, bright, tmp_path, tile, times):
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    code, out, _ = call("predict", "--method", f"{bright}:Cuts", "--open-ended", "--tile", tile, scene)
    assert code == 0
    assert out.endswith(f"scene.tif: nothing found\nnote: {times} truncated replies\n")


def test_several_images_are_saved_into_a_folder(call, method, file, tmp_path):
    images = [tmp_path / "set" / "images" / name for name in ("a.png", "b.png")]
    code, _, _ = call("predict", "--method", f"{method}:Finds", "--parent", "sports field", "--save", "drawn", *images)
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("method_class", ["Bright", "Boxes"])
@pytest.mark.parametrize("tile", ["0", "32"])  # with tiles of 32, columns 28 to 32 are shared, and neither ship is cut
def test_geojson_lands_on_the_objects(call, bright, tmp_path, method_class, tile):
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    code, out, _ = call(
        *("predict", "--method", f"{bright}:{method_class}", "--instruction", "count the ships", "--tile", tile),
        *("--save", "out/ships.geojson", "--save", "out/ships.coco.json", "--save", "out/ships.json"),
        *("--save", "out/ships.png", scene),
    )
    assert code == 0
    assert "understood as open_vocabulary: ship" in out
    assert "scene.tif: ship 2" in out
    found = json.loads((tmp_path / "out" / "ships.geojson").read_text())
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32631"
    corners = []
    for feature in found["features"]:
        assert feature["properties"] == {"label": "ship", "image": "scene.tif"}
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        corners.append({tuple(point) for point in ring})
    assert sorted(corners, key=min, reverse=True) == GROUND
    (record,) = json.loads((tmp_path / "out" / "ships.json").read_text())
    assert record["labels"] == ["ship", "ship"]
    (image,) = load_dataset(str(tmp_path / "out" / "ships.coco.json")).images
    assert (image.file_name, image.width, image.height) == ("scene.tif", 60, 40)
    assert (tmp_path / "out" / "ships.png").stat().st_size > 1000


def test_a_real_scene_keeps_its_place(call, bright, tmp_path, reference):
    scene = reference / "neon" / "OSBS_029.tif"
    files = ("--save", "a.geojson", "--save", "a.coco.json")
    code, _, _ = call("predict", "--method", f"{bright}:Boxes", "--open-ended", *files, str(scene))
    assert code == 0
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32617"
    with rasterio.open(scene) as file:
        transform = file.transform
    corners = []
    for annotation in json.loads((tmp_path / "a.coco.json").read_text())["annotations"]:
        x, y, width, height = annotation["bbox"]
        corners.append([*(transform @ (x, y)), *(transform @ (x + width, y + height))])
    rings = [np.array(feature["geometry"]["coordinates"][0]) for feature in found["features"]]
    on_the_ground = [[*ring.min(axis=0), *ring.max(axis=0)] for ring in rings]
    assert len(corners) > 100
    np.testing.assert_allclose(np.array(on_the_ground)[:, [0, 3, 2, 1]], corners, atol=0.01)


def test_a_ship_on_a_seam_is_counted_once(call, bright, tmp_path):
    pixels = np.zeros((3, 40, 60), dtype=np.uint8)
    pixels[:, 10:15, 24:40] = 255  # tiles of 32 begin at columns 0, 14 and 28
    scene = write_raster(tmp_path / "scene.tif", pixels)
    code, out, _ = call(
        *("predict", "--method", f"{bright}:Bright", "--open-ended", "--tile", "32", "--overlap", "16", scene),
        *("--save", "a.geojson"),
    )
    assert code == 0
    assert "scene.tif: ship 1" in out
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert {tuple(point) for point in feature["geometry"]["coordinates"][0]} == {
        (x, y) for x in (500_048, 500_080) for y in (3_999_980, 3_999_970)
    }


def test_tile_options_are_checked_where_they_matter(call, bright, tmp_path):
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", write_raster(tmp_path / "a.tif", two_ships()))
    assert call(*base, "--overlap", "128")[0] == 0  # one tile: nothing to share
    code, _, err = call(*base, "--tile", "32", "--overlap", "17")
    assert (code, "the overlap goes from 0 to half a tile (16)" in err) == (2, True)


def test_holes_rotation_and_several_parts_are_kept(tmp_path):
    from earthinstruct import Prediction
    from earthinstruct.images import Place
    from earthinstruct.predictions import Found, geojson_of
    from earthinstruct.regions import encode_mask

    mask = np.zeros((8, 12), dtype=bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[1:3, 8:10] = True
    prediction = Prediction(["dam"], [[1, 1, 9, 5]], [encode_mask(mask)], scores=[0.5])
    place = Place((0, 1, 7, 1, 0, 9), "EPSG:4326")  # x = row + 7, y = column + 9
    found = geojson_of([Found(tmp_path / "a.tif", 8, 12, place, prediction)])
    assert "crs" not in found
    (feature,) = found["features"]
    assert feature["properties"]["score"] == 0.5
    assert feature["geometry"]["type"] == "MultiPolygon"
    sizes = sorted([len(ring) for ring in polygon] for polygon in feature["geometry"]["coordinates"])
    assert sizes == [[5], [5, 5]]
    hole = next(polygon[1] for polygon in feature["geometry"]["coordinates"] if len(polygon) == 2)
    assert {tuple(point) for point in hole} == {(10, 12), (11, 12), (10, 13), (11, 13)}


def test_16_bits_are_stretched_and_bands_chosen(call, bright, tmp_path):
    pixels = two_ships(np.uint16, 3000, bands=4)
    pixels[3] += 50  # the fourth band alone is not black between the ships
    pixels[:3] = 100
    scene = write_raster(tmp_path / "scene.tif", pixels)
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", scene)
    code, out, _ = call(*base)
    assert code == 0
    assert "scene.tif: nothing found" in out
    assert "bands 1, 2, 3 of 4 shown as red, green, blue; choose others with --bands" in out
    for bands in ("4", "4,3,2"):
        code, out, _ = call(*base, "--bands", bands)
        assert "scene.tif: ship 2" in out
        assert "uint16 stretched to 8 bits, percentiles 2 to 98 over all bands" in out
    code, _, err = call(*base, "--bands", "5")
    assert (code, "has 4 bands, no band 5" in err) == (2, True)
    code, _, err = call(*base, "--bands", "4,3")
    assert (code, "expected one band or three" in err) == (2, True)
    code, _, err = call(*base, "--bands", "red")
    assert (code, "expected numbers from 1, such as 4,3,2" in err) == (2, True)


def test_without_rasterio_a_geotiff_is_a_picture_without_place(tmp_path, monkeypatch, call, bright):
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    monkeypatch.setattr("earthinstruct.images.rasters.has_rasterio", lambda: False)
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", scene)
    code, out, _ = call(*base)
    assert code == 0
    assert "scene.tif: ship 2" in out
    assert "read without rasterio, as a plain image" in out
    code, _, err = call(*base, "--save", "a.geojson")
    assert (code, "to read it needs rasterio: pip install 'earthinstruct[geo]'" in err) == (2, True)
    code, _, err = call(*base, "--bands", "5")
    assert (code, "has 3 bands, no band 5" in err) == (2, True)


def test_a_file_that_points_to_another_is_not_followed(tmp_path, call, bright):
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    (tmp_path / "trap.tif").write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="40"><GeoTransform>0,1,0,0,0,1</GeoTransform>'
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{scene}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(tmp_path / "trap.tif") as source:
        assert source.read().max() == 255  # GDAL alone would follow it
    code, _, err = call("predict", "--method", f"{bright}:Bright", "--open-ended", tmp_path / "trap.tif")
    assert (code, "trap.tif cannot be read" in err) == (2, True)


def test_why_an_image_has_no_place_is_said(call, bright, tmp_path):
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--save", "a.geojson")
    corners = [rasterio.control.GroundControlPoint(row, column, column, row) for row in (0, 40) for column in (0, 60)]
    points = write_raster(tmp_path / "points.tif", two_ships(), transform=None, crs=None)
    with rasterio.open(points, "r+") as file:
        file.gcps = (corners, rasterio.CRS.from_epsg(32631))
    code, _, err = call(*base, points)
    assert (code, "it has ground control points alone; warp it first: gdalwarp points.tif warped.tif" in err) == (
        2,
        True,
    )
    nameless = write_raster(tmp_path / "nameless.tif", two_ships(), crs=None)
    code, _, err = call(*base, nameless)
    assert (code, "nameless.tif does not name its coordinate reference system" in err) == (2, True)
    assert "gdal_edit.py -a_srs" in err


@pytest.mark.parametrize("name", ["a.png", "a.jp2", "a.img"])
def test_any_format_keeps_its_place(call, bright, tmp_path, name):
    if name == "a.png":
        Image.fromarray(two_ships().transpose(1, 2, 0)).save(tmp_path / name)
        (tmp_path / "a.PGW").write_text("2\n0\n0\n-2\n500001\n3999999\n")  # the centre of the first pixel
        utm = rasterio.CRS.from_epsg(32631).to_wkt().replace('"', "&quot;")
        (tmp_path / "a.png.aux.xml").write_text(f"<PAMDataset><SRS>{utm}</SRS></PAMDataset>")
    else:
        driver = {"a.jp2": "JP2OpenJPEG", "a.img": "HFA"}[name]
        lossless = {"reversible": "YES", "quality": 100} if driver != "HFA" else {}
        write_raster(tmp_path / name, two_ships(), driver=driver, **lossless)
    arguments = ("--method", f"{bright}:Bright", "--open-ended", "--save", "a.geojson")
    code, out, _ = call("predict", *arguments, tmp_path / name)
    assert (code, "ship 2" in out) == (0, True)
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32631"
    corners = [{tuple(point) for point in feature["geometry"]["coordinates"][0]} for feature in found["features"]]
    assert sorted(corners, key=min, reverse=True) == GROUND


def test_stretch_and_nodata_are_options(call, bright, tmp_path):
    pixels = two_ships(np.uint16, 1000) + 100
    pixels[:, :, :5] = 0
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", write_raster(tmp_path / "scene.tif", pixels))
    code, out, _ = call(*base, "--nodata", "0", "--stretch", "100,3000")
    assert (code, "nothing found" in out) == (0, True)
    assert "note: " + str(tmp_path / "scene.tif") + ": uint16: 100 is shown as 0, 3000 as 255" in out
    code, out, _ = call(*base, "--stretch", "100,1200")
    assert (code, "ship 2" in out, "8 % of the pixels have the lowest value, 0" in out) == (0, True, True)
    code, _, err = call(*base, "--stretch", "jiont")
    assert (code, "--stretch is 'jiont'; expected joint, band, none, or a lower and a higher number" in err) == (
        2,
        True,
    )
    code, _, err = call(*base, "--stretch", "3000,0")
    assert (code, "expected a lower and a higher number, such as 0,3000" in err) == (2, True)


def test_geojson_needs_coordinates_of_one_system(call, bright, tmp_path):
    Image.fromarray(two_ships().transpose(1, 2, 0)).save(tmp_path / "plain.png")
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--save", "a.geojson")
    code, _, err = call(*base, tmp_path / "plain.png")
    assert (code, "has no georeference" in err) == (2, True)
    one = write_raster(tmp_path / "one.tif", two_ships())
    two = write_raster(tmp_path / "two.tif", two_ships(), crs="EPSG:32632")
    code, out, _ = call(*base, one, two)
    assert code == 1
    assert "two.tif has another coordinate reference system" in out
    assert len(json.loads((tmp_path / "a.geojson").read_text())["features"]) == 2


def test_a_folder_of_images_is_predicted_and_a_bad_one_named(call, bright, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(two_ships().transpose(1, 2, 0)).save(folder / name)
    (folder / "c.png").write_text("no image")
    (folder / "notes.txt").write_text("left alone")
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended")
    code, out, _ = call(*base, folder, "--save", "all.coco.json", "--save", "drawn", "--json", "a.jsonl")
    assert code == 1
    assert "a.png: ship 2" in out
    assert f"failed: {folder / 'c.png'}: image {folder / 'c.png'} cannot be read" in out
    assert "1 of 3 images failed" in out
    assert len(json.loads((tmp_path / "all.coco.json").read_text())["images"]) == 2
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png"]
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2
    (tmp_path / "empty").mkdir()
    code, _, err = call(*base, tmp_path / "empty")
    assert (code, "has no images" in err) == (2, True)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("a.png", "a.png is one picture, and there are 2 images; name a folder"),
        ("a.tiff", "a.tiff has an unknown suffix; expected .png, .jpg, .json, .coco.json, .geojson, or a folder"),
    ],
)
def test_what_cannot_be_saved_is_said_before_the_method_runs(call, method, file, tmp_path, save, message):
    images = [tmp_path / "set" / "images" / name for name in ("a.png", "b.png")]
    code, out, err = call("predict", "--method", f"{method}:Fails", "--open-ended", "--save", save, *images)
    assert (code, message in err, out) == (2, True, "")


def test_what_cannot_be_written_is_named(call, method, file, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    image = tmp_path / "set" / "images" / "a.png"
    for target in ("taken/a.png", "taken/a.json"):
        code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", "--save", target, image)
        assert (code, f"{target} cannot be written" in err) == (2, True)


@pytest.mark.parametrize("option", ["--json", "--save", "--explain"])
def test_no_image_is_written_over(call, method, file, tmp_path, option):
    image = tmp_path / "set" / "images" / "a.png"
    before = image.read_bytes()
    code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", image, option, image)
    assert (code, "would replace that image" in err, image.read_bytes()) == (2, True, before)


def test_two_images_of_one_name_do_not_overwrite_each_other(call, method, file, tmp_path):
    image = tmp_path / "set" / "images" / "a.png"
    code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", "--save", "drawn", image, image)
    assert (code, "two images are named 'a'" in err) == (2, True)


def test_an_instruction_that_names_nothing_is_refused(call, method, file, tmp_path):
    image = tmp_path / "set" / "images" / "a.png"
    code, _, err = call("predict", "--method", f"{method}:Finds", "--instruction", "count ,", image)
    assert (code, "names nothing to find" in err) == (2, True)


def test_why_an_image_failed_holds_no_key(call, file, tmp_path):
    code = """
class Leaks:
    name = "leaks"

    def __init__(self, api_key):
        self.api_key = api_key

    def predict(self, image, instruction):
        raise RuntimeError(f"401: key {self.api_key} at http://me:pw@host/v1")
"""
    (tmp_path / "leaks.py").write_text(code)
    images = [tmp_path / "set" / "images" / f"{name}.png" for name in "ab"]
    answers = predict(
        f"{tmp_path / 'leaks.py'}:Leaks", images, open_ended=True, parameters={"api_key": "sk-secret-123"}
    )
    assert len(answers) == 2
    for answer in answers:
        assert "401: key" in answer.problem
        assert "sk-secret-123" not in answer.problem
        assert "pw" not in answer.problem


def test_after_a_hopeless_error_no_other_image_is_asked_about_and_what_was_found_is_saved(call, file, tmp_path):
    code = """
from earthinstruct import HopelessError, Prediction


class Quota:
    name = "quota"
    asked = 0

    def predict(self, image, instruction):
        self.asked += 1
        if self.asked == 2:
            raise HopelessError("429: the quota is used up")
        return Prediction(labels=["ship"], boxes=[[1, 1, 4, 4]])
"""
    (tmp_path / "quota.py").write_text(code)
    images = [tmp_path / "set" / "images" / f"{name}.png" for name in "abc"]
    answers = predict(f"{tmp_path / 'quota.py'}:Quota", images, open_ended=True, save=tmp_path / "out.json")
    assert [answer.problem is None for answer in answers] == [True, False, False]
    assert answers[1].problem == "429: the quota is used up"
    assert answers[2].problem.startswith("not tried, after the error of ")
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1
