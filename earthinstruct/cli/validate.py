"""`earthinstruct validate`: does a result follow from its predictions?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("validate", help="check a submission: schema, versions, scores", description=__doc__)
    parser.add_argument("predictions", type=Path, help="the predictions file")
    parser.add_argument("result", type=Path, help="the result file")
    parser.add_argument("--dataset", metavar="FILE", help="a COCO file, where the dataset has no name here")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a check does not hold."""
    from earthinstruct.submission import validate_submission

    findings = validate_submission(
        arguments.predictions, arguments.result, dataset=arguments.dataset, data=arguments.data
    )
    for finding in findings:
        verdict = f"ok       {finding.check}: {finding.detail}"
        print(verdict if finding.problem is None else f"FAILED   {finding.check}: {finding.problem}")
    failed = sum(finding.problem is not None for finding in findings)
    print(f"{len(findings) - failed} checks hold, {failed} fail")
    return 1 if failed else 0
