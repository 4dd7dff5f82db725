"""`predict` as an analyst meets it."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Prediction, predict
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import encode_masks
from earthinstruct.running import saved_again

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


SHIPS = [(40, 5, 50, 8), (10, 20, 14, 26)]  # the same in pixels: x0, y0, x1, y1


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
    assert f"saved {Path('out', 'a.png')}\nkept in runs" in out
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
    assert f"scene.tif: nothing found\nnote: truncated replies: {times}\nkept in runs/predict/" in out


def test_several_images_are_saved_into_a_folder(call, method, file, tmp_path):
    images = [tmp_path / "set" / "images" / name for name in ("a.png", "b.png")]
    base = ("predict", "--method", f"{method}:Finds", "--parent", "sports field", *images)
    code, out, _ = call(*base, "--save", "drawn", "--save", "f.csv")
    assert (code, "saved 2 pictures in drawn\nsaved f.csv\n" in out) == (0, True)
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png"]


def test_what_is_known_before_the_first_image_is_said_once(call, bright, tmp_path):
    with (tmp_path / "bright.py").open("a") as file:
        file.write("\n    def unknown_words(self, instruction):\n        return ['zebra']\n")
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    code, out, _ = call("predict", "--method", f"{bright}:Cuts", "--categories", "ship, zebra, Ships", scene)
    assert code == 0
    assert out.count("note: cuts does not know 'zebra', and will find none\n") == 1
    assert out.count("note: 'ship' and 'Ships' name one kind: an object may count under each; keep one of them\n") == 1
    assert "note: truncated replies: 1\n" in out


@pytest.mark.parametrize("method_class", ["Bright", "Boxes"])
@pytest.mark.parametrize("tile", ["0", "32"])  # with tiles of 32, columns 28 to 32 are shared, and neither ship is cut
def test_geojson_lands_on_the_objects(call, bright, tmp_path, method_class, tile):
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    code, out, _ = call(
        *("predict", "--method", f"{bright}:{method_class}", "--instruction", "count the ships", "--tile", tile),
        *("--save", "out/ships.geojson", "--save", "out/ships.coco.json", "--save", "out/ships.json"),
        *("--save", "out/ships.png", scene, "--crs", "EPSG:32631"),
    )
    assert code == 0
    assert "understood as open_vocabulary: ship" in out
    assert "scene.tif: ship 2" in out
    found = json.loads((tmp_path / "out" / "ships.geojson").read_text())
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32631"
    corners = []
    for feature in found["features"]:
        assert (feature["properties"]["label"], feature["properties"]["image"]) == ("ship", str(scene))
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        corners.append({tuple(point) for point in ring})
    assert sorted(corners, key=min, reverse=True) == GROUND
    (record,) = json.loads((tmp_path / "out" / "ships.json").read_text())["images"]
    assert record["labels"] == ["ship", "ship"]
    (image,) = load_dataset(str(tmp_path / "out" / "ships.coco.json")).images
    assert (image.file_name, image.width, image.height) == ("scene.tif", 60, 40)
    assert (tmp_path / "out" / "ships.png").stat().st_size > 1000


def test_a_real_scene_keeps_its_place(call, bright, tmp_path, reference):
    scene = reference / "neon" / "OSBS_029.tif"
    files = ("--save", "a.geojson", "--crs", "EPSG:32617", "--save", "a.coco.json")
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
        *("--save", "a.geojson", "--crs", "EPSG:32631"),
    )
    assert code == 0
    assert "scene.tif: ship 1" in out
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert {tuple(point) for point in feature["geometry"]["coordinates"][0]} == {
        (x, y) for x in (500_048, 500_080) for y in (3_999_980, 3_999_970)
    }


def test_tile_options_are_checked_where_they_matter(call, bright, tmp_path):
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--overwrite")
    base = (*base, write_raster(tmp_path / "a.tif", two_ships()))
    assert call(*base, "--overlap", "128")[0] == 0  # one tile: nothing to share
    code, _, err = call(*base, "--tile", "32", "--overlap", "17")
    assert (code, "expected pixels from 0 to half a tile (16)" in err) == (2, True)


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
    found = geojson_of([Found(tmp_path / "a.tif", 8, 12, place, prediction)], {})
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
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--overwrite", scene)
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
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--overwrite", scene)
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
    assert "--source-crs EPSG:32631" in err
    assert call(*base, nameless, "--source-crs", "EPSG:32631")[0] == 0
    code, _, err = call(*base, nameless, "--source-crs", "EPSG:99999")
    assert (code, "--source-crs 'EPSG:99999' is no coordinate reference system" in err) == (2, True)


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
    arguments = ("--method", f"{bright}:Bright", "--open-ended", "--save", "a.geojson", "--crs", "EPSG:32631")
    code, out, _ = call("predict", *arguments, tmp_path / name)
    assert (code, "ship 2" in out) == (0, True)
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert found["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32631"
    corners = [{tuple(point) for point in feature["geometry"]["coordinates"][0]} for feature in found["features"]]
    assert sorted(corners, key=min, reverse=True) == GROUND


def test_stretch_and_nodata_are_options(call, bright, tmp_path):
    pixels = two_ships(np.uint16, 1000) + 100
    pixels[:, :, :5] = 0
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--overwrite")
    base = (*base, write_raster(tmp_path / "scene.tif", pixels))
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


def test_geojson_needs_a_place_and_takes_images_of_several_zones(call, bright, tmp_path):
    Image.fromarray(two_ships().transpose(1, 2, 0)).save(tmp_path / "plain.png")
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", "--save", "a.geojson")
    code, _, err = call(*base, tmp_path / "plain.png")
    assert (code, "has no georeference" in err) == (2, True)
    one = write_raster(tmp_path / "one.tif", two_ships())
    two = write_raster(tmp_path / "two.tif", two_ships(), crs="EPSG:32632")
    code, _, _ = call(*base, one, two)
    assert code == 0
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    first, _, third, _ = (feature["geometry"]["coordinates"][0] for feature in features)
    # one zone is 6 degrees wide
    np.testing.assert_allclose(np.array(third) - np.array(first), [[6, 0]] * len(first), atol=1e-9)
    code, _, err = call(*base, "--crs", "EPSG:99999", one)
    assert (code, "--crs 'EPSG:99999' is no coordinate reference system" in err) == (2, True)


RASTERS = {
    "north-up": (TRANSFORM, "EPSG:32631"),
    "south-up": (rasterio.Affine(2, 0, 500_000, 0, 2, 3_999_000), "EPSG:32631"),
    "rotated": (TRANSFORM @ rasterio.Affine.rotation(30), "EPSG:32631"),
    "geographic": (rasterio.Affine(1e-5, 0, 3, 0, -1e-5, 36), "EPSG:4326"),
    "feet": (rasterio.Affine(6, 0, 2_000_000, 0, -6, 700_000), "EPSG:2225"),
    "antimeridian": (rasterio.Affine(2, 0, 833_847, 0, -2, 100_000), "EPSG:32660"),
}


@pytest.mark.parametrize("raster", RASTERS)
def test_geojson_is_rfc_7946_and_lands_on_the_objects(call, bright, tmp_path, raster):
    transform, crs = RASTERS[raster]
    scene = write_raster(tmp_path / "scene.tif", two_ships(), transform=transform, crs=crs)
    files = ("--save", "a.geojson", "--save", "a.coco.json")
    assert call("predict", "--method", f"{bright}:Boxes", "--open-ended", *files, scene)[0] == 0
    found = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in found
    boxes = [one["bbox"] for one in json.loads((tmp_path / "a.coco.json").read_text())["annotations"]]
    n_cut = 0
    for feature, (x, y, width, height) in zip(found["features"], boxes, strict=True):
        geometry = feature["geometry"]
        parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        n_cut += len(parts) == 2
        points = np.array([point for (ring,) in parts for point in ring])
        assert (np.abs(points[:, 0]) <= 180).all()
        for (ring,) in parts:
            assert ring[0] == ring[-1]
            (xs, ys), steps = np.array(ring[:-1]).T, np.diff(ring, axis=0)
            assert ((xs - xs[0]) * steps[:, 1] - (ys - ys[0]) * steps[:, 0]).sum() > 0  # counter-clockwise
        xs, ys = rasterio.warp.transform("EPSG:4326", crs, *points.T)
        columns, rows = ~transform @ (np.array(xs), np.array(ys))
        ends = [columns.min(), rows.min(), columns.max(), rows.max()]
        np.testing.assert_allclose(ends, [x, y, x + width, y + height], atol=0.5)
    assert n_cut == (raster == "antimeridian")


VECTORS = ("a.gpkg", "a.shp", "a.fgb", "a.parquet")


@pytest.mark.parametrize("raster", RASTERS)
@pytest.mark.parametrize("name", VECTORS)
def test_vector_files_are_read_back_and_land_on_the_objects(call, bright, tmp_path, name, raster):
    gpd = pytest.importorskip("geopandas")
    transform, crs = RASTERS[raster]
    scene = write_raster(tmp_path / "scene.tif", two_ships(), transform=transform, crs=crs)
    base = ("predict", "--method", f"{bright}:Bright", "--open-ended", scene)
    code, out, _ = call(*base, "--save", f"out/{name}")
    assert code == 0
    frame = gpd.read_parquet(f"out/{name}") if name == "a.parquet" else gpd.read_file(f"out/{name}")
    assert frame.crs.to_epsg() == int(crs.removeprefix("EPSG:"))
    assert [*frame.columns] == ["id", "label", "score", "area_m2", "image", "tile", "method", "run", "geometry"]
    assert frame["label"].tolist() == ["ship", "ship"]
    assert frame["run"].tolist() == [out.rpartition("kept in ")[2].strip()] * 2
    assert frame.geometry.is_valid.all()
    for box, (x0, y0, x1, y1) in zip(frame.geometry, SHIPS, strict=True):
        ends = [~transform @ point[:2] for part in getattr(box, "geoms", [box]) for point in part.exterior.coords]
        columns, rows = zip(*ends, strict=True)
        np.testing.assert_allclose([min(columns), min(rows), max(columns), max(rows)], [x0, y0, x1, y1], atol=0.01)
    metres = {"geographic": 1.11**2 * 0.81, "feet": (6 * 0.3048) ** 2}.get(raster, 4)
    pixels = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in SHIPS]
    np.testing.assert_allclose(frame["area_m2"], np.array(pixels) * metres, rtol=0.02)
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == {
        "a.gpkg": [".gpkg", ".qml"],
        "a.shp": [".cpg", ".csv", ".dbf", ".prj", ".shp", ".shx"],
    }.get(name, [f".{name[2:]}"])


def test_a_style_has_the_colours_of_the_pictures(call, bright, tmp_path):
    from defusedxml.ElementTree import parse

    from earthinstruct.images import label_colours

    scene = write_raster(tmp_path / "scene.tif", two_ships())
    asked = ("--categories", 'ship, harbor, a "b" & <c>')
    assert call("predict", "--method", f"{bright}:Bright", *asked, "--save", "a.gpkg", scene)[0] == 0
    style = parse(tmp_path / "a.qml").getroot()
    labels = {one.get("value"): one.get("symbol") for one in style.iter("category")}
    colours = {one.get("name"): one.find(".//Option[@name='color']").get("value") for one in style.iter("symbol")}
    assert {label: colours[symbol].rsplit(",", 1)[0] for label, symbol in labels.items()} == {
        label: ",".join(map(str, colour)) for label, colour in label_colours(["ship", "harbor", 'a "b" & <c>']).items()
    }


@pytest.mark.parametrize("method_class", ["Bright", "Boxes"])
@pytest.mark.parametrize("raster", RASTERS)
def test_a_label_raster_has_the_pixels_of_its_image(call, bright, tmp_path, method_class, raster):
    transform, crs = RASTERS[raster]
    scene = write_raster(tmp_path / "scene.tif", two_ships(), transform=transform, crs=crs)
    base = ("predict", "--method", f"{bright}:{method_class}", "--open-ended")
    assert call(*base, "--save", "labels.tif", scene)[0] == 0
    with rasterio.open(tmp_path / "labels.tif") as labels, rasterio.open(scene) as image:
        assert (labels.read(1) == (image.read(1) > 127)).all()
        assert (labels.transform, labels.crs) == (image.transform, image.crs)
        assert labels.tags()["label_1"] == "ship"
        assert [value[0] for value in labels.sample([transform @ (12.5, 22.5), transform @ (9.5, 22.5)])] == [1, 0]
    other = write_raster(tmp_path / "other.tif", two_ships())
    code, _, err = call(*base, "--save", "labels.tif", scene, other)
    assert (code, "has the pixels of one image, and there are 2" in err) == (2, True)


def test_a_label_raster_has_the_colours_of_the_picture(call, bright, tmp_path):
    from earthinstruct.images import label_colours

    scene, asked = write_raster(tmp_path / "scene.tif", two_ships()), ["airplane", "dam", "ship"]
    base = ("predict", "--method", f"{bright}:Bright", "--categories", ", ".join(asked))
    assert call(*base, "--save", "labels.tif", scene)[0] == 0
    with rasterio.open(tmp_path / "labels.tif") as labels:
        assert labels.colormap(1)[1][:3] == label_colours(asked)["ship"]


def test_counts_are_a_table(counted, tmp_path):
    images = [write_raster(tmp_path / name, two_ships()) for name in ("a.tif", "b.tif")]
    assert counted(*images, "--save", "counts.csv")[0] == 0
    rows = (tmp_path / "counts.csv").read_text().splitlines()
    assert rows[:3] == [
        "image,label,count,drawn,counted_not_drawn,drawn_not_counted,notes",
        f"{images[0]},ship,2,1,1,0,",
        f"{images[0]},harbor,0,0,0,0,",
    ]
    assert len(rows) == 5


def test_vector_files_without_geopandas_are_refused_before_the_method_is_asked(call, bright, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "geopandas", None)
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    code, out, err = call("predict", "--method", f"{bright}:Bright", "--open-ended", "--save", "a.gpkg", scene)
    assert (code, out) == (2, "")
    assert "needs the package geopandas: pip install 'earthinstruct[geo]'" in err


@pytest.mark.parametrize("tile", ["0", "24"])
def test_a_window_is_a_part_of_the_scene(call, bright, tmp_path, tile):
    scene = write_raster(tmp_path / "scene.tif", two_ships())
    base = ("predict", "--method", f"{bright}:Boxes", "--open-ended", "--overwrite", "--save", "a.coco.json", scene)
    for window, expected in (("5,15,30,20", [[10, 20, 4, 6]]), ("36,0,100,100", [[40, 5, 10, 3]]), ("0,0,9,9", [])):
        assert call(*base, "--window", window, "--tile", tile)[0] == 0
        found = json.loads((tmp_path / "a.coco.json").read_text())
        assert [one["bbox"] for one in found["annotations"]] == expected
        assert (found["images"][0]["width"], found["images"][0]["height"]) == (60, 40)
    for window in ("1,2,3", "a,0,1,1", "-1,0,5,5", "0,0,0,5"):
        code, _, err = call(*base, f"--window={window}")
        assert (code, "expected column, row, width and height in pixels" in err) == (2, True)
    code, _, err = call(*base, "--window", "60,0,5,5")
    assert (code, "60x40 pixels, none of them in --window" in err) == (2, True)


@pytest.mark.parametrize("tile", ["0", "24"])
@pytest.mark.parametrize("raster", RASTERS)
def test_an_area_of_interest_hides_the_rest(call, bright, tmp_path, raster, tile):
    gpd = pytest.importorskip("geopandas")
    from shapely.geometry import Polygon

    transform, crs = RASTERS[raster]
    scene = write_raster(tmp_path / "scene.tif", two_ships(), transform=transform, crs=crs)
    corners = [transform @ corner for corner in ((6, 16), (30, 16), (30, 38), (6, 38))]
    area = gpd.GeoSeries([Polygon(corners)], crs=crs)
    (area if raster == "antimeridian" else area.to_crs("EPSG:4326")).to_file(tmp_path / "area.gpkg")
    base = ("predict", "--method", f"{bright}:Boxes", "--open-ended", "--save", "a.coco.json", "--tile", tile, scene)
    assert call(*base, "--aoi", "area.gpkg")[0] == 0
    found = json.loads((tmp_path / "a.coco.json").read_text())
    assert [one["bbox"] for one in found["annotations"]] == [[10, 20, 4, 6]]
    gpd.GeoSeries([Polygon([(0, 0), (1, 0), (1, 1)])], crs="EPSG:4326").to_file(tmp_path / "far.gpkg")
    code, _, err = call(*base, "--aoi", "far.gpkg", "--output", "other")
    assert (code, "scene.tif does not reach into the area of far.gpkg" in err) == (2, True)
    code, _, err = call(*base, "--aoi", "none.gpkg", "--output", "third")
    assert (code, "--aoi none.gpkg cannot be read" in err) == (2, True)


class Scored:
    """Two ships of 12 and 200 pixels, the first with a staircase as its outline."""

    name = "scored"

    def predict(self, image, instruction):
        masks = np.zeros((2, *image.shape[:2]), dtype=bool)
        masks[0, :10, :10] = np.tri(10, dtype=bool)
        masks[1, 20:30, 10:30] = True
        return Prediction(["ship"] * 2, [[0, 0, 10, 10], [10, 20, 20, 10]], encode_masks(masks), scores=[0.9, 0.2])


@pytest.mark.parametrize(
    ("least", "left"),
    [
        ({}, [0, 1]),
        ({"min_score": 0.5}, [0]),
        ({"min_area": 100}, [1]),
        ({"min_area": "221 m2"}, [1]),
        ({"min_area": "200 m2"}, [0, 1]),
        ({"min_score": 0.95}, []),
    ],
)
def test_small_and_doubtful_objects_are_left_out_of_what_is_saved(tmp_path, least, left):
    scene = write_raster(tmp_path / "a.tif", two_ships())
    answers = predict(Scored(), scene, categories="ship", output=tmp_path / "runs", **least)
    assert answers.found[0].prediction.scores.tolist() == [[0.9, 0.2][i] for i in left]
    assert (f"{2 - len(left)} objects are left out by --min-score or --min-area" in answers.notes) == (len(left) < 2)
    assert answers[0].counts == {"ship": len(left)}
    again = saved_again(answers.folder, **least)
    assert answers.to_geodataframe().equals(again.to_geodataframe())
    assert len(saved_again(answers.folder)[0].prediction) == 2


def test_outlines_may_be_simpler(tmp_path):
    scene = write_raster(tmp_path / "a.tif", two_ships())
    answers = predict(Scored(), scene, categories="ship", output=None)
    stairs, simple = answers.to_geodataframe().geometry, answers.to_geodataframe(simplify=1.0).geometry
    assert len(stairs[0].exterior.coords) == 23
    assert len(simple[0].exterior.coords) < 10
    assert simple.is_valid.all()
    assert (simple.hausdorff_distance(stairs) <= 2).all()  # a pixel is 2 m


@pytest.mark.parametrize("simplify", [-1, float("nan"), float("inf")])
def test_outlines_that_cannot_be_simpler_are_refused_before_the_method_is_asked(tmp_path, simplify):
    scene = write_raster(tmp_path / "a.tif", two_ships())
    with pytest.raises(EarthInstructError, match=r"--simplify is .*; expected pixels, 0 or more"):
        predict(Scored(), scene, "count the ships", output=None, save=tmp_path / "a.geojson", simplify=simplify)


@pytest.mark.parametrize("option", [("--crs", "EPSG:32631"), ("--simplify", "2")])
def test_options_of_vector_files_need_one(call, counted, tmp_path, option):
    scene = write_raster(tmp_path / "a.tif", two_ships())
    assert counted(scene)[0] == 0
    code, _, err, calls = counted(scene, "--save", "a.csv", *option, "--overwrite")
    assert (code, calls, "--crs and --simplify are for vector files; save one (.geojson" in err) == (2, 1, True)
    (run,) = (tmp_path / "runs" / "predict").glob("*/counts")
    code, _, err = call("predict", "--from", run, *option)
    assert (code, "--crs and --simplify are for vector files" in err) == (2, True)


def test_a_method_may_change_the_working_directory(call, tmp_path):
    pytest.importorskip("geopandas")
    from shapely.geometry import box, mapping

    (tmp_path / "away").mkdir()
    (tmp_path / "moves.py").write_text(f"""
