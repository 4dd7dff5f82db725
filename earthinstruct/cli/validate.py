"""`earthinstruct validate`: does a result follow from its predictions?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "validate", "check a submission: schema, versions, scores", __doc__, run)
    parser.add_argument("predictions", type=Path, metavar="RUN|PREDICTIONS", help="a run folder, or predictions")
    parser.add_argument(
        "result",
        type=Path,
        nargs="?",
        metavar="RESULT",
        help="the result file (default: result.json in the folder of the predictions)",
    )
    parser.add_argument("--dataset", metavar="FILE", help="a COCO file, where the dataset has no name here")
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a check does not hold."""
    from earthinstruct.scoring import validate

    findings = validate(**options.given(arguments))
    failed = options.print_findings(findings)
    options.write_json(arguments, findings)
    return 1 if failed else 0
