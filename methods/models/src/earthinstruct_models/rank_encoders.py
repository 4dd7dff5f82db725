"""Rank encoders on the annotated objects of a dataset: accuracy, calibration, seconds a crop, memory.

Each encoder gets the crop of each annotated object and the names of all categories, cut and worded as InstructSAM does,
and names the category that is most similar. So a choice of the encoder costs minutes, without a proposer or a counter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bars
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.registry import parse_parameters
from earthinstruct.results import print_blocks
from earthinstruct.texts import printable_lines
from earthinstruct_models.choices import ENCODERS, Choice, distributed, still_needed

_EXAMPLES = """examples:
  python -m earthinstruct_models.rank_encoders --dataset scenes \\
      --encoder small=earthinstruct_instructsam.small:small_encoder --encoder skyclip-b32
  python -m earthinstruct_models.rank_encoders --dataset dior-mini -M device=cpu --encoder georsclip-l14 \\
      --encoder mine=open_clip -M architecture=ViT-L-14 -M checkpoint=epoch_5.pt
"""
_PART = "encoder"  # as in the parameters of a method: -M encoder.template=... means -M template=...
_Given = tuple[str, str]  # ("encoder", text) or ("parameter", text), in the order of the command line


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m earthinstruct_models.rank_encoders",
        description="Rank encoders on the annotated objects of a dataset.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--dataset", required=True, metavar="NAME|FILE", help="as for evaluate")
    found.add_argument("--data", metavar="DIR", help="the folder of your datasets, as for evaluate")
    found.add_argument("--images", metavar="DIR", help="the folder of the images, as for evaluate")
    found.add_argument(
        "--limit", type=options.at_least(1), metavar="N", help="only the first N images that have objects"
    )
    found.add_argument(
        "--encoder",
        dest="given",
        action="append",
        default=[],
        type=lambda text: ("encoder", text),
        metavar="[LABEL=]NAME",
        help=f"{', '.join(ENCODERS)}, or package.module:function, which makes one; may be repeated",
    )
    found.add_argument(
        "-M",
        dest="given",
        action="append",
        type=lambda text: ("parameter", text),
        metavar="KEY=VALUE",
        help="a parameter of the encoder before it; before the first encoder, of all that take it",
    )
    found.add_argument("--json", metavar="FILE", help="write the ranking there as JSON; -: on standard output")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Rank the encoders that a command line names.

    Args:
        arguments: the words after the program's name; None: `sys.argv`.

    Returns:
        0: done; 2: invalid input; 130: stopped by the user.
    """
    parsed = parser().parse_args(arguments)
    try:
        with options.output(parsed):
            ranking = _ranking(parsed)
            print_blocks(ranking.blocks())
            options.write_json(parsed, ranking)
    except EarthInstructError as error:
        sys.stderr.write(printable_lines(f"error: {error}") + "\n")
        return options.USAGE
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return options.INTERRUPTED
    return 0


def _ranking(parsed: argparse.Namespace) -> Any:
    from earthinstruct_models.encoders.ranking import measure, ranked

    chosen, parameters = planned(parsed.given)
    dataset = load_dataset(parsed.dataset, parsed.data, parsed.images)
    dataset.refuse_missing_images()
    measured = []
    with progress_bars() as update:
        for name, choice in chosen.items():
            encoder = choice.make(parameters[name])
            measured.append(measure(name, encoder, dataset, parsed.limit, partial(update, name)))
            del encoder  # the next one needs its memory
    return ranked(dataset, measured, parsed.limit)


def planned(given: Sequence[_Given]) -> tuple[dict[str, Choice], dict[str, dict[str, Any]]]:
    """The encoders of a command line and their parameters, by label.

    Args:
        given: `--encoder` and `-M`, in order.

    Raises:
        UnknownNameError: no such encoder or parameter.
        EarthInstructError: no encoder is given, a label is given twice, or an encoder lacks something; says all that is
            missing and how to get it.
    """
    chosen: dict[str, Choice] = {}
    for_all: list[str] = []
    of_each: dict[str, list[str]] = {}
    latest = for_all
    for kind, text in given:
        if kind == "parameter":
            latest.append(text)
            continue
        label, choice = _choice(text)
        if label in chosen:
            raise EarthInstructError(f"encoder {label!r} is given twice: give one a label, --encoder LABEL={label}")
        chosen[label], latest = choice, of_each.setdefault(label, [])
    if not chosen:
        raise EarthInstructError("give an encoder: --encoder NAME")
    common = {key.removeprefix(f"{_PART}."): value for key, value in parse_parameters(for_all).items()}
    accepted = {label: choice.parameters() for label, choice in chosen.items()}
    known = {key for keys in accepted.values() for key in keys}
    for key in common:
        if key not in known:
            raise UnknownNameError("parameter of an encoder", key, known)
    parameters: dict[str, dict[str, Any]] = {}
    for label, choice in chosen.items():
        own = {key: value for key, value in common.items() if key in accepted[label]}
        own |= parse_parameters(of_each[label])
        parameters[label] = distributed("rank_encoders", {_PART: choice}, own)[_PART]
    _refuse_missing(chosen, parameters)
    return chosen, parameters


def _choice(text: str) -> tuple[str, Choice]:
    """The label and the choice of an encoder on the command line."""
    label, equals, name = text.partition("=")
    name = name if equals else label
    if ":" in name:
        try:
            choice = Choice(name)
            choice.parameters()
        except (ImportError, AttributeError) as error:
            raise EarthInstructError(f"encoder {name} cannot be made: {error}; give package.module:function") from error
        return label, choice
    if name not in ENCODERS:
        raise UnknownNameError("encoder", name, ENCODERS)
    return label, ENCODERS[name].inner["part"]  # not the one that keeps embeddings: each is made once, and timed


def _refuse_missing(chosen: Mapping[str, Choice], parameters: Mapping[str, Mapping[str, Any]]) -> None:
    lines = [
        f"{label}: {line}"
        for label, choice in chosen.items()
        for line in (
            *choice.missing(_PART, parameters[label]),
            *still_needed(_PART, label, choice, parameters[label]),
        )
    ]
    if lines:
        raise EarthInstructError("something is missing:\n" + "\n".join(f"  {line}" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
