"""What very large inputs take: images through a run, a report, predictions, objects in one image, categories.

`python -m benchmarks.loads LOAD ... [--size N]` draws the input of each load, runs its command in a separate process,
and prints a row of a table. `N` replaces the size of the load, for a try.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from benchmarks.engines import cost

SIDE = 20  # of an object, pixels
METHOD = """
from earthinstruct import Prediction

class Fast:
    name = "fast"

    def predict(self, image, instruction):
        return Prediction(["category 0"], [[0, 0, 20, 20]])
"""


@dataclass(frozen=True)
class Load:
    """One kind of large input.

    Attributes:
        size: the number that is large.
        what: the row of the table, with the size in it.
        command: what is measured: "evaluate", "report" or "score".
        images: how many images there are, for a size; likewise objects and categories.
        side: of an image, pixels.
    """

    size: int
    what: str
    command: str
    images: float = 0
    objects: float = 0
    categories: float = 0
    side: int = 64

    def numbers(self, size: int) -> tuple[int, int, int]:
        """Images, objects and categories: a share of the size, and 1 where no share is given."""
        images, objects, categories = (
            round(share * size) or 1 for share in (self.images, self.objects, self.categories)
        )
        return images, objects, categories


LOADS = {
    "images": Load(100_000, "{:,} images of 64 x 64 pixels, `evaluate`", "evaluate", images=1, objects=1),
    "report": Load(5_000, "{:,} images with 8 objects each, `report`", "report", images=1, objects=8, side=256),
    "lines": Load(1_000_000, "{:,} images, one line of predictions each, `score`", "score", images=1, objects=1),
    "crowd": Load(
        200_000,
        "{:,} objects and as many predictions of one class in one image, `score`",
        "score",
        objects=1,
        side=20_000,
    ),
    "categories": Load(
        5_000, "{:,} categories, 8 objects and predictions each, `score`", "score", images=0.4, objects=8, categories=1
    ),
}


def _list(name: str, entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """A member of a JSON object, entry by entry: the memory of this program would count for the one it starts."""
    yield f'"{name}":['.encode()
    for i, entry in enumerate(entries):
        yield b"," * (i > 0) + msgspec.json.encode(entry)
    yield b"]"


def write(folder: Path, images: int, objects: int, categories: int, side: int) -> None:
    """Write `annotations.json` and `predictions.jsonl`, with one prediction near each object.

    Args:
        folder: the folder to write to.
        images: how many there are.
        objects: of all images, in equal shares.
        categories: how many there are.
        side: of an image, pixels.
    """
    chance = np.random.default_rng(0)
    image_of = np.sort(np.arange(objects) % images).tolist()
    category_of = chance.integers(categories, size=objects).tolist()
    corners = chance.integers(0, side - SIDE, (objects, 2)).tolist()
    shifts, scores = chance.normal(0, 2, (objects, 2)).round(1).tolist(), chance.random(objects).round(4).tolist()
    size = {"width": side, "height": side}
    with (folder / "annotations.json").open("wb") as file:
        file.write(b"{")
        file.writelines(_list("images", ({"id": i, "file_name": f"{i}.png", **size} for i in range(images))))
        file.write(b",")
        file.writelines(_list("categories", ({"id": c, "name": f"category {c}"} for c in range(categories))))
        file.write(b",")
        entries = (
            {"id": k, "image_id": image_of[k], "category_id": category_of[k], "bbox": [*corners[k], SIDE, SIDE]}
            for k in range(objects)
        )
        file.writelines(_list("annotations", entries))
        file.write(b"}")
    with (folder / "predictions.jsonl").open("wb") as file:
        first = 0
        for image in range(images):
            last = first
            while last < objects and image_of[last] == image:
                last += 1
            mine = range(first, last)
            first = last
            record = {
                "image_id": image,
                "labels": [f"category {category_of[k]}" for k in mine],
                "boxes": [[corners[k][0] + shifts[k][0], corners[k][1] + shifts[k][1], SIDE, SIDE] for k in mine],
                "scores": [scores[k] for k in mine],
            }
            file.write(msgspec.json.encode(record) + b"\n")


def write_pictures(folder: Path, images: int, side: int) -> None:
    """Write a small picture for each image of `write`."""
    (folder / "images").mkdir()
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(picture, "PNG")
    for image in range(images):
        (folder / "images" / f"{image}.png").write_bytes(picture.getvalue())


def commands(folder: Path, command: str) -> Iterator[list[str]]:
    """The commands of a load, each to be run before the next is asked for; the last is measured."""
    own = [sys.executable, "-m", "earthinstruct"]
    of_dataset = ["--dataset", str(folder / "annotations.json"), "--setting", "open_vocabulary"]
    scored = [*own, "score", str(folder / "predictions.jsonl"), *of_dataset]
    if command == "score":
        yield [*scored, "--sweep", "--no-output"]
    elif command == "report":
        yield [*scored, "--output", str(folder / "runs")]
        (result,) = (folder / "runs").rglob("result.json")
        yield [*own, "report", str(result.parent)]
    else:
        method = folder / "fast.py"
        method.write_text(METHOD)
        yield [*own, "evaluate", "--method", f"{method}:Fast", *of_dataset, "--output", str(folder / "runs")]


def row(load: Load, size: int) -> str:
    """Measure a load: the row of the table."""
    images, objects, categories = load.numbers(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, images, objects, categories, load.side)
        if load.command != "score":
            write_pictures(folder, images, load.side)
        for command in commands(folder, load.command):
            started = time.perf_counter()
            cpu, peak = cost(command)
            wall = time.perf_counter() - started
    return f"| {load.what.format(size)} | {cpu:.1f} s | {wall:.1f} s | {images / wall:,.0f} | {peak:,.0f} MB |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", choices=LOADS, nargs="+", metavar="LOAD", help=", ".join(LOADS))
    parser.add_argument("--size", type=int)
    given = parser.parse_args(arguments)
    sys.stdout.write("| load | CPU time | wall time | images a second | peak memory |\n|-|-|-|-|-|\n")
    for name in given.loads:
        sys.stdout.write(row(LOADS[name], given.size or LOADS[name].size) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
