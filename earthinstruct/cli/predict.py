"""`earthinstruct predict`: run a method on images of your own, and look at the answer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options
from earthinstruct.cli.interrupts import interrupts
from earthinstruct.cli.progress import progress_bar
from earthinstruct.errors import EarthInstructError

if TYPE_CHECKING:
    from earthinstruct.running import Answer


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "predict", "run a method on images of your own", __doc__, run, json="one line an image"
    )
    options.add_method(parser, required=False)
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        metavar="IMAGE",
        help="JPEG, PNG, GeoTIFF or other image files, or folders",
    )
    asked = parser.add_mutually_exclusive_group()
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
        "annotation tools; .csv, the counts; .geojson, .gpkg, .shp, .fgb or .parquet, outlines on the ground; .tif, a "
        "raster of labels; without a suffix: a folder of pictures. May be repeated",
    )
    parser.add_argument(
        "--from",
        type=Path,
        dest="run",
        metavar="RUN",
        help="save the answers of an earlier run again, from its folder; no image and no method is given",
    )
    options.add_tiles(parser, "1024, where a side is longer than 2048, unless the method says what it takes")
    options.add_images(parser)
    parser.add_argument(
        "--window", metavar="X,Y,W,H", help="predict this part of each image: column, row, width and height in pixels"
    )
    parser.add_argument(
        "--aoi",
        type=Path,
        metavar="FILE",
        help="predict what lies in the areas of a vector file, in any reference system; outside counts as no data",
    )
    parser.add_argument(
        "--resolution",
        metavar="METRES",
        help="resample images to this many metres a pixel while they are read; `method`: to what the method was made "
        "for. Answers stay in pixels of the images (default: as stored)",
    )
    parser.add_argument(
        "--source-crs",
        metavar="EPSG:N",
        help="the coordinate reference system of images that have coordinates and do not name their system",
    )
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="leave out objects with a lower score (they stay in the run)"
    )
    parser.add_argument(
        "--min-area", metavar="A", help="leave out smaller objects: pixels, or an area such as '20 m2' (likewise)"
    )
    parser.add_argument(
        "--simplify",
        type=options.at_least(0, float),
        default=0.0,
        metavar="PIXELS",
        help="by how much outlines in vector files may move to have fewer points (default: 0)",
    )
    parser.add_argument(
        "--crs",
        metavar="EPSG:N",
        help="the coordinate reference system that vector files get (default: longitude and latitude in GeoJSON, that "
        "of the images in others, if they share one)",
    )
    parser.add_argument(
        "--explain", type=Path, metavar="PATH", help="save a picture of how the method decided, where it can draw one"
    )
    options.add_output(parser, "where answers are kept, in a folder of each run (default: runs)")
    parser.add_argument("--overwrite", action="store_true", help="forget what an earlier run found")
    options.add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when one of several images failed."""
    from earthinstruct.predictions import Record
    from earthinstruct.running import (
        asked_instruction,
        images_given,
        images_of_run,
        predict,
        refuse_to_replace,
        saved_again,
    )

    _check(arguments)
    if arguments.run is None:
        instruction = asked_instruction(
            arguments.categories, arguments.open_ended, arguments.parent, arguments.instruction
        )
        if arguments.instruction is not None:
            what = instruction.parent or ", ".join(instruction.categories)
            options.say(f"understood as {instruction.setting}{f': {what}' if what else ''}")
    if arguments.json not in (None, "-"):
        images = images_of_run(arguments.run) if arguments.run is not None else images_given(arguments.images)
        refuse_to_replace("json", [Path(arguments.json)], images)
    n_written, warnings = 0, set[str]()

    def warned(warning: str) -> None:
        warnings.add(line := f"note: {warning}")
        options.say(line)

    def answered(answer: Answer) -> None:
        nonlocal n_written
        print(answer)
        if answer.prediction is not None:
            record = Record.of(str(answer.path), answer.prediction)
            options.write_json_line(arguments, record, first=n_written == 0)
            n_written += 1

    if arguments.run is not None:
        again = ("save", "min_score", "min_area", "source_crs", "crs", "simplify")
        options_of = {name: getattr(arguments, name) for name in again}
        answers = saved_again(arguments.run, **options_of, answered=answered)
    else:
        try:
            with progress_bar("predicting") as progress, interrupts() as stopping:
                answers = predict(
                    **options.given(arguments, without=("run",)),
                    progress=progress,
                    answered=answered,
                    warned=warned,
                    stopping=stopping,
                )
        except KeyboardInterrupt:
            options.say(
                f"stopped; what was found so far is kept in {arguments.output / 'predict'}: continue with the same "
                f"command{' without --overwrite' if arguments.overwrite else ''}",
                error=True,
            )
            return options.INTERRUPTED
    if not n_written:
        options.write_no_json_lines(arguments)
    for line in answers.closing_lines():
        if line not in warnings:  # said before the first image
            options.say(line)
    return 1 if answers.n_failed else 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse --from beside what makes a new run, and a new run without it."""
    asked = (arguments.categories, arguments.parent, arguments.instruction, arguments.open_ended or None)
    needed = {"IMAGE": arguments.images or None, "--method": arguments.method}
    if arguments.run is not None:
        of_images = ("tile", "overlap", "bands", "stretch", "nodata", "window", "aoi", "resolution", "explain")
        given = [name for name, value in needed.items() if value is not None]
        given += ["the instruction"] * any(value is not None for value in asked)
        given += [
            f"--{name.replace('_', '-')}"
            for name in (*of_images, *options.OF_ENGINE)
            if getattr(arguments, name) is not None
        ]
        given += ["--engine"] * (arguments.engine != "local")
        given += ["--output"] * (arguments.output is not options.RUNS)
        given += ["--overwrite"] * arguments.overwrite + ["-M"] * bool(arguments.parameters)
        if given:
            raise EarthInstructError(
                "--from RUN saves the answers of that run, with its images, method and instruction; leave "
                f"{', '.join(given)} out"
            )
        return
    missing = [name for name, value in needed.items() if value is None]
    if all(value is None for value in asked):
        missing.append("one of --categories, --open-ended, --parent and --instruction")
    if missing:
        raise EarthInstructError(f"predict needs {', '.join(missing)}; or --from RUN for the answers of a run")
