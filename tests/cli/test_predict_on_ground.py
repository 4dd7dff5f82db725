"""`predict` at another resolution, and what every output says of where its objects come from."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Prediction, predict
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import decode_rles, encode_masks
from earthinstruct.running import saved_again

rasterio = pytest.importorskip("rasterio")
gpd = pytest.importorskip("geopandas")

RASTERS = {  # pixels of about 2 m
    "north-up": (rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000), "EPSG:32631"),
    "south-up": (rasterio.Affine(2, 0, 500_000, 0, 2, 3_999_000), "EPSG:32631"),
    "rotated": (rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000) @ rasterio.Affine.rotation(30), "EPSG:32631"),
    "geographic": (rasterio.Affine(2.2176e-5, 0, 3, 0, -1.8022e-5, 36), "EPSG:4326"),
    "feet": (rasterio.Affine(6.56168, 0, 6_500_000, 0, -6.56168, 2_000_000), "EPSG:2225"),
    "antimeridian": (rasterio.Affine(2, 0, 833_800, 0, -2, 100_000), "EPSG:32660"),
}
SHIPS = [(80, 8, 104, 20), (20, 40, 32, 56)]  # x0, y0, x1, y1


class Bright:
    """Finds bright regions, and keeps the sizes of what it was shown."""

    name = "bright"
    known = ("ship",)

    def __init__(self, made_for=None):
        self.made_for = made_for
        self.seen = []

    def resolution(self):
        return self.made_for

    def unknown_words(self, instruction):
        return [name for name in instruction.categories if name not in self.known]

    def describe(self):
        return {"made_for": ["scenes"]}

    def explain(self, image, instruction):
        return image

    def predict(self, image, instruction):
        from scipy.ndimage import label

        self.seen.append(image.shape[:2])
        regions, n = label(image[..., 0] > 127)
        masks = encode_masks(np.array([regions == i + 1 for i in range(n)])) if n else []
        return Prediction(["ship"] * n, decode_rles(masks).boxes, masks, counts={"ship": n + 1})


def write(path, raster="north-up", **options):
    """120 x 80 pixels with two ships."""
    transform, crs = RASTERS[raster]
    pixels = np.zeros((3, 80, 120), dtype=np.uint8)
    for x0, y0, x1, y1 in SHIPS:
        pixels[:, y0:y1, x0:x1] = 255
    profile = {"driver": "GTiff", "count": 3, "height": 80, "width": 120, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, **({"transform": transform, "crs": crs} | options)) as file:
        file.write(pixels)
    return path


def corners(prediction):
    return sorted((x, y, x + width, y + height) for x, y, width, height in prediction.boxes.tolist())


@pytest.mark.parametrize(("resolution", "shape"), [(4, (40, 60)), (1.25, (128, 192))])
@pytest.mark.parametrize("raster", RASTERS)
def test_answers_at_another_resolution_are_in_pixels_of_the_image(tmp_path, raster, resolution, shape):
    method = Bright()
    (answer,) = predict(
        method, write(tmp_path / "a.tif", raster), categories="ship", output=None, resolution=resolution
    )
    assert method.seen == [shape]
    found = answer.prediction
    near = max(1.0, resolution / 2)  # a pixel that the method saw, or one of the image, beside the edge
    np.testing.assert_allclose(corners(found), sorted(SHIPS), atol=near)
    masks = decode_rles(found.masks)
    assert (masks.heights.tolist(), masks.widths.tolist()) == ([80, 80], [120, 120])
    np.testing.assert_allclose(masks.boxes, found.boxes, atol=near)
    assert f"m to {resolution} m a pixel" in answer.notes[-1]


def test_every_file_says_how_the_pixels_were_looked_at(tmp_path):
    scene = write(tmp_path / "a.tif")
    saved = [tmp_path / name for name in ("a.json", "a.coco.json", "a.csv", "a.geojson", "a.gpkg", "a.labels.tif")]
    told = [
        "resampled from 2 m to 4 m a pixel",
        "only --window 80,0,60,80 is looked at, of which 40x80 pixels lie in the image",
        "it names its coordinate reference system, EPSG:32631: --source-crs EPSG:4326 is not used",
    ]
    (answer,) = predict(
        *(Bright(), scene),
        **{"categories": "ship", "resolution": 4, "window": (80, 0, 60, 80), "source_crs": "EPSG:4326"},
        **{"save": saved, "output": tmp_path / "runs"},
    )
    assert list(answer.notes) == told
    for file in saved[:2]:
        assert json.loads(file.read_text())["images"][0]["notes"] == told
    assert all(note in saved[2].read_text() for note in told)
    assert json.loads(saved[3].read_text())["images"][0]["notes"] == told
    with rasterio.open(saved[5]) as labels:
        assert json.loads(labels.tags()["earthinstruct"])["images"][0]["notes"] == told
    (run,) = (tmp_path / "runs" / "predict").glob("*/bright")
    assert list(saved_again(run, save=tmp_path / "b.json")[0].notes) == told
    (plain,) = predict(Bright(), scene, categories="ship", window=(80, 0, 40, 80), source_crs="epsg:32631", output=None)
    assert plain.notes == ("only --window 80,0,40,80 is looked at",)


@pytest.mark.parametrize("raster", ["north-up", "geographic"])
def test_tiles_windows_and_areas_are_cut_at_the_resolution(tmp_path, raster):
    scene, method = write(tmp_path / "a.tif", raster), Bright()
    (answer,) = predict(method, scene, categories="ship", output=None, resolution=4, tile=24, overlap=8)
    assert set(method.seen) == {(24, 24)}
    np.testing.assert_allclose(corners(answer.prediction), sorted(SHIPS), atol=2)
    for x, y, width, height in answer.prediction.tiles:
        assert (width, height) == (48, 48)  # pixels of the image
        assert (x % 2, y % 2) == (0, 0)
    (answer,) = predict(method, scene, categories="ship", output=None, resolution=4, window=(10, 30, 40, 40))
    assert method.seen[-1] == (20, 20)
    np.testing.assert_allclose(corners(answer.prediction), SHIPS[1:], atol=2)
    transform, crs = RASTERS[raster]
    from shapely.geometry import Polygon

    area = gpd.GeoSeries(
        [Polygon([transform @ corner for corner in ((10, 30), (50, 30), (50, 70), (10, 70))])], crs=crs
    )
    area.to_crs("EPSG:3857").to_file(tmp_path / "area.gpkg")
    options = {"resolution": 4, "aoi": tmp_path / "area.gpkg"}
    (answer,) = predict(method, scene, categories="ship", output=None, **options)
    np.testing.assert_allclose(corners(answer.prediction), SHIPS[1:], atol=2)


@pytest.mark.parametrize("window", [(0, 0, 60, 40), (10, 30, 40, 40)])
def test_a_window_is_cut_at_a_finer_resolution(tmp_path, window):
    scene, method = write(tmp_path / "a.tif"), Bright()
    predict(method, scene, categories="ship", output=None, resolution=1, window=window)
    assert method.seen == [(2 * window[3], 2 * window[2])]  # at (0, 0, 60, 40) as many pixels as the image has


@pytest.mark.parametrize("wrong", [-1, 0, "x", float("nan"), float("inf"), True])
def test_a_method_that_declares_no_size_is_named(tmp_path, wrong):
    scene = write(tmp_path / "a.tif")
    with pytest.raises(
        EarthInstructError, match=r"resolution\(\) of method 'bright' returned .*; expected metres a pixel"
    ):
        predict(Bright(made_for=wrong), scene, categories="ship", output=None, resolution="method")


def test_an_area_file_needs_areas(tmp_path):
    from shapely.geometry import LineString, Point, Polygon, box

    scene, options = write(tmp_path / "a.tif"), {"categories": "ship", "output": None, "aoi": tmp_path / "area.gpkg"}
    for nothing in (
        Polygon(),
        None,
        Point(500_000, 4_000_000),
        LineString([(500_000, 4_000_000), (500_001, 4_000_001)]),
    ):
        gpd.GeoSeries([nothing], crs="EPSG:32631").to_file(tmp_path / "area.gpkg")
        with pytest.raises(EarthInstructError, match=r"area\.gpkg has no areas"):
            predict(Bright(), scene, **options)
    method = Bright()
    areas = [Polygon(), box(500_000, 3_999_900, 500_040, 4_000_000)]
    gpd.GeoSeries(areas, crs="EPSG:32631").to_file(tmp_path / "area.gpkg")
    predict(method, scene, **options)
    assert method.seen == [(50, 20)]


def test_an_explanation_shows_what_the_method_saw(tmp_path):
    scene, target = write(tmp_path / "a.tif"), tmp_path / "explained.png"
    predict(Bright(), scene, categories="ship", output=None, window=(10, 30, 40, 40), explain=target)
    with Image.open(target) as picture:
        assert picture.size == (40, 40)


def test_files_that_are_made_again_keep_all_remarks(tmp_path):
    options = {"categories": "ship, windmill", "output": tmp_path / "runs", "resolution": 4}
    answers = predict(Bright(), write(tmp_path / "a.tif"), save=tmp_path / "a.csv", **options)
    again = saved_again(answers.folder, save=tmp_path / "again.csv")
    assert [*again.notes] == [*answers.notes]
    assert "bright does not know 'windmill', and will find none" in again.notes
    assert again[0].notes == answers[0].notes != ()
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "a.csv").read_text()


def test_the_resolution_may_be_that_of_the_method(tmp_path):
    scene, method = write(tmp_path / "a.tif"), Bright(made_for=8)
    predict(method, scene, categories="ship", output=None, resolution="method", explain=tmp_path / "explained.png")
    assert method.seen == [(20, 30)]
    with Image.open(tmp_path / "explained.png") as picture:
        assert picture.size == (30, 20)
    with pytest.raises(EarthInstructError, match="'bright' does not say which resolution it was made for"):
        predict(Bright(), scene, categories="ship", output=None, resolution="method")
    for wrong in ("fine", -1, 0, "nan"):
        with pytest.raises(EarthInstructError, match=r"expected metres a pixel, such as 0\.5"):
            predict(method, scene, categories="ship", output=None, resolution=wrong)


def test_an_unknown_resolution_is_refused_before_the_method_is_asked(tmp_path):
    method = Bright()
    plain = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(plain)
    with pytest.raises(EarthInstructError, match=r"a\.png: its resolution is unknown: it has no coordinates"):
        predict(method, plain, categories="ship", output=None, resolution=4)
    nameless = write(tmp_path / "b.tif", crs=None)
    with pytest.raises(EarthInstructError, match=r"b\.tif: its resolution is unknown: .* give --source-crs EPSG:N"):
        predict(method, nameless, categories="ship", output=None, resolution=4)
    assert method.seen == []
    predict(method, nameless, categories="ship", output=None, resolution=4, source_crs="EPSG:32631")
    assert method.seen == [(40, 60)]


def test_a_run_at_another_resolution_is_not_mixed_in(tmp_path):
    scene = write(tmp_path / "a.tif")
    predict(Bright(), scene, categories="ship", output=tmp_path / "runs", resolution=4)
    with pytest.raises(EarthInstructError, match=r"--resolution was 4\.0, is None"):
        predict(Bright(), scene, categories="ship", output=tmp_path / "runs")


def test_an_image_that_names_no_system_gets_one(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("2\n0\n0\n-2\n500001\n3999999\n")

    class Finds(Bright):
        def predict(self, image, instruction):
            return Prediction(["ship"], [[2, 2, 4, 4]])

    method = Finds()
    answers = predict(method, tmp_path / "a.png", categories="ship", output=tmp_path / "runs")
    with pytest.raises(EarthInstructError, match="give it, for example: --source-crs EPSG:32631"):
        saved_again(answers.folder, save=tmp_path / "a.gpkg")
    saved_again(answers.folder, save=tmp_path / "a.gpkg", source_crs="EPSG:32631", crs="EPSG:32631")
    assert gpd.read_file(tmp_path / "a.gpkg").total_bounds.tolist() == [500_004, 3_999_988, 500_012, 3_999_996]
    # the system changes no answer, so that the run goes on; and one that a file names stays
    predict(method, tmp_path / "a.png", categories="ship", output=tmp_path / "runs", source_crs="EPSG:32631")
    named = write(tmp_path / "b.tif")
    table = predict(method, named, categories="ship", output=None, source_crs="EPSG:2225").to_geodataframe()
    assert table.crs.to_epsg() == 32631


def test_the_areas_of_interest_are_read_once(tmp_path, monkeypatch):
    from shapely.geometry import box

    gpd.GeoSeries([box(500_000, 3_999_000, 501_000, 4_000_000)], crs="EPSG:32631").to_file(tmp_path / "area.gpkg")
    reads = []
    read_file = gpd.read_file
    monkeypatch.setattr(gpd, "read_file", lambda *given, **options: reads.append(given) or read_file(*given, **options))
    images = [write(tmp_path / f"{name}.tif") for name in "abc"]
    answers = predict(Bright(), images, categories="ship", output=None, aoi=tmp_path / "area.gpkg")
    assert ([answer.problem for answer in answers], len(reads)) == ([None] * 3, 1)


def test_words_that_the_method_does_not_know_are_named_before_the_first_image(tmp_path):
    method, said = Bright(), []
    answers = predict(
        *(method, write(tmp_path / "a.tif")),
        categories="ship, windmill",
        output=None,
        warned=lambda warning: said.append((warning, len(method.seen))),
    )
    assert said == [("bright does not know 'windmill', and will find none", 0)]
    assert said[0][0] in answers.notes
    assert answers[0].counts == {"ship": 3, "windmill": 0}


EVERY = ("a.json", "a.coco.json", "a.csv", "a.geojson", "a.gpkg", "a.shp", "a.fgb", "a.parquet", "a.tif")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Every output of one scene in tiles, with a category that is not there, and an object that is only counted."""
    folder = tmp_path_factory.mktemp("outputs")
    targets = [folder / name for name in (*EVERY, "a.png")]
    # tiles of 48 begin at columns 0, 36, 72 and rows 0, 32: each ship is cut by one seam. The method counts 4 parts in
    # 6 tiles, and one more in each; 2 parts are merged: 4 + 6 - 2 = 8 are counted, 2 are drawn
    options = {"output": folder / "runs", "tile": 48, "overlap": 8}
    return folder, predict(Bright(), write(folder / "scene.tif"), categories="ship, dam", save=targets, **options)


