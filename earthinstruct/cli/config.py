"""`evaluate --config FILE`: the options of a command in a YAML file, and the file that repeats a run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HEAD = """\
# `earthinstruct evaluate --config run.yaml` repeats this run; other options of the command line replace those here.
# Paths are relative to the folder in which the command is started. Secrets are left out.
"""


def add_config(parser: argparse.ArgumentParser) -> None:
    """--config."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a YAML file of options, such as the run.yaml of a run; options of the command line replace them",
    )


def defaults_from(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The options in a file, as defaults of a verb.

    Args:
        path: a YAML file: option without its dashes -> value; `parameters` -> a mapping of the method's parameters.
        parser: that of the verb.

    Raises:
        DataError: it cannot be read or is no mapping of options.
        UnknownNameError: the verb has no such option.
    """
    import yaml

    from earthinstruct.errors import DataError, UnknownNameError
    from earthinstruct.files import decode_yaml, read_text

    try:
        given = decode_yaml(read_text(path, "config file"))
    except yaml.YAMLError as error:
        raise DataError(f"config file {path}: invalid YAML: {error}") from error
    if not isinstance(given, Mapping):
        raise DataError(f"config file {path}: must be a mapping of options to values, got {type(given).__name__}")
    actions = {
        action.dest: action for action in parser._actions if action.dest not in ("help", "config", "json", "overwrite")
    }
    found = {}
    for name, value in given.items():
        dest = str(name).replace("-", "_")
        if dest not in actions:
            raise UnknownNameError(f"option in {path}", str(name), actions)
        try:
            found[dest] = _parsed(value, actions[dest])
        except argparse.ArgumentTypeError as error:
            raise DataError(f"config file {path}: {name}: {error}") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"config file {path}: {name}: unusable value {value!r}") from error
    return found


def _parsed(value: Any, action: argparse.Action) -> Any:
    """A value as the command line gives it."""
    if action.dest == "parameters":
        return [f"{key}={json.dumps(each)}" for key, each in dict(value).items()]
    if isinstance(action.default, list) and not isinstance(value, dict):  # an option that may be repeated
        return [str(each) for each in ([value] if isinstance(value, str) else value)]
    if value is None:
        return action.default
    if isinstance(value, dict | list) or (isinstance(value, bool) and not isinstance(action.default, bool)):
        raise TypeError
    if isinstance(value, bool):
        return value
    if action.nargs == 0:  # a flag
        raise TypeError
    convert = action.type if callable(action.type) else str
    return convert(str(value))


def write_config(folder: Path, given: Mapping[str, Any]) -> None:
    """Write the file that repeats a run.

    Args:
        folder: the run folder.
        given: the arguments of `evaluate`.

    Raises:
        DataError: the file cannot be written.
    """
    import inspect

    import yaml

    from earthinstruct.files import replace_file, writing
    from earthinstruct.predictions import CONFIG_FILE
    from earthinstruct.running import evaluate
    from earthinstruct.texts import redacted, secret_values, without_secrets

    taken = inspect.signature(evaluate).parameters
    parameters = given.get("parameters") or {}
    secrets = secret_values(parameters)
    shown = without_secrets(parameters, secrets)
    content = {
        name: _plain(value)
        for name, value in given.items()
        if name not in ("overwrite", "parameters") and value not in (taken[name].default, None, [], {})
    }
    content = {
        name: value for name, value in content.items() if redacted(json.dumps(value), secrets) == json.dumps(value)
    }
    if whole := {name: value for name, value in parameters.items() if shown.get(name) == value}:
        content["parameters"] = whole
    path = folder / CONFIG_FILE
    text = yaml.safe_dump(content, sort_keys=False)
    with writing(path):
        replace_file(path, (_HEAD + text).encode())


def _plain(value: Any) -> Any:
    """A value as YAML has it."""
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
