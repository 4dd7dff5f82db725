"""`earthinstruct export`: the predictions of a run as COCO, for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "export", "the predictions of a run as COCO, for other tools", __doc__, run)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or the result file in it")
    parser.add_argument("output", type=Path, metavar="FILE", help="the COCO file, NAME.json")
    parser.add_argument(
        "--results", action="store_true", help="only the list of annotations, as COCO.loadRes of pycocotools reads it"
    )
    parser.add_argument("--dataset", metavar="NAME|PATH", help="the dataset (default: where the run had it)")
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.scoring import export

    file = export(**options.given(arguments))
    options.say(f"exported {file}")
    options.write_json(arguments, {"file": str(file)})
    return 0