def summary(path):
    """What a file says beside its objects: the entry of the image, and notes."""
    import pyogrio
    from pyarrow import parquet

    if path.suffix in (".json", ".geojson"):
        content = json.loads(path.read_text())
        about = content["about"] if "about" in content else content["info"]
        return content["images"][0], about["notes"]
    if path.suffix in (".csv", ".shp"):
        rows = [*csv.DictReader(path.with_suffix(".counts.csv" if path.suffix == ".shp" else ".csv").open())]
        counts = {row["label"]: int(row["count"]) for row in rows}
        apart = {name: sum(int(row[name]) for row in rows) for name in ("counted_not_drawn", "drawn_not_counted")}
        return {"counts": counts, **apart}, [rows[0]["notes"].rstrip(".")]
    if path.suffix == ".parquet":
        text = parquet.read_schema(path).metadata[b"earthinstruct"]
    elif path.suffix == ".tif":
        with rasterio.open(path) as raster:
            text = raster.tags()["earthinstruct"]
    else:
        text = pyogrio.read_info(path)["layer_metadata"]["earthinstruct"]
    content = json.loads(text)
    return content["images"][0], content["about"]["notes"]


@pytest.mark.parametrize("name", EVERY)
def test_every_file_has_counts_of_nothing_both_differences_and_what_is_out_of_domain(outputs, name):
    folder, answers = outputs
    said, notes = summary(folder / name)
    assert said["counts"] == answers[0].counts == {"ship": 8, "dam": 0}
    assert (said["counted_not_drawn"], said["drawn_not_counted"]) == (6, 0)
    assert any("bright was made for scenes; other images are out of its domain" in note for note in notes)
    assert any("bright does not know 'dam'" in note for note in notes)