import os
from earthinstruct import Prediction

class Moves:
    name = "moves"

    def __init__(self):
        os.chdir({str(tmp_path / "away")!r})

    def resolution(self):
        return 4.0

    def explain(self, image, instruction):
        return image

    def predict(self, image, instruction):
        return Prediction(["ship"], [[1, 1, 4, 4]])
""")
    write_raster(tmp_path / "a.tif", two_ships())
    area = {"type": "Feature", "properties": {}, "geometry": mapping(box(500_000, 3_999_940, 500_080, 4_000_000))}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [area]}))
    targets = ("--json", "a.jsonl", "--save", "a.geojson", "--save", "drawn", "--explain", "e.png")
    code, out, _ = call(
        *("predict", "--method", f"{tmp_path / 'moves.py'}:Moves", "--open-ended", "a.tif", "--aoi", "area.geojson"),
        *("--resolution", "method", *targets),
    )
    assert code == 0
    assert "a.tif: ship 1" in out.splitlines()
    assert "kept in runs/predict/a-" in out
    assert [*(tmp_path / "away").iterdir()] == []
    for name in ("a.jsonl", "a.geojson", "drawn/a.png", "e.png"):
        assert (tmp_path / name).stat().st_size > 0
    (manifest,) = (tmp_path / "runs" / "predict").glob("*/moves/run.json")
    content = json.loads(manifest.read_text())
    assert [*content["images"]] == ["a.tif"]
    assert content["images"]["a.tif"].endswith(str((tmp_path / "a.tif").stat().st_mtime_ns))
    assert content["aoi"][0] == "area.geojson"
    assert "bytes, changed at" in content["aoi"][1]


def test_pixels_in_memory_are_images_too(tmp_path):
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    scene = write_raster(tmp_path / "a.tif", two_ships())
    answers = predict(Scored(), [pixels, scene], "count the ships", output=tmp_path / "runs", save=tmp_path / "drawn")
    assert [str(answer.path) for answer in answers] == ["image 0", str(scene)]
    assert [answer.counts for answer in answers] == [{"ship": 2}] * 2
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png", "image 0.png"]
    for answer, name in zip(answers, ("image 0.png", "a.png"), strict=True):
        with Image.open(tmp_path / "drawn" / name) as drawn:
            assert (np.array(answer.overlay()) == np.array(drawn)).all()
    again = predict(Scored(), [pixels, scene], "count the ships", output=tmp_path / "runs")
    assert any("2 of 2 images were predicted before" in note for note in again.notes)
    with pytest.raises(EarthInstructError, match=r"image image 0 was pixels in memory, \(40, 60, 3\)"):
        predict(Scored(), [pixels + 1, scene], "count the ships", output=tmp_path / "runs")
    swapped = predict(Scored(), [scene, pixels], "count the ships", output=None)
    assert [str(answer.path) for answer in swapped] == [str(scene), "image 0"]
    with pytest.raises(EarthInstructError, match=r"image 0 is an array of float64 and shape .*expected uint8 RGB"):
        predict(Scored(), pixels / 255, "count the ships", output=None)


@pytest.mark.parametrize("area", ["small", "-3", "nan", "m2", "3 km2"])
def test_an_area_is_a_number_of_pixels_or_square_metres(tmp_path, area):
    scene = write_raster(tmp_path / "a.tif", two_ships())
    with pytest.raises(EarthInstructError, match="expected pixels, such as 20, or '20 m2'"):
        predict(Scored(), scene, categories="ship", output=None, min_area=area)


COUNTS_CALLS = """
from pathlib import Path
from earthinstruct import Prediction

