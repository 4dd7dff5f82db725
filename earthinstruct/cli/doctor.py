"""`earthinstruct doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("doctor", help="what is missing on this machine, and how to get it", description=__doc__)
    parser.add_argument("--method", metavar="NAME", help="look at this method only")
    options.add_parameters(parser, "with --method: a parameter it would be run with; may be repeated")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    options.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a plug-in is broken, or the method asked for misses something.

    Raises:
        EarthInstructError: parameters without a method.
    """
    import platform
    from importlib.metadata import version

    from earthinstruct.cli import listing
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.registry import NO_METHODS, parse_parameters

    parameters = parse_parameters(arguments.parameters)
    if arguments.method is not None:
        problems, told = _missing(arguments.method, parameters)
        for problem in problems:
            print(f"missing  {problem}")
        if not problems:
            print(f"ok       method {arguments.method}{'' if told else ', as far as it tells'}")
        options.write_json(arguments, {"method": arguments.method, "missing": problems})
        return 1 if problems else 0
    if parameters:
        raise EarthInstructError("-M belongs to a method: give --method NAME as well")
    print(
        f"ok       earthinstruct {version('earthinstruct')}, Python {platform.python_version()}, {platform.platform()}"
    )
    datasets, methods = listing.datasets(arguments.data), listing.methods()
    for row in datasets:
        print(
            f"missing  dataset {row['name']} {row['missing']}" if row["missing"] else f"ok       dataset {row['name']}"
        )
    for row in methods:
        print(
            f"missing  method {row['name']}: {row['missing']}" if row["missing"] else f"ok       method {row['name']}"
        )
    if not methods:
        print(f"missing  methods: {NO_METHODS}")
    options.write_json(
        arguments,
        {
            "earthinstruct": version("earthinstruct"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "datasets": datasets,
            "methods": methods,
        },
    )
    return 1 if any(str(row["missing"]).startswith("warning:") for row in (*datasets, *methods)) else 0


def _missing(name: str, parameters: dict[str, Any]) -> tuple[list[str], bool]:
    """What a method lacks when it is run with these parameters, and whether it tells what they need."""
    import inspect

    from earthinstruct.registry import method_factory, parameters_needed

    factory = method_factory(name)
    needed = [f"parameter {key}: give it with -M {key}=VALUE" for key in parameters_needed(factory, parameters)]
    missing = getattr(factory, "missing", None)
    if not callable(missing):
        return needed, False
    told = bool(inspect.signature(missing).parameters) or not parameters
    return needed + list(missing(**parameters) if inspect.signature(missing).parameters else missing()), told