def test_terminal_and_picture_say_it_too(outputs, monkeypatch):
    _, answers = outputs
    text = str(answers)
    assert "ship 8, dam 0 (6 counted but not drawn, 0 drawn but not counted)" in text
    assert "note: bright was made for scenes; other images are out of its domain" in text
    drawn = []
    monkeypatch.setattr("earthinstruct.running.outputs.draw_overlay", lambda *given, **options: drawn.append(given))
    answers[0].overlay()
    assert drawn[0][2] == (
        "6 counted but not drawn, 0 drawn but not counted",
        "bright was made for scenes; other images are out of its domain",
    )


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp", "a.fgb", "a.parquet"])
def test_every_object_has_all_attributes_and_its_tile(outputs, name):
    folder, answers = outputs
    frame = gpd.read_parquet(folder / name) if name == "a.parquet" else gpd.read_file(folder / name)
    assert [*frame.columns] == ["id", "label", "score", "area_m2", "image", "tile", "method", "run", "geometry"]
    frame = frame.sort_values("id", ignore_index=True)  # FlatGeobuf sorts by place
    assert frame["id"].tolist() == [1, 2]
    assert frame["image"].tolist() == [str(folder / "scene.tif")] * 2
    assert frame["run"].tolist() == [str(answers.folder)] * 2
    np.testing.assert_allclose(frame["area_m2"], [12 * 16 * 4, 24 * 12 * 4], rtol=0.01)
    np.testing.assert_allclose(frame["area_m2"], answers.to_geodataframe()["area_m2"])
    assert frame["tile"].tolist() == ["0,32,48,48", "72,0,48,48"]  # those with the larger parts
    coco = json.loads((folder / "a.coco.json").read_text())["annotations"]
    assert [one["tile"] for one in coco] == frame["tile"].tolist()
    again = saved_again(answers.folder).to_geodataframe()
    assert again["tile"].tolist() == frame["tile"].tolist()


