"""`earthinstruct predict`: run a method on images of your own, and look at the answer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bars

if TYPE_CHECKING:
    from earthinstruct.running import Answer


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "predict", "run a method on images of your own", __doc__, run, json="one line an image"
    )
    options.add_method(parser)
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="JPEG, PNG, GeoTIFF or other image files, or folders",
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--categories", metavar='"A, B"', help="find these categories")
    asked.add_argument("--open-ended", action="store_true", help="find everything")
    asked.add_argument("--parent", metavar="CATEGORY", help='find every kind of one category, such as "sports field"')
    asked.add_argument("--instruction", metavar="TEXT", help='in your own words, such as "count the ships and harbors"')
    parser.add_argument(
        "--save",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="save the answer, by suffix: .png or .jpg, a picture of what was found; .json, all of it; .coco.json, for "
        "annotation tools; .geojson, outlines on the ground; without a suffix: a folder of pictures. May be repeated",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="cut images into tiles of N pixels; 0: never (default: 1024, where a side is longer than 2048)",
    )
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="pixels that neighbouring tiles share (default: an eighth of a tile)"
    )
    options.add_images(parser)
    parser.add_argument(
        "--explain", type=Path, metavar="PATH", help="save a picture of how the method decided, where it can draw one"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when one of several images failed."""
    from earthinstruct.predictions import Record
    from earthinstruct.running import asked_instruction, images_given, predict, refuse_to_replace

    instruction = asked_instruction(arguments.categories, arguments.open_ended, arguments.parent, arguments.instruction)
    if arguments.instruction is not None:
        what = instruction.parent or ", ".join(instruction.categories)
        print(f"understood as {instruction.setting}{f': {what}' if what else ''}")
    if arguments.json not in (None, "-"):
        refuse_to_replace("json", Path(arguments.json), images_given(arguments.images))
        Path(arguments.json).unlink(missing_ok=True)

    def answered(answer: Answer) -> None:
        print(answer)
        if answer.prediction is not None:
            options.write_json(arguments, Record.of(str(answer.path), answer.prediction), line=True)

    with progress_bars() as update:
        answers = predict(
            **options.given(arguments),
            progress=lambda done, total: update("predicting", done, total),
            answered=answered,
        )
    for line in answers.remarks():
        print(line)
    return 1 if answers.n_failed else 0
