"""`earthinstruct data`: make datasets on disk."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bar

if TYPE_CHECKING:
    from earthinstruct.datasets import Prepared


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("data", help="make datasets on disk", description=__doc__)
    kinds = parser.add_subparsers(required=True, metavar="VERB")
    _register_scenes(kinds)
    _register_prepare(kinds)
    _register_fetch(kinds)


def _register_scenes(kinds: Any) -> None:
    scenes = options.add_verb(
        kinds,
        "scenes",
        "draw scenes with exact ground truth, of any number and size",
        "Draw scenes and write them as a COCO dataset: annotations.json and images/.",
        run_scenes,
    )
    scenes.add_argument("folder", type=Path, metavar="DIR", help="where to; must not exist or be empty")
    scenes.add_argument("--split", default="test", metavar="NAME", help="train, val or test (default: test)")
    scenes.add_argument("--images", type=int, metavar="N", help="how many (default: the size of the split)")
    scenes.add_argument("--size", type=int, metavar="S", help="side of an image in pixels (default: 384 to 512)")
    scenes.add_argument("--objects", type=int, metavar="K", help="about how many objects an image, for load tests")


def _register_prepare(kinds: Any) -> None:
    prepare = kinds.add_parser(
        "prepare",
        help="make one annotation file of DIOR or NWPU VHR-10 as downloaded",
        description="Make one validated annotation file of an official download. Nothing is downloaded.",
    )
    datasets = prepare.add_subparsers(required=True, metavar="DATASET")
    writes = "Writes ROOT/earthinstruct-dior-<split>.json."
    dior = options.add_verb(datasets, "dior", "DIOR", writes, run_prepare_dior)
    dior.add_argument("--split", default="val", metavar="NAME", help="train, val or test (default: val)")
    dior.add_argument("--masks", type=Path, metavar="DIR", help="the SAMRS mask files, <image>.pkl (default: no masks)")
    writes = "Writes ROOT/earthinstruct-nwpu.json."
    nwpu = options.add_verb(datasets, "nwpu", "NWPU VHR-10", writes, run_prepare_nwpu)
    nwpu.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="the COCO re-annotation, which has masks (default: ROOT/annotations.json, else the official text files)",
    )
    for parser in (dior, nwpu):
        options.add_skip_invalid(parser)
        parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that it was unpacked to")
        parser.add_argument(
            "--gt-boxes",
            default="annotated",
            metavar="WHICH",
            help="annotated, or mask: the bounding boxes of the masks (default: annotated)",
        )


def _register_fetch(kinds: Any) -> None:
    fetch = options.add_verb(
        kinds,
        "fetch",
        "download dior-mini, four images of DIOR with recorded answers",
        "Download a small dataset, after showing its licence. No other command downloads anything.",
        run_fetch,
    )
    fetch.add_argument("dataset", metavar="DATASET", help="dior-mini")
    options.add_data(fetch)
    fetch.add_argument("--yes", action="store_true", help="accept the licence without being asked")


def run_scenes(arguments: argparse.Namespace) -> int:
    """Run `data scenes`."""
    from earthinstruct.datasets import draw_scenes

    with progress_bar("drawing scenes") as progress:
        folder = draw_scenes(**options.given(arguments), progress=progress)
    options.say(f"written: {folder / 'annotations.json'}")
    options.write_json(arguments, {"written": str(folder / "annotations.json")})
    return 0


def run_prepare_dior(arguments: argparse.Namespace) -> int:
    """Run `data prepare dior`."""
    from earthinstruct.datasets import prepare_dior

    with progress_bar("reading DIOR") as progress:
        prepared = prepare_dior(**options.given(arguments), progress=progress)
    return _report(arguments, prepared, {"val": "dior", "test": "dior-test"}.get(arguments.split))


def run_prepare_nwpu(arguments: argparse.Namespace) -> int:
    """Run `data prepare nwpu`."""
    from earthinstruct.datasets import prepare_nwpu

    with progress_bar("reading NWPU VHR-10") as progress:
        prepared = prepare_nwpu(**options.given(arguments), progress=progress)
    return _report(arguments, prepared, "nwpu")


def run_fetch(arguments: argparse.Namespace) -> int:
    """Run `data fetch`."""
    from earthinstruct.datasets import fetch_dataset, fetch_offer
    from earthinstruct.errors import EarthInstructError

    for line in fetch_offer(arguments.dataset, arguments.data).splitlines():
        options.say(line)
    if not arguments.yes and not _accepted():
        raise EarthInstructError("nothing was fetched; answer y, or give --yes, to accept the licence")
    with progress_bar("fetching dior-mini") as progress:
        folder = fetch_dataset(arguments.dataset, data=arguments.data, yes=True, progress=progress)
    options.say(f"written: {folder}")
    _say_next("dior-mini", "--data", folder.parent)
    options.write_json(arguments, {"written": str(folder)})
    return 0


def _accepted() -> bool:
    try:
        return input("Fetch them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody to ask
        return False


def _report(arguments: argparse.Namespace, prepared: Prepared, named: str | None) -> int:
    """Print the counts beside the published ones, what differs, and how to evaluate on it, by name if it has one."""
    from earthinstruct.results import new_table, print_blocks
    from earthinstruct.texts import plural

    known = prepared.known
    table = new_table("category", "objects", *(("published", "difference") if known else ()), left=["category"])
    for name, found in [*prepared.counts.items(), ("all", sum(prepared.counts.values()))]:
        if known:
            published = sum(known.values()) if name == "all" else known[name]
            difference = f"{found - published:+}" if found != published else ""
            table.add_row(name, str(found), str(published), difference)
        else:
            table.add_row(name, str(found))
    print_blocks([table])
    if known is None:
        options.say("no counts by category are published for this split")
    elif differing := sum(found != known[name] for name, found in prepared.counts.items()):
        options.say(f"{differing} of {len(known)} categories differ from the published counts")
    if prepared.n_images != prepared.known_images:
        options.say(f"{plural(prepared.n_images, 'image')}, published are {prepared.known_images}")
    else:
        options.say(f"{plural(prepared.n_images, 'image')}, as published")
    for note in prepared.notes:
        options.say(f"note: {note}")
    if not prepared.masks:
        options.say("note: not every object has a mask, so mask scores will be null")
    options.say(f"written: {prepared.path}")
    _say_next(*(named, "--data", arguments.root) if named else (prepared.path,))
    options.write_json(arguments, prepared)
    return 0


def _say_next(*dataset: object) -> None:
    """Print the command that evaluates a method on a dataset."""
    words = ("earthinstruct", "evaluate", "--method", "NAME", "--dataset", *map(str, dataset))
    options.say(f"next: {shlex.join(words)}")