def test_an_object_of_an_image_that_was_not_cut_comes_from_all_of_it(tmp_path):
    scene = write(tmp_path / "a.tif")
    frame = predict(Bright(), scene, categories="ship", output=None).to_geodataframe()
    assert frame["tile"].tolist() == ["0,0,120,80"] * 2
    # merged over a seam at columns 86 to 94: the tile with the larger part of the box has the object
    frame = predict(Bright(), scene, categories="ship", output=None, tile=94, overlap=8).to_geodataframe()
    assert frame["tile"].tolist() == ["26,0,94,80", "0,0,94,80"]


class Centres(Bright):
    """Points at the centres of bright regions."""

    def predict(self, image, instruction):
        boxes = super().predict(image, instruction).boxes
        return Prediction(["ship"] * len(boxes), points=boxes[:, :2] + boxes[:, 2:] / 2)


def test_points_are_saved_as_points(tmp_path):
    targets = [tmp_path / name for name in (*EVERY, "a.png")]
    raster = write(tmp_path / "scene.tif")
    answers = predict(Centres(), raster, categories="ship", save=targets, output=None, resolution=1)
    centres = [[(x0 + x1) / 2, (y0 + y1) / 2] for x0, y0, x1, y1 in SHIPS]
    assert sorted(answers[0].prediction.points.tolist()) == sorted(centres)
    on_ground = {(500_000 + 2 * x, 4_000_000 - 2 * y) for x, y in centres}
    for name in ("a.gpkg", "a.shp", "a.fgb"):
        frame = gpd.read_file(tmp_path / name)
        assert {(point.x, point.y) for point in frame.geometry} == on_ground, name
        assert frame["area_m2"].tolist() == [0, 0]
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert {feature["geometry"]["type"] for feature in features} == {"Point"}
    assert all(3 < feature["geometry"]["coordinates"][0] < 3.01 for feature in features)
    assert 'class="SimpleMarker"' in (tmp_path / "a.qml").read_text()
    with rasterio.open(tmp_path / "a.tif") as file:
        assert sorted(map(list, np.argwhere(file.read(1))[:, ::-1].tolist())) == sorted(centres)
    entries = json.loads((tmp_path / "a.coco.json").read_text())["annotations"]
    assert sorted(entry["keypoints"] for entry in entries) == sorted([*centre, 2] for centre in centres)
    assert "bbox" not in entries[0]
    frame = answers.to_pandas()
    assert sorted(frame[["point_x", "point_y"]].to_numpy().tolist()) == sorted(centres)
    assert answers.to_geodataframe().geom_type.tolist() == ["Point", "Point"]
    with pytest.raises(EarthInstructError, match="points have no area; leave --min-area out"):
        predict(Centres(), raster, categories="ship", save=targets[:1], output=None, min_area=5)
