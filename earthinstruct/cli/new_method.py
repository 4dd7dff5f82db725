"""`earthinstruct new-method`: a folder to start a method of one's own from."""

from __future__ import annotations

import argparse
import re
from importlib.resources import files
from pathlib import Path
from string import Template
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
    from earthinstruct.errors import DataError, EarthInstructError

    name = arguments.name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise EarthInstructError(f"the name {name!r} must be lower case words joined by hyphens, such as my-method")
    folder = arguments.output / name
    if folder.exists():
        raise DataError(f"{folder} exists; give another name, or another place with --output")
    package = name.replace("-", "_")
    values = {"name": name, "package": package, "class_name": "".join(part.capitalize() for part in name.split("-"))}
    templates = files("earthinstruct.testing") / "templates" / "method"
    for source, target in (
        ("pyproject.toml.txt", "pyproject.toml"),
        ("src/__init__.py.txt", f"src/{package}/__init__.py"),
        ("tests/test_method.py.txt", "tests/test_method.py"),
    ):
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((templates / source).read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
    print(f"written  {folder}: the method is in src/{package}/__init__.py")
    print(f"next     pip install -e {folder}")
    print(f"then     earthinstruct check-method {name} && earthinstruct evaluate --method {name}")
    options.write_json(arguments, {"folder": str(folder), "name": name, "package": package})
    return 0
