"""Options that several verbs share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from earthinstruct.scoring import Finding

Verb = Callable[[argparse.Namespace], int]  # runs, and returns the exit code
_STANDARD_OUTPUT = "-"
_HEADING = "examples:"

RUNS = Path("runs")  # the default of --output; another object where it is given
FINDING, USAGE, INTERRUPTED = 1, 2, 130  # exit codes


def at_least(least: int, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """An option's type: a number that is not less than this, whole or not."""

    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not number >= least:
            whole = "whole " if kind is int else ""
            raise argparse.ArgumentTypeError(f"{text!r} must be a {whole}number >= {least}")
        return number

    return read


class _Help(argparse.HelpFormatter):
    """Help whose examples keep their lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_HEADING) else super()._fill_text(text, width, indent)


def add_verb(
    verbs: Any, name: str, summary: str, description: str | None, run: Verb, json: str | None = None
) -> argparse.ArgumentParser:
    """Add a verb with its option --json and its examples.

    Args:
        verbs: where to add it.
        name: the word for it.
        summary: what it does, in the list of verbs.
        description: what it does, in its own help.
        run: does it, and returns the exit code.
        json: what its --json FILE holds, to be kept; None: --json is a flag.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=summary, description=description, formatter_class=_Help
    )
    parser.epilog = "\n  earthinstruct ".join((_HEADING, *EXAMPLES[parser.prog.partition(" ")[2]]))
    parser.set_defaults(verb=run)
    where = "on standard output, the text on standard error"
    if json is None:
        parser.add_argument("--json", action="store_const", const=_STANDARD_OUTPUT, help=f"JSON {where}")
    else:
        parser.add_argument("--json", metavar="FILE", help=f"write {json} there as JSON; -: {where}")
    return parser


def given(arguments: argparse.Namespace, without: Sequence[str] = ()) -> dict[str, Any]:
    """What was given to a verb, as arguments of its public function, which have the names of the options.

    Args:
        arguments: the parsed command line.
        without: options that are no arguments of the function.
    """
    from earthinstruct.registry import parse_parameters

    ours = ("verb", "json", "standard_output", *without)
    named = {name: value for name, value in vars(arguments).items() if name not in ours}
    if "parameters" in named:
        named["parameters"] = parse_parameters(named["parameters"])
    return named


