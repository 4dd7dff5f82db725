import numpy as np
import pytest

from earthinstruct.errors import DataError
from earthinstruct.images import Place, open_scene, pixel_metres, scene_at, scene_of

rasterio = pytest.importorskip("rasterio")

# a degree of longitude is 90.2 km at 36 degrees of latitude, a degree of latitude 111 km
PLACES = {
    "UTM": (rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000), "EPSG:32631", (2, 2)),
    "oblong": (rasterio.Affine(2, 0, 500_000, 0, -4, 4_000_000), "EPSG:32631", (2, 4)),
    "south-up": (rasterio.Affine(2, 0, 500_000, 0, 2, 4_000_000), "EPSG:32631", (2, 2)),
    "rotated": (rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000) @ rasterio.Affine.rotation(30), "EPSG:32631", (2, 2)),
    "feet": (rasterio.Affine(6, 0, 6_500_000, 0, -6, 2_000_000), "EPSG:2225", (1.8288, 1.8288)),
    "degrees": (rasterio.Affine(1e-5, 0, 3, 0, -1e-5, 36), "EPSG:4326", (0.902, 1.110)),
    "Mercator, 60 N": (rasterio.Affine(2, 0, 0, 0, -2, 8_399_738), "EPSG:3857", (1, 1)),
    "antimeridian": (rasterio.Affine(2, 0, 833_847, 0, -2, 100_000), "EPSG:32660", (2, 2)),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_pixel_is_measured_on_the_ground(name):
    transform, crs, expected = PLACES[name]
    found = pixel_metres(Place(tuple(transform)[:6], crs), 40, 60)
    np.testing.assert_allclose(found, expected, rtol=0.005)  # UTM stretches by up to 0.1 %, Mercator's sphere by 0.3 %


def write(path, pixels, **options):
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    place = {"transform": rasterio.Affine(2, 0, 500_000, 0, -2, 4_000_000), "crs": "EPSG:32631"}
    with rasterio.open(path, "w", **profile, **(place | options)) as file:
        file.write(pixels)
    return path


def random_pixels(height, width):
    return np.random.default_rng(0).integers(1, 256, (3, height, width), dtype=np.uint8)


@pytest.mark.parametrize("resolution", [7, 4, 0.9])
def test_windows_have_the_pixels_of_the_whole_and_their_place(tmp_path, monkeypatch, resolution):
    monkeypatch.setattr("earthinstruct.images.resolution._BLOCK", 16)  # many blocks a window
    with open_scene(write(tmp_path / "a.tif", random_pixels(50, 64))) as stored:
        scene = scene_at(stored, resolution)
        assert (scene.height, scene.width) == (round(100 / resolution), round(128 / resolution))
        np.testing.assert_allclose(scene.place.at(scene.width, scene.height), stored.place.at(64, 50))
        whole, valid = scene.read()
        assert valid is None
        part, _ = scene.read((3, 5, 13, 12))
        assert np.abs(part.astype(int) - whole[5:12, 3:13]).max() <= 1
        assert "m a pixel" in str(scene.notes[-1])


def test_pixels_are_averaged_and_those_without_data_do_not_count(tmp_path):
    pixels = np.full((3, 40, 40), 100, dtype=np.uint8)
    pixels[:, :, 20:] = 0
    pixels[:, 10, 10] = 0
    with open_scene(write(tmp_path / "a.tif", pixels, nodata=0)) as stored:
        seen, valid = scene_at(stored, 8).read()
    assert seen.shape == (10, 10, 3)
    assert valid[:, :5].all()
    assert not valid[:, 5:].any()
    assert (np.abs(seen[:, :5].astype(int) - 100) <= 1).all()  # not darker beside pixels without data
    assert not seen[:, 5:].any()


def test_nearly_the_same_resolution_is_the_same(tmp_path):
    with open_scene(write(tmp_path / "a.tif", random_pixels(5, 5))) as stored:
        assert scene_at(stored, 2.01) is stored
        with pytest.raises(DataError, match=r"at 1e-05 m a pixel it would have .* give a larger --resolution"):
            scene_at(stored, 1e-5)


def test_an_unknown_resolution_is_refused():
    with pytest.raises(DataError, match="its resolution is unknown"):
        scene_at(scene_of(np.zeros((4, 4, 3), dtype=np.uint8)), 1)
