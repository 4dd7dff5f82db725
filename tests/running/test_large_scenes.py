"""A scene of 14,000 x 14,000 pixels: memory is bounded by tiles, and each object is found once."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")

SIDE, EVERY, SIZE = 14_000, 1_797, 40  # with tiles of 2,048 that share 256, some objects are on seams and corners
PLACES = [(x, y) for y in range(240, SIDE - SIZE, EVERY) for x in range(240, SIDE - SIZE, EVERY)]

PREDICTS = """
import re, sys
from pathlib import Path
import numpy as np
from scipy.ndimage import find_objects, label
from earthinstruct import Prediction, predict
from earthinstruct.regions import encode_masks

class Bright:
    name = "bright"

    def predict(self, image, instruction):
        if not image.any():
            return Prediction()
        regions, n = label(image[..., 0])
        masks = [encode_masks((regions == i + 1)[None])[0] for i in range(n)]
        boxes = [[x.start, y.start, x.stop - x.start, y.stop - y.start] for y, x in find_objects(regions)]
        return Prediction(["ship"] * n, boxes, masks)

(answer,) = predict(
    Bright(), sys.argv[1], categories="ship", tile=2048, output=sys.argv[2], save=[sys.argv[3], sys.argv[4]]
)
found = answer.prediction
# the most memory of this program alone; getrusage would count that of the program that started it
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) >> 10, found.counts["ship"], len(found))
print(sorted(map(tuple, found.boxes.tolist())))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_large_scene_takes_bounded_memory_and_each_object_is_found_once(tmp_path):
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint8", "compress": "deflate"}
    tiled = {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True}
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, **tiled, **place) as scene:
        for x, y in PLACES:
            scene.write(np.full((1, SIZE, SIZE), 255, np.uint8), window=((y, y + SIZE), (x, x + SIZE)))
    paths = [tmp_path / name for name in ("scene.tif", "runs", "found.geojson", "found.png")]
    run = subprocess.run([sys.executable, "-c", PREDICTS, *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    numbers, boxes = run.stdout.splitlines()
    peak, *counts = map(int, numbers.split())
    assert counts == [len(PLACES)] * 2
    assert boxes == str(sorted((float(x), float(y), float(SIZE), float(SIZE)) for x, y in PLACES))
    assert peak < 550  # MB; the pixels alone would be 588 MB