def secrets(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The texts in the parameters of the method that nothing may show, also if a parameter is malformed."""
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.registry import parse_parameters
    from earthinstruct.texts import secret_values

    found: dict[str, Any] = {}
    for pair in getattr(arguments, "parameters", ()):
        try:
            found |= parse_parameters([pair])
        except EarthInstructError:
            key, _, value = pair.partition("=")
            found[key] = value
    return secret_values(found)


@contextmanager
def output(arguments: argparse.Namespace) -> Iterator[None]:
    """What verbs print goes to standard error where standard output is for JSON alone.

    Raises:
        EarthInstructError: --json names another file of the command.
    """
    arguments.standard_output = sys.stdout
    if arguments.json not in (None, _STANDARD_OUTPUT):
        _refuse_another_file(arguments)
        arguments.json = str(Path(arguments.json).absolute())  # a method may change the working directory
    if arguments.json != _STANDARD_OUTPUT:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def _refuse_another_file(arguments: argparse.Namespace) -> None:
    """Refuse a --json file that the command is given for something else; a text counts if it names a file."""
    from earthinstruct.errors import EarthInstructError

    file = Path(arguments.json).resolve()
    others = (value for name, value in vars(arguments).items() if name != "json")
    several = chain.from_iterable(value if isinstance(value, list) else [value] for value in others)
    texts = (str, Path) if file.is_file() else Path
    if any(isinstance(each, texts) and Path(each).resolve() == file for each in several):
        raise EarthInstructError(
            f"--json {arguments.json} would replace that file, which this command is given too; give another place"
        )


def say(text: object, *, error: bool = False) -> None:
    """Print a line, on standard output or as an error. Control characters in it are escaped."""
    from earthinstruct.texts import printable

    print(printable(str(text)), file=sys.stderr if error else None)


def say_report(folder: Path) -> None:
    """Print the command that makes the page of a run, or the index of a folder of runs."""
    say(f"look at it: {shlex.join(['earthinstruct', 'report', str(folder)])}")


def write_json(arguments: argparse.Namespace, value: Any) -> None:
    """Write a verb's JSON where --json says, if it is given.

    Raises:
        DataError: the file cannot be written.
    """
    from earthinstruct.files import as_json, replace_file

    if arguments.json == _STANDARD_OUTPUT:
        _print_json(arguments, as_json(value))
    elif arguments.json is not None:
        with _json_file(arguments) as path:
            replace_file(path, as_json(value))


def write_json_line(arguments: argparse.Namespace, value: Any, *, first: bool) -> None:
    """Write a line of a verb's JSON where --json says, if it is given. The first line replaces an earlier file.

    Raises:
        DataError: the file cannot be written.
    """
    import msgspec

    from earthinstruct.files import LineFile, replace_file

    if arguments.json is None:
        return
    line = msgspec.json.encode(value)
    if arguments.json == _STANDARD_OUTPUT:
        _print_json(arguments, line + b"\n")
        return
    with _json_file(arguments) as path:
        if first or not path.is_file():  # a device or a pipe takes one line after another
            replace_file(path, line + b"\n")
        else:
            with LineFile(path) as file:
                file.append(line)


def write_no_json_lines(arguments: argparse.Namespace) -> None:
    """Leave no lines of an earlier command where --json says, if it is given.

    Raises:
        DataError: the file cannot be written.
    """
    from earthinstruct.files import replace_file

    if arguments.json not in (None, _STANDARD_OUTPUT):
        with _json_file(arguments) as path:
            replace_file(path, b"")


def _print_json(arguments: argparse.Namespace, content: bytes) -> None:
    from earthinstruct.texts import printable_json

    arguments.standard_output.write(printable_json(content.decode()))
    arguments.standard_output.flush()


@contextmanager
def _json_file(arguments: argparse.Namespace) -> Iterator[Path]:
    from earthinstruct.files import writing

    path = Path(arguments.json)
    with writing(path, "give another --json FILE"):
        yield path


def print_findings(findings: Sequence[Finding]) -> int:
    """One line a check, and a last one that sums up; returns how many fail."""
    for finding in findings:
        say(finding)
    failed = sum(finding.problem is not None for finding in findings)
    say(hold_and_fail(len(findings) - failed, failed))
    return failed


def hold_and_fail(n_hold: int, n_fail: int) -> str:
    """How many checks hold and fail, in words."""
    from earthinstruct.texts import plural

    return f"{plural(n_hold, 'check holds', 'checks hold')}, {plural(n_fail, 'fails', 'fail')}"


def add_method(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """--method and -M."""
    parser.add_argument(
        "--method",
        required=required,
        metavar="NAME",
        help="a method by name, package.module:Class or path/file.py:Class",
    )
    add_parameters(parser)


def add_parameters(
    parser: argparse.ArgumentParser, description: str = "a parameter of the method; may be repeated"
) -> None:
    """-M."""
    parser.add_argument("-M", dest="parameters", action="append", default=[], metavar="KEY=VALUE", help=description)


def add_skip_invalid(parser: argparse.ArgumentParser) -> None:
    """--skip-invalid."""
    parser.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out objects that no method can find, such as boxes outside their image (default: refuse them)",
    )


def add_dataset(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--dataset, --data, --images and --parent."""
    parser.add_argument(
        "--dataset",
        required=default is None,
        default=default,
        metavar="NAME|PATH",
        help="a dataset by name, a COCO or CSV file, or a COCO, VOC, YOLO or DOTA folder"
        + (f" (default: {default})" if default else ""),
    )
    add_data(parser)
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the folder of the images, where it is not beside the annotation file",
    )
    add_skip_invalid(parser)
    parser.add_argument(
        "--parent", metavar="CATEGORY", help='the parent category of open_subclass, such as "sports field"'
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the folder of your datasets (default: $EARTHINSTRUCT_DATA, else data)"
    )


