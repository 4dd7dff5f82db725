"""`earthinstruct doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("doctor", help="what is missing on this machine, and how to get it", description=__doc__)
    parser.add_argument("--method", metavar="NAME", help="look at this method only")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a plug-in is broken, or the method asked for misses something."""
    import platform
    from importlib.metadata import version

    from earthinstruct.cli import listing
    from earthinstruct.registry import METHODS, method_factory, plugins

    if arguments.method is not None:
        missing = getattr(method_factory(arguments.method), "missing", None)
        problems = missing() if callable(missing) else []
        for problem in problems:
            print(f"missing  {problem}")
        if not problems:
            print(f"ok       method {arguments.method}")
        return 1 if problems else 0
    print(
        f"ok       earthinstruct {version('earthinstruct')}, Python {platform.python_version()}, {platform.platform()}"
    )
    broken = False
    for row in listing.datasets(arguments.data):
        print(
            f"missing  dataset {row['name']} {row['missing']}" if row["missing"] else f"ok       dataset {row['name']}"
        )
    for row in listing.methods():
        broken |= str(row["missing"]).startswith("warning:")
        print(
            f"missing  method {row['name']}: {row['missing']}" if row["missing"] else f"ok       method {row['name']}"
        )
    if not plugins(METHODS):
        print(
            "missing  methods: none is installed; in a clone, pip install -e methods/baselines -e methods/instructsam, "
            "or give one of your own as path/file.py:Class"
        )
    return 1 if broken else 0
