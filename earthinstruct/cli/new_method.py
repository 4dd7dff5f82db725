"""`earthinstruct new-method`: a folder to start your own method from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("new-method", help="write a folder to start a method from", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="the method's name, such as my-method")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")
    options.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.testing import new_method

    name = arguments.name
    folder = new_method(name, arguments.output)
    package = name.replace("-", "_")
    print(f"written  {folder}: the method is in src/{package}/__init__.py")
    print(f"next     pip install -e {folder}")
    print(f"then     earthinstruct check-method {name} && earthinstruct evaluate --method {name}")
    options.write_json(arguments, {"folder": str(folder), "name": name, "package": package})
    return 0
