"""`earthinstruct data`: make datasets on disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("data", help="make datasets on disk", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="WHAT")
    scenes = kinds.add_parser(
        "scenes",
        help="draw scenes with exact ground truth, of any number and size",
        description="Draw scenes and write them as a COCO dataset: annotations.json and images/.",
    )
    scenes.add_argument("folder", type=Path, metavar="DIR", help="where to; must not exist or be empty")
    scenes.add_argument("--split", default="test", metavar="NAME", help="train, val or test (default: test)")
    scenes.add_argument("--images", type=int, metavar="N", help="how many (default: the size of the split)")
    scenes.add_argument("--size", type=int, metavar="S", help="side of an image in pixels (default: 384 to 512)")
    scenes.add_argument("--objects", type=int, metavar="K", help="about how many objects an image, for load tests")
    scenes.set_defaults(run=run_scenes)


def run_scenes(arguments: argparse.Namespace) -> int:
    """Run `data scenes`."""
    from rich.console import Console
    from rich.progress import Progress

    from earthinstruct.datasets.scenes import write_split

    with Progress(console=Console(stderr=True)) as display:
        bar = display.add_task("drawing scenes", total=None)
        folder = write_split(
            arguments.folder,
            arguments.split,
            arguments.images,
            arguments.size,
            arguments.objects,
            lambda done, total: display.update(bar, completed=done, total=total),
        )
    print(f"written: {folder / 'annotations.json'}")
    return 0