class Counts:
    name = "counts"

    def __init__(self, log, stop=1000, least=0, boxes=True):
        self.log, self.stop, self.least, self.boxes = Path(log), stop, least, boxes

    def describe(self):
        return {"parameters": {"least": self.least}}

    def predict(self, image, instruction):
        before = len(self.log.read_text()) if self.log.exists() else 0
        if before == self.stop:
            raise KeyboardInterrupt
        self.log.write_text("." * (before + 1))
        if not self.boxes:
            return Prediction(counts={"ship": 2})
        return Prediction(["ship"], [[1, 1, 4, 4]], counts={"ship": 2})
"""


@pytest.fixture
def counted(call, tmp_path):
    """Runs `predict` with a method that writes down each call; returns the exit code, both outputs and the calls."""
    (tmp_path / "counts.py").write_text(COUNTS_CALLS)

    def run(*arguments, **parameters):
        given = [word for name, value in parameters.items() for word in ("-M", f"{name}={value}")]
        method = ("--method", f"{tmp_path / 'counts.py'}:Counts", "-M", f"log={tmp_path / 'log'}", *given)
        found = call("predict", *method, "--categories", "ship, harbor", *arguments)
        return *found, len((tmp_path / "log").read_text())

    return run


def test_a_stopped_run_goes_on_at_the_next_tile(call, counted, tmp_path):
    images = [write_raster(tmp_path / name, two_ships()) for name in ("a.tif", "b.tif")]
    arguments = ("--tile", "32", "--save", "found.json", *images)  # four tiles an image
    code, _, err, calls = counted(*arguments, stop=6)
    assert (code, calls) == (130, 6)
    assert "kept in runs/predict: continue with the same command" in err
    code, out, _, calls = counted(*arguments)
    assert (code, calls) == (0, 8)
    assert "1 of 2 images were predicted before" in out
    assert "note: 2 tiles were answered before; --overwrite asks about them again" in out
    assert len(json.loads((tmp_path / "found.json").read_text())["images"]) == 2
    (run,) = (tmp_path / "runs" / "predict").glob("*/counts")
    assert sorted(path.name for path in run.iterdir()) == ["predictions.jsonl", "run.json"]
    assert counted(*arguments)[3] == 8
    assert counted(*arguments, "--overwrite")[3] == 16


def test_a_run_with_other_parameters_is_not_mixed_in(counted, tmp_path):
    image = write_raster(tmp_path / "a.tif", two_ships())
    assert counted(image)[0] == 0
    for arguments, parameters, difference in (
        ((), {"least": 3}, "parameter least was 0, is 3"),
        (("--tile", "32"), {}, "--tile was None, is 32"),
        (("--stretch", "none"), {}, "--stretch was None, is none"),
        (("--window", "0,0,9,9"), {}, "--window was None, is 0,0,9,9"),
        (("--bands", "3,2,1"), {}, "--bands was None, is 3,2,1"),
    ):
        code, _, err, calls = counted(image, *arguments, **parameters)
        assert (code, calls) == (2, 1)
        assert difference in err
        assert "give --overwrite to start again, or another --output to keep both" in err
    write_raster(tmp_path / "a.tif", two_ships(bands=4))
    code, _, err, _ = counted(image)
    assert (code, f"image {image} was" in err) == (2, True)
    assert counted(image, "--output", "others")[3] == 2


def test_answers_are_saved_again_without_the_method(call, counted, tmp_path):
    images = [write_raster(tmp_path / name, two_ships()) for name in ("a.tif", "b.tif")]
    assert counted(*images, "--save", "first.geojson")[0] == 0
    (run,) = (path.relative_to(tmp_path) for path in (tmp_path / "runs" / "predict").glob("*/counts"))
    code, out, _ = call("predict", "--from", run, "--save", "again.geojson", "--save", "drawn")
    assert code == 0
    assert f"{images[0]}: ship 2, harbor 0 (1 counted but not drawn, 0 drawn but not counted)" in out
    assert (tmp_path / "again.geojson").read_bytes() == (tmp_path / "first.geojson").read_bytes()
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png", "b.png"]
    write_raster(tmp_path / "a.tif", two_ships(bands=4))
    code, out, _ = call("predict", "--from", run)
    assert (code, "a.tif has changed since it was predicted" in out) == (1, True)
    code, _, err = call("predict", "--from", run, *images)
    assert (code, "leave IMAGE out" in err) == (2, True)
    code, _, err = call("predict", "--from", run, "--tile", "7", "--overwrite", "-M", "a=1")
    assert (code, "leave --tile, --overwrite, -M out" in err) == (2, True)
    code, _, err = call("predict", "--from", run, "--output", "runs")
    assert (code, "leave --output out" in err) == (2, True)
    before = images[1].read_bytes()
    code, _, err = call("predict", "--from", run, "--json", images[1])
    assert (code, "would replace that image" in err, images[1].read_bytes()) == (2, True, before)
    code, _, err = call("predict", "--from", tmp_path)
    assert (code, "run.json" in err) == (2, True)
    code, _, err = call("predict")
    assert (code, "predict needs IMAGE, --method, one of --categories" in err) == (2, True)


def test_counts_of_nothing_and_counts_without_boxes_are_in_every_file(counted, tmp_path):
    image = write_raster(tmp_path / "a.tif", two_ships())
    counted(image, "--save", "a.json", "--save", "a.coco.json", "--save", "a.geojson")
    for name in ("a.json", "a.coco.json", "a.geojson"):
        (entry,) = json.loads((tmp_path / name).read_text())["images"]
        assert entry["counts"] == {"ship": 2, "harbor": 0}
        assert (entry["counted_not_drawn"], entry["drawn_not_counted"]) == (1, 0)
    coco = json.loads((tmp_path / "a.coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["harbor", "ship"]


def test_a_tile_without_data_is_not_asked_about(counted, tmp_path):
    pixels = np.zeros((3, 64, 64), dtype=np.uint8)
    pixels[:, :32, :32] = 9
    scene = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    code, out, _, calls = counted("--tile", "32", "--overlap", "0", scene)
    assert (code, calls) == (0, 1)
    assert "a.tif: ship 2, harbor 0" in out
    assert "note: tiles without data, not asked about: 3" in out
    blank = write_raster(tmp_path / "b.tif", np.zeros((3, 8, 8), dtype=np.uint8), nodata=0)
    code, out, _, calls = counted(blank)
    assert (code, calls, "b.tif: ship 0, harbor 0" in out) == (0, 1, True)


def test_a_stopped_run_goes_on_over_tiles_without_data_and_counts_alone(call, counted, tmp_path):
    pixels = np.full((3, 64, 64), 9, dtype=np.uint8)
    pixels[:, :32] = 0
    scene = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    arguments = ("--tile", "32", "--overlap", "0", "--save", "a.json", scene)
    assert counted(*arguments, stop=1, boxes="false")[0] == 130
    code, out, _, calls = counted(*arguments, boxes="false")
    assert (code, calls) == (0, 2)
    assert "a.tif: ship 4, harbor 0 (4 counted but not drawn, 0 drawn but not counted)" in out
    before = (tmp_path / "a.json").read_text()
    assert counted(*arguments, boxes="false")[3] == 2
    assert (tmp_path / "a.json").read_text() == before


def test_predictions_without_their_manifest_are_not_taken(counted, tmp_path):
    image = write_raster(tmp_path / "a.tif", two_ships())
    assert counted(image)[0] == 0
    (manifest,) = (tmp_path / "runs" / "predict").glob("*/counts/run.json")
    manifest.unlink()
    code, _, err, calls = counted(image)
    assert (code, calls, "has predictions but no run.json; give --overwrite" in err) == (2, 1, True)
    assert counted(image, "--overwrite")[3] == 2


def test_an_image_is_asked_about_once(counted, tmp_path):
    image = write_raster(tmp_path / "a.tif", two_ships())
    counted(image)
    code, _, err, calls = counted(image, image)
    assert (code, calls, "a.tif is given 2 times; give it once" in err) == (2, 1, True)


def test_secrets_in_events_reach_no_file(call, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret-1")
    code = """