def add_output(parser: argparse._ActionsContainer, help_text: str = "where runs are kept (default: runs)") -> None:
    """--output."""
    parser.add_argument("--output", type=Path, default=RUNS, metavar="DIR", help=help_text)


def add_images(parser: argparse._ActionsContainer) -> None:
    """--bands, --stretch and --nodata: how image files are read."""
    parser.add_argument(
        "--bands",
        metavar="R,G,B",
        help="the bands of a raster to show, from 1 (default: red, green and blue if the file names them, else the "
        "first three)",
    )
    parser.add_argument(
        "--stretch",
        metavar="HOW",
        help="how values of more than 8 bits are shown: joint, one stretch for all bands; band, one for each; none; or "
        "LOW,HIGH, the values that become black and white (default: joint, and none for floats from 0 to 1)",
    )
    parser.add_argument(
        "--nodata", type=float, metavar="VALUE", help="pixels with this value have no data, beside those marked so"
    )


def add_tiles(parser: argparse._ActionsContainer, default: str) -> None:
    """--tile and --overlap: how images are cut."""
    parser.add_argument(
        "--tile", type=int, metavar="N", help=f"cut images into tiles of N pixels; 0: never (default: {default})"
    )
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="pixels that neighbouring tiles share (default: an eighth of a tile)"
    )


OF_ENGINE = ("workers", "timeout", "worker_memory", "gpus_per_worker", "address")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--engine and its options: where the method runs."""
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--engine", default="local", metavar="NAME", help="local, or ray for a Ray cluster (default: local)"
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes, each with the method in memory (default: 1)"
    )
    group.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="of an image or a tile: if it takes longer, the image counts as failed, and its worker is replaced",
    )
    group.add_argument(
        "--worker-memory",
        type=float,
        metavar="GB",
        help="replace a worker that holds more than this after a tile",
    )
    group.add_argument("--gpus-per-worker", type=float, metavar="G", help="GPUs that Ray reserves for each worker")
    group.add_argument(
        "--address", metavar="A", help="of a running Ray cluster, or auto (default: a Ray of its own, on this machine)"
    )


def add_metric(parser: argparse.ArgumentParser) -> None:
    """--metric."""
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="also this metric of your own: package.module:Class or path/file.py:Class; may be repeated",
    )


def _cross(word: str) -> str:
    if word != "cross":
        raise argparse.ArgumentTypeError(f"{word!r} is not 'cross'; without it, give --sweep after all file names")
    return word


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """--protocol, --metric, --slice-by, --attributes, --label-map, --threshold, --sweep and --per-category."""
    parser.add_argument("--protocol", default="standard", metavar="NAME", help="standard or paper (default: standard)")
    add_metric(parser)
    parser.add_argument(
        "--slice-by",
        action="append",
        default=[],
        metavar="NAME",
        help="also the scores of the images of each value or range of an attribute: a field of the images in the COCO "
        "file, n_objects, or a column of --attributes; may be repeated",
    )
    parser.add_argument(
        "--attributes", type=Path, metavar="FILE", help="a CSV file with attributes of the images: image,NAME,..."
    )
    parser.add_argument(
        "--label-map",
        metavar="MAP",
        help="exact, clip:<encoder>, or a JSON file of label to category (default: the dataset's)",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold", type=float, metavar="T", help="score the predictions with at least this score (default: all)"
    )
    chosen.add_argument(
        "--sweep",
        type=_cross,
        nargs="?",
        const=True,
        default=False,
        metavar="cross",
        help="choose the score threshold with the largest box mF1: on the scored images themselves (an oracle), or "
        "with `cross` for each fold of images on the other folds",
    )
    parser.add_argument(
        "--per-category",
        action="store_true",
        help="also show the scores of each category, and of counts by number of objects",
    )
