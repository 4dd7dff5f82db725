"""`earthinstruct score --sweep` where one image holds a crowd: time and memory by the side of the objects.

`python -m benchmarks.crowd SIDE ... [--masks] [--objects N] [--predictions N]` draws squares of each side at random
places of an image of 4,000 x 4,000 pixels, all of one class, scores them in a separate process, and prints a row of a
table for each side. With a side of 1,000 pixels, nearly everything overlaps everything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.engines import cost
from earthinstruct.regions import encode_polygons

SIZE = 4_000  # of the image, in pixels


def squares(n: int, side: int, masks: bool, seed: int) -> list[dict[str, Any]]:
    """Objects of one class in image 1, as in COCO."""
    corners = np.random.default_rng(seed).integers(0, SIZE - side, (n, 2)).tolist()
    entries = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [x, y, side, side]} for i, (x, y) in enumerate(corners)
    ]
    for entry, (x, y) in zip(entries, corners, strict=True) if masks else ():
        outline = [x, y, x + side, y, x + side, y + side, x, y + side]
        entry["segmentation"] = encode_polygons([outline], (SIZE, SIZE), "square")
    return entries


def write(folder: Path, side: int, masks: bool, objects: int, predictions: int) -> None:
    """Write `annotations.json` and `results.json`."""
    coco = {
        "images": [{"id": 1, "file_name": "crowd.png", "width": SIZE, "height": SIZE}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": squares(objects, side, masks, seed=0),
    }
    found, scores = squares(predictions, side, masks, seed=1), np.random.default_rng(2).random(predictions).round(4)
    for entry, score in zip(found, scores.tolist(), strict=True):
        entry["score"] = score
    (folder / "annotations.json").write_bytes(msgspec.json.encode(coco))
    (folder / "results.json").write_bytes(msgspec.json.encode(found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", type=int, nargs="+")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--predictions", type=int, default=50_000)
    given = parser.parse_args(arguments)
    sys.stdout.write("| side | masks | CPU time | peak |\n|-|-|-|-|\n")
    for side in given.sides:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, side, given.masks, given.objects, given.predictions)
            command = [sys.executable, "-m", "earthinstruct", "score", str(folder / "results.json"), "--sweep"]
            command += ["--no-output", "--dataset", str(folder / "annotations.json"), "--setting", "open_vocabulary"]
            seconds, peak = cost(command)
        sys.stdout.write(f"| {side} pixels | {'yes' if given.masks else 'no'} | {seconds:.1f} s | {peak:.0f} MB |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
