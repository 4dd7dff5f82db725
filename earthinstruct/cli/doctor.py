"""`earthinstruct doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "doctor", "what is missing on this machine, and how to get it", __doc__, run)
    parser.add_argument("--method", metavar="NAME", help="look at this method only")
    options.add_parameters(parser, "with --method: a parameter it would be run with; may be repeated")
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a plug-in is broken, or the method asked for misses something.

    Raises:
        EarthInstructError: parameters without a method.
    """
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.registry import parse_parameters

    parameters = parse_parameters(arguments.parameters)
    if arguments.method is not None:
        return _method(arguments, parameters)
    if parameters:
        raise EarthInstructError("-M belongs to a method: give --method NAME as well")
    return _machine(arguments)


def _method(arguments: argparse.Namespace, parameters: dict[str, Any]) -> int:
    """Look at one method with its parameters."""
    from earthinstruct.registry import missing_for, tells_missing

    lines = missing_for(arguments.method, parameters)
    for line in lines:
        options.say(f"missing  {line}")
    if not lines:
        options.say(
            f"ok       method {arguments.method}{'' if tells_missing(arguments.method) else ', as far as it tells'}"
        )
    options.write_json(arguments, {"method": arguments.method, "missing": lines})
    return 1 if lines else 0


def _machine(arguments: argparse.Namespace) -> int:
    """Look at the machine, the datasets and every method."""
    from earthinstruct.results import print_blocks
    from earthinstruct.running import doctor

    machine = doctor(data=arguments.data)
    print_blocks(machine.blocks())
    options.write_json(arguments, machine)
    return 0 if machine.ok else 1
