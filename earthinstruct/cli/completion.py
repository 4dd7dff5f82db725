"""`earthinstruct completion`: prints the script by which a shell completes verbs and options."""

from __future__ import annotations

import argparse
from typing import Any

from earthinstruct.cli import options

SHELLS = ("bash", "zsh", "tcsh")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "completion", "print a script for the completion of a shell", __doc__, run)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    import shtab

    from earthinstruct.cli import parser

    script = shtab.complete(parser(), arguments.shell)
    print(script)
    options.write_json(arguments, {"shell": arguments.shell, "script": script})
    return 0
