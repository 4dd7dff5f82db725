"""`earthinstruct validate`: does a result follow from its predictions?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("validate", help="check a submission: schema, versions, scores", description=__doc__)
    parser.add_argument("predictions", type=Path, metavar="RUN|PREDICTIONS", help="a run folder, or predictions")
    parser.add_argument(
        "result",
        type=Path,
        nargs="?",
        metavar="RESULT",
        help="the result file (default: result.json in the folder of the predictions)",
    )
    parser.add_argument("--dataset", metavar="FILE", help="a COCO file, where the dataset has no name here")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    options.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a check does not hold."""
    from earthinstruct.scoring import validate

    findings = validate(arguments.predictions, arguments.result, dataset=arguments.dataset, data=arguments.data)
    failed = options.print_findings(findings)
    options.write_json(arguments, findings)
    return 1 if failed else 0