from earthinstruct import Prediction
from earthinstruct.contract import Usage

class Quotes:
    name = "quotes"

    def predict(self, image, instruction):
        return Prediction(usage=Usage(events={"key sk-very-secret-1 was refused": 1}))
"""
    (tmp_path / "quotes.py").write_text(code)
    image = write_raster(tmp_path / "a.tif", two_ships())
    saved = ("--save", "a.json", "--save", "a.csv", "--save", "a.coco.json", "--json", "a.jsonl")
    code, out, err = call("predict", "--method", f"{tmp_path / 'quotes.py'}:Quotes", "--open-ended", *saved, image)
    assert code == 0
    assert "note: key *** was refused: 1" in out
    # the method itself is there twice: Python keeps it as bytecode
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("quotes.")]
    assert len(files) >= 6
    assert not any(b"sk-very-secret-1" in path.read_bytes() for path in files)
    assert "sk-very-secret-1" not in out + err


def test_labels_are_no_formulas_and_no_broken_styles(call, tmp_path):
    from defusedxml.ElementTree import parse

    code = """
from earthinstruct import Prediction

class Writes:
    name = "writes"

    def predict(self, image, instruction):
        return Prediction(["=HYPERLINK(1)", "a\\x1bb"], [[1, 1, 4, 4]] * 2)
