"""`earthinstruct weights`: lists the weights that the methods use, and downloads them."""

from __future__ import annotations

import argparse
from typing import Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bar


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("weights", help="list or download the weights of methods", description=__doc__)
    acts = parser.add_subparsers(required=True, metavar="list|fetch")
    options.add_verb(
        acts, "list", "list them", "List the weights, where they are published, and which are here.", run_list
    )
    fetch = options.add_verb(
        acts,
        "fetch",
        "download weights",
        "Download weights into the weights folder, after showing their licence; continues a broken download.",
        run_fetch,
    )
    fetch.add_argument("name", metavar="NAME", help="as weights list shows it")


def run_list(arguments: argparse.Namespace) -> int:
    """Run `weights list`."""
    from earthinstruct.registry import weights_known
    from earthinstruct.results import new_table, print_blocks

    known = [weights for weights, _ in weights_known().values()]
    rows = [
        {"name": each.name, "here": each.here, "licence": each.licence, "page": each.page, "path": str(each.path)}
        for each in known
    ]
    table = new_table("name", "here", "licence", "page", left=("name", "here", "licence", "page"), no_wrap=False)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(row["name"], "yes" if row["here"] else "", row["licence"] or "see page", row["page"])
    folders = sorted({str(each.path.parent) for each in known})
    print_blocks([table, *(f"kept in {folder}" for folder in folders)])
    options.write_json(arguments, rows)
    return 0


def run_fetch(arguments: argparse.Namespace) -> int:
    """Run `weights fetch`.

    Raises:
        EarthInstructError: no such weights, or they cannot be downloaded.
    """
    from earthinstruct.errors import UnknownNameError
    from earthinstruct.files import read_text
    from earthinstruct.registry import weights_known

    known = weights_known()
    if arguments.name not in known:
        raise UnknownNameError("weights", arguments.name, known)
    weights, fetch = known[arguments.name]
    licence = weights.licence or f"not recorded here, see {weights.page}"
    options.say(f"{weights.name}: licence {licence}; from {weights.url or weights.page}")
    with progress_bar(weights.name) as progress:
        path = fetch(weights.name, progress)
    sums = path.with_name(f"{path.name}.sha256")
    options.say(f"written: {path}")
    for line in read_text(sums, "hash file").splitlines():
        options.say(line)
    options.write_json(arguments, {"name": weights.name, "written": str(path)})
    return 0
