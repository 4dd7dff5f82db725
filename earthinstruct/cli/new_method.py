"""`earthinstruct new-method`: a folder to start your own method from."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "new-method", "write a folder to start a method from", __doc__, run)
    parser.add_argument("name", metavar="NAME", help="the method's name, such as my-method")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.testing import new_method

    name = arguments.name
    folder = new_method(**options.given(arguments))
    package = name.replace("-", "_")
    options.say(f"written  {folder}: the method is in src/{package}/__init__.py")
    options.say(f"next     {shlex.join(['pip', 'install', '-e', str(folder)])}")
    options.say(f"then     earthinstruct check-method {name} && earthinstruct evaluate --method {name}")
    options.write_json(arguments, {"folder": str(folder), "name": name, "package": package})
    return 0
