"""How the time and memory of `earthinstruct score --sweep` grow with the number of images.

`python -m benchmarks.growth COPIES ... [--workers N] [--runs N] [--output FILE.svg]` writes copies of NWPU VHR-10 (650
images each) into a temporary folder, scores them in a process of its own, prints a row of a table for each size (the
least of the runs) and draws the two curves.
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

from benchmarks.data import write

IMAGES_OF_A_COPY, PREDICTIONS_OF_A_COPY = 650, 10_000


@dataclass(frozen=True)
class Cost:
    """What scoring one size took: seconds of wall time and of CPU time (children included), peak MB of one process."""

    images: int
    seconds: float
    cpu_seconds: float
    megabytes: float


def cost(folder: Path, images: int, workers: int = 1) -> Cost:
    """Score what `write` has written; `megabytes` is of the largest process."""
    command = [sys.executable, "-m", "earthinstruct", "score", str(folder), "--sweep", "--workers", str(workers)]
    command += ["--dataset", str(folder / "annotations.json"), "--setting", "open_vocabulary"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(images, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def row(cost: Cost) -> str:
    """One row of the table."""
    predictions = cost.images * PREDICTIONS_OF_A_COPY // IMAGES_OF_A_COPY
    return (
        f"| {cost.images:,} | {predictions:,} | {cost.seconds:.1f} s | {cost.cpu_seconds:.1f} s | "
        f"{1000 * cost.cpu_seconds / cost.images:.2f} ms | {cost.megabytes:,.0f} MB |"
    )


def draw(costs: Sequence[Cost]) -> str:
    """Both curves as SVG: CPU seconds and peak MB against images, axes from 0."""
    width, height, left, top = 320, 200, 60, 30
    most = max(c.images for c in costs)
    panels = []
    for k, (title, values) in enumerate(
        {"CPU time, s": [c.cpu_seconds for c in costs], "peak memory, MB": [c.megabytes for c in costs]}.items()
    ):
        x0, highest = left + k * (width + left + 20), max(values)
        points = [
            (x0 + width * c.images / most, top + height * (1 - value / highest))
            for c, value in zip(costs, values, strict=True)
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
        panels.append(
            f'<path d="M{x0},{top}v{height}h{width}" fill="none" stroke="#888"/>'
            f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="2"/><g fill="#1f77b4">{dots}</g>'
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
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--output", type=Path, metavar="FILE.svg")
    given = parser.parse_args(arguments)
    costs = []
    say = sys.stdout.write
    say("| images | predictions | wall time | CPU time | CPU time an image | peak memory |\n|-|-|-|-|-|-|\n")
    for copies in given.copies:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), copies, results=False)
            runs = [cost(Path(folder), copies * IMAGES_OF_A_COPY, given.workers) for _ in range(given.runs)]
        costs.append(min(runs, key=lambda run: run.seconds))
        say(row(costs[-1]) + "\n")
        sys.stdout.flush()
    if given.output is not None:
        given.output.write_text(draw(costs))


if __name__ == "__main__":
    main()
