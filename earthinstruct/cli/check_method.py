"""`earthinstruct check-method`: does a method keep the contract?"""

from __future__ import annotations

import argparse
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "check-method", "check that a method keeps the contract", __doc__, run)
    parser.add_argument("method", metavar="NAME", help="a method by name, package.module:Class or path/file.py:Class")
    options.add_parameters(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a check fails."""
    from earthinstruct.testing import check_method

    checks = check_method(**options.given(arguments))
    for check in checks:
        options.say(check)
    failed = sum(check.problem is not None for check in checks)
    skipped = sum(check.skipped is not None for check in checks)
    options.say(f"{options.hold_and_fail(len(checks) - failed - skipped, failed)}, {skipped} skipped")
    options.write_json(arguments, checks)
    return 1 if failed else 0
