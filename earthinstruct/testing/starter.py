"""Writes a folder to start a method from: a distribution with a method, an entry point and a test."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.files import new_folder


@checked_arguments
def new_method(name: str, output: Path | str = ".") -> Path:
    """Write a folder to start a method from.

    Args:
        name: the name of the method: lower-case words joined by hyphens.
        output: the folder to make it in.

    Returns:
        The folder, `<output>/<name>`; the method is in `src/<name with underscores>/__init__.py`.

    Raises:
        EarthInstructError: another kind of name.
        DataError: the folder exists or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise EarthInstructError(f"the name {name!r} must be lower case words joined by hyphens, such as my-method")
    folder = Path(output) / name
    if folder.exists():
        raise DataError(f"{folder} exists; give another name, or another place with --output")
    package = name.replace("-", "_")
    values = {"name": name, "package": package, "class_name": "".join(part.capitalize() for part in name.split("-"))}
    templates = files("earthinstruct.testing") / "templates" / "method"
    with new_folder(folder, "give another name") as unfinished:
        for source, target in (
            ("pyproject.toml.txt", "pyproject.toml"),
            ("src/__init__.py.txt", f"src/{package}/__init__.py"),
            ("tests/test_method.py.txt", "tests/test_method.py"),
        ):
            path = unfinished / target
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / source).read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(values), encoding="utf-8")
    return folder
