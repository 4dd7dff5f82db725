"""How the time and memory of `earthinstruct score --sweep` grow with the number of images.

`python -m benchmarks.growth COPIES ... [--runs N] [--output FILE.svg]` writes copies
of NWPU VHR-10 (650 images each) into a temporary folder, scores them in a separate process, prints a row of a table
for each size (the lowest of the runs) with the bound of the memory, and draws the curves.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGES_OF_A_COPY, OBJECTS_OF_A_COPY, PREDICTIONS_OF_A_COPY = 650, 3_921, 10_000
BASE = 140 << 20  # program and libraries, 500 images at work, and the sums without some images
BYTES_AN_IMAGE = 1_450  # its record, where its predictions are, and its tallies, for 10 categories
BYTES_AN_OBJECT = 331  # image, category, box and order (100), and a mask of 191 characters (16 + 191 x 9 / 8)
BYTES_A_PREDICTION = 60  # score, category and verdict, for boxes and masks, twice while chunks are joined
COPIES_OF_TEXT = 2  # of the annotation file: its text, and where its entries are


def bound(images: int, objects: int, predictions: int, annotation_file: int) -> float:
    """The most MB that scoring takes.

    Args:
        images: of the dataset.
        objects: of the dataset.
        predictions: with scores and masks.
        annotation_file: bytes of the annotation file.
    """
    grows = BYTES_AN_IMAGE * images + BYTES_AN_OBJECT * objects + BYTES_A_PREDICTION * predictions
    return (BASE + grows + COPIES_OF_TEXT * annotation_file) / 2**20


@dataclass(frozen=True)
class Cost:
    """What scoring one size took.

    Attributes:
        images: how many there are.
        seconds: of wall time.
        cpu_seconds: of CPU time, children included.
        megabytes: peak of one process.
        bound: MB that it may take.
    """

    images: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    bound: float


def cost(folder: Path, images: int) -> Cost:
    """Score the files of `write`."""
    command = [sys.executable, "-m", "earthinstruct", "score", str(folder), "--sweep", "--no-output"]
    command += ["--dataset", str(folder), "--setting", "open_vocabulary"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    copies = images / IMAGES_OF_A_COPY
    text = (folder / "annotations.json").stat().st_size
    most = bound(images, round(copies * OBJECTS_OF_A_COPY), round(copies * PREDICTIONS_OF_A_COPY), text)
    return Cost(images, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, most)


def row(cost: Cost) -> str:
    """One row of the table."""
    predictions = cost.images * PREDICTIONS_OF_A_COPY // IMAGES_OF_A_COPY
    return (
        f"| {cost.images:,} | {predictions:,} | {cost.seconds:.1f} s | {cost.cpu_seconds:.1f} s | "
        f"{1000 * cost.cpu_seconds / cost.images:.2f} ms | {cost.megabytes:,.0f} MB | {cost.bound:,.0f} MB |"
    )


def draw(costs: Sequence[Cost]) -> str:
    """CPU seconds, and peak MB with its bound, against images, as SVG; axes from 0."""
    width, height, left, top = 320, 200, 60, 30
    most = max(c.images for c in costs)
    panels = []
    for k, (title, curves) in enumerate(
        {
            "CPU time, s": [[c.cpu_seconds for c in costs]],
            "peak memory and (dashed) its bound, MB": [[c.megabytes for c in costs], [c.bound for c in costs]],
        }.items()
    ):
        x0, highest = left + k * (width + left + 20), max(map(max, curves))
        lines = ""
        for values, dashes in zip(curves, ("", ' stroke-dasharray="5 4"'), strict=False):
            points = [
                (x0 + width * c.images / most, top + height * (1 - value / highest))
                for c, value in zip(costs, values, strict=True)
            ]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            lines += f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="2"{dashes}/>'
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
            lines += f'<g fill="#1f77b4">{dots}</g>'
        panels.append(
            f'<path d="M{x0},{top}v{height}h{width}" fill="none" stroke="#888"/>{lines}'
            f'<text x="{x0}" y="{top - 10}">{title}</text>'
            f'<text x="{x0 - 6}" y="{top + 10}" text-anchor="end">{highest:,.0f}</text>'
            f'<text x="{x0 - 6}" y="{top + height}" text-anchor="end">0</text>'
            f'<text x="{x0 + width}" y="{top + height + 18}" text-anchor="end">{most:,} images</text>'
        )
    size = f'width="{2 * (width + left + 20)}" height="{height + top + 30}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(panels)}</svg>\n'


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("copies", type=int, nargs="+")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--output", type=Path, metavar="FILE.svg")
    given = parser.parse_args(arguments)
    costs = []
    say = sys.stdout.write
    say("| images | predictions | wall time | CPU time | CPU time an image | peak memory | bound |\n|-|-|-|-|-|-|-|\n")
    for copies in given.copies:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.data", str(copies), folder, "--no-results"]
            # in a separate process: the peak of this process would count for its children
            subprocess.run(command, check=True)
            runs = [cost(Path(folder), copies * IMAGES_OF_A_COPY) for _ in range(given.runs)]
        costs.append(min(runs, key=lambda run: run.seconds))
        say(row(costs[-1]) + "\n")
        sys.stdout.flush()
    if given.output is not None:
        given.output.write_text(draw(costs))


if __name__ == "__main__":
    main()
