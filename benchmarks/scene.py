"""`earthinstruct predict` on one large GeoTIFF: CPU time, wall time and memory.

`python -m benchmarks.scene [SIDE] [--workers N]` puts drawn scenes of 500 x 500 pixels side by side until they fill
`SIDE` x `SIDE` pixels, runs InstructSAM with its small preset on them in a separate process, saves a picture and
GeoJSON, and prints a row of a table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio

from benchmarks.engines import cost
from earthinstruct.datasets.scenes.generate import generate_scene

PART = 500  # side of a drawn scene, pixels
CATEGORIES = "airplane, ship, storage tank, tennis court, harbor, vehicle"


def write(file: Path, side: int) -> int:
    """Write the GeoTIFF, whose side is a multiple of `PART`, and return how many objects it shows."""
    rows = side // PART
    pixels, objects = np.zeros((side, side, 3), dtype=np.uint8), 0
    for k in range(rows * rows):
        drawn = generate_scene("test", k, size=PART)
        top, left = k // rows * PART, k % rows * PART
        pixels[top : top + PART, left : left + PART] = drawn.image
        objects += len(drawn.labels)
    ground = {"crs": "EPSG:32631", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)}
    with rasterio.open(file, "w", "GTiff", side, side, 3, dtype="uint8", **ground) as raster:
        raster.write(np.moveaxis(pixels, 2, 0))
    return objects


def side_given(text: str) -> int:
    """The side of the GeoTIFF on the command line."""
    side = int(text)
    if side < PART or side % PART:
        raise argparse.ArgumentTypeError(f"must be a multiple of {PART}, so that no drawn scene is cut, got {text}")
    return side


def command(folder: Path, workers: int) -> list[str]:
    """The command that is measured, for `scene.tif` in a folder."""
    own = [sys.executable, "-m", "earthinstruct", "predict", str(folder / "scene.tif"), "--method", "instructsam"]
    saved = ["--save", str(folder / "scene.png"), "--save", str(folder / "scene.geojson")]
    return [*own, "--categories", CATEGORIES, "--workers", str(workers), "--output", str(folder / "runs"), *saved]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", type=side_given, nargs="?", default=6_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = write(folder / "scene.tif", given.side)
        started = time.perf_counter()
        cpu, peak = cost(command(folder, given.workers))
        wall = time.perf_counter() - started
    sys.stdout.write("| side | objects | processes | CPU time | wall time | peak memory of one process |\n")
    sys.stdout.write("|-|-|-|-|-|-|\n")
    sys.stdout.write(
        f"| {given.side:,} | {objects:,} | {given.workers} | {cpu:.0f} s | {wall:.0f} s | {peak:,.0f} MB |\n"
    )


if __name__ == "__main__":
    main()
