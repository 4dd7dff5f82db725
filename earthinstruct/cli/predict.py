"""`earthinstruct predict`: run a method on images of your own, and look at the answer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options

if TYPE_CHECKING:
    from earthinstruct.contract import Instruction


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("predict", help="run a method on images of your own", description=__doc__)
    options.add_method(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--categories", metavar='"A, B"', help="find these categories")
    asked.add_argument("--open-ended", action="store_true", help="find everything")
    asked.add_argument("--parent", metavar="CATEGORY", help='find every kind of one category, such as "sports field"')
    parser.add_argument(
        "--save", type=Path, metavar="PATH", help="save an overlay: a file for one image, a folder for several"
    )
    parser.add_argument(
        "--explain", type=Path, metavar="PATH", help="save a picture of how the method decided, where it can draw one"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the predictions there, one JSON line an image")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from PIL import Image

    from earthinstruct.contract import ControlMethod
    from earthinstruct.datasets import read_image
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.registry import make_method, parse_parameters
    from earthinstruct.report.overlay import draw_overlay
    from earthinstruct.results import method_info
    from earthinstruct.running.predictions import Record, RecordWriter
    from earthinstruct.running.run import check_prediction

    instruction = _instruction(arguments)
    method = make_method(arguments.method, parse_parameters(arguments.parameters))
    if isinstance(method, ControlMethod):
        raise EarthInstructError(
            f"method {arguments.method!r} is a control: it answers from ground truth, and your images have none"
        )
    explain = getattr(method, "explain", None)
    if arguments.explain is not None and not callable(explain):
        raise EarthInstructError(f"method {arguments.method!r} draws no explanation; leave --explain out")
    if arguments.json is not None:
        arguments.json.unlink(missing_ok=True)
    several = len(arguments.images) > 1
    for path in arguments.images:
        image = read_image(path)
        prediction = method.predict(image, instruction)
        check_prediction(prediction, instruction, *image.shape[:2])
        counts = prediction.counts or {
            label: prediction.labels.count(label) for label in sorted(set(prediction.labels))
        }
        found = ", ".join(f"{label} {count}" for label, count in counts.items() if count)
        print(f"{path}: {found or 'nothing found'}")
        if arguments.save is not None:
            draw_overlay(image, prediction).save(_target(arguments.save, path, several))
        if arguments.explain is not None and callable(explain):
            Image.fromarray(explain(image, instruction)).save(_target(arguments.explain, path, several))
        if arguments.json is not None:
            with RecordWriter(arguments.json) as writer:
                writer.write(Record.of(str(path), prediction))
    for note in method_info(method).notes:
        print(f"note: {note}")
    return 0


def _target(target: Path, image: Path, several: bool) -> Path:
    if several or target.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return target / f"{image.stem}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _instruction(arguments: argparse.Namespace) -> Instruction:
    from earthinstruct.contract import Instruction
    from earthinstruct.tasks import Vocabulary, instruction_text

    if arguments.categories is not None:
        categories = tuple(name.strip() for name in arguments.categories.split(",") if name.strip())
        text = instruction_text(Vocabulary(categories), "open_vocabulary")
        return Instruction("open_vocabulary", text, categories)
    if arguments.open_ended:
        return Instruction("open_ended", instruction_text(Vocabulary(()), "open_ended"))
    text = instruction_text(Vocabulary(()), "open_subclass", arguments.parent)
    return Instruction("open_subclass", text, parent=arguments.parent)