"""
    (tmp_path / "writes.py").write_text(code)
    image = write_raster(tmp_path / "a.tif", two_ships())
    saved = ("--save", "a.csv", "--save", "a.gpkg", "--save", "labels.tif")
    assert call("predict", "--method", f"{tmp_path / 'writes.py'}:Writes", "--open-ended", *saved, image)[0] == 0
    text = (tmp_path / "a.csv").read_text()
    assert ",'=HYPERLINK(1)," in text
    assert "\x1b" not in text
    assert len(list(parse(tmp_path / "a.qml").getroot().iter("category"))) == 2


def test_failed_images_are_in_every_file(call, bright, tmp_path):
    good, bad = write_raster(tmp_path / "a.tif", two_ships()), tmp_path / "b.tif"
    bad.write_bytes(b"no image")
    saved = ("--save", "a.json", "--save", "a.csv", "--save", "a.coco.json", "--save", "a.geojson")
    assert call("predict", "--method", f"{bright}:Bright", "--open-ended", *saved, good, bad)[0] == 1
    assert (tmp_path / "a.csv").read_text().splitlines()[-1].startswith(f'{bad},,,,,,"image {bad} cannot be read')
    for name, about in (("a.json", "about"), ("a.coco.json", "info"), ("a.geojson", "about")):
        assert [*json.loads((tmp_path / name).read_text())[about]["failed"]] == [str(bad)]


@pytest.mark.parametrize("target", ["taken/a.json", "taken/a.png", "taken"])
def test_what_cannot_be_written_is_found_before_the_method_is_asked(call, bright, tmp_path, target):
    (tmp_path / "taken").write_text("a file, not a folder")
    scene = write_raster(tmp_path / "a.tif", two_ships())
    code, out, err = call("predict", "--method", f"{bright}:Bright", "--open-ended", "--save", target, scene)
    assert (code, out) == (2, "")
    assert f"{target} cannot be written" in err


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
        ("a.tiff", "a.tiff has an unknown suffix; expected .png, .jpg, .coco.json, .geojson, .json, .csv, .gpkg"),
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


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("option", [("--json", "a.json"), ("--save", "a.json"), ("--save", "a.png")])
def test_a_full_disk_leaves_the_file_of_an_earlier_command_as_it_was(call, method, file, tmp_path, option):
    import resource

    target = tmp_path / option[1]
    target.write_bytes(b"old")
    images = [tmp_path / "set" / "images" / name for name in ("a.png", "b.png")][: 1 if option[1] == "a.png" else 2]
    assert call("predict", "--method", f"{method}:Finds", "--open-ended", *images)[0] == 0  # fills the run folder
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # no file may be longer
    try:
        code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", *option, *images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, f"{option[1]} cannot be written: File too large" in err) == (2, True)
    assert target.read_bytes() == b"old"
    assert call("predict", "--method", f"{method}:Finds", "--open-ended", *option, *images)[0] == 0
    assert target.read_bytes() != b"old"


def test_no_lines_of_an_earlier_command_are_left(call, method, file, tmp_path):
    (tmp_path / "a.jsonl").write_text("old")
    bad = [tmp_path / "1.png", tmp_path / "2.png"]
    for path in bad:
        path.write_bytes(b"no image")
    code, _, _ = call("predict", "--method", f"{method}:Finds", "--open-ended", "--json", "a.jsonl", *bad)
    assert (code, (tmp_path / "a.jsonl").read_text()) == (1, "")


@pytest.mark.parametrize("option", ["--json", "--save", "--explain"])
def test_no_image_is_written_over(call, method, file, tmp_path, option):
    image = tmp_path / "set" / "images" / "a.png"
    before = image.read_bytes()
    code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", image, option, image)
    assert (code, f"{option} {image} would replace that" in err, image.read_bytes()) == (2, True, before)


@pytest.mark.parametrize("option", ["--save", "--explain"])
def test_a_folder_of_pictures_does_not_replace_the_images_in_it(call, method, file, tmp_path, option):
    folder = tmp_path / "set" / "images"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for images in (folder, folder / "a.png"):
        code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", images, option, folder)
        assert (code, f"{option} {folder / 'a.png'} would replace that image" in err) == (2, True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("target", ["drawn", "drawn.png"])
def test_an_explanation_does_not_replace_the_picture_of_what_was_found(call, method, file, tmp_path, target):
    image = tmp_path / "set" / "images" / "a.png"
    twice = ("--save", target, "--explain", target)
    code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", image, *twice)
    assert (code, f"--explain {target} would replace the picture of --save" in err) == (2, True)


def test_two_images_of_one_name_do_not_overwrite_each_other(call, method, file, tmp_path):
    image = tmp_path / "set" / "images" / "a.png"
    (tmp_path / "other").mkdir()
    other = shutil.copy(image, tmp_path / "other")
    code, _, err = call("predict", "--method", f"{method}:Finds", "--open-ended", "--save", "drawn", image, other)
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
from pathlib import Path

from earthinstruct import HopelessError, Prediction


class Quota:
    name = "quota"
    asked = 0

    def predict(self, image, instruction):
        fault = Path("faults").read_text().split()[self.asked]
        self.asked += 1
        if fault == "hopeless":
            raise HopelessError("429: the quota is used up")
        if fault == "fails":
            raise ValueError("no words")
        return Prediction(labels=["ship"], boxes=[[1, 1, 4, 4]])
"""
    (tmp_path / "quota.py").write_text(code)
    images = [tmp_path / "set" / "images" / f"{name}.png" for name in "abc"]

    def answers(faults):
        (tmp_path / "faults").write_text(faults)
        return predict(f"{tmp_path / 'quota.py'}:Quota", images, open_ended=True, save=tmp_path / "out.json")

    first, second, third = answers("hopeless")
    assert first.problem == "429: the quota is used up"
    assert second.problem == third.problem == f"not tried, after the error of {images[0]}: 429: the quota is used up"
    assert [answer.problem for answer in answers("fails answers hopeless")][:2] == ["ValueError: no words", None]
    first, second, third = answers("hopeless")
    assert second.problem is None  # what is kept needs no quota
    assert third.problem.startswith("not tried, after the error of ")
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 1
    assert "1 of 3 images were predicted before" in str(answers("answers answers"))
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 3
