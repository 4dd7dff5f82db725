"""`earthinstruct score`: score stored predictions, without a model, and keep them as a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "score", "score stored predictions", __doc__, run, json="the scores")
    parser.add_argument(
        "predictions",
        type=Path,
        help="predictions.jsonl (or .jsonl.zst, .jsonl.gz), a run folder or a folder of shards (predictions-*.jsonl), "
        "a COCO results file (.json), count files, a folder of detections, semantic maps, or replies with boxes",
    )
    options.add_dataset(parser)
    parser.add_argument("--setting", required=True, metavar="S", help="open_vocabulary, open_ended or open_subclass")
    parser.add_argument(
        "--counts", type=Path, metavar="PATH", help="a folder of count files, <image name>.json, or one of all images"
    )
    parser.add_argument(
        "--proposals", type=Path, metavar="FILE", help="a proposals file, image to bboxes, scores, segmentations"
    )
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="what class numbers mean, in semantic maps or detections: a JSON file, class number to category or null",
    )
    parser.add_argument(
        "--order",
        metavar="ORDER",
        help="the numbers of a box: xywh, xyxy, yxyx, cxcywh, any of them with +degrees or +radians, or corners",
    )
    parser.add_argument(
        "--frame", metavar="FRAME", help="what they refer to: pixels, fractions, hundredths or thousandths of the image"
    )
    parser.add_argument(
        "--min-area",
        type=options.at_least(1),
        default=1,
        metavar="N",
        help="semantic maps: regions of fewer pixels are left out (default: 1)",
    )
    parser.add_argument("--name", help="the method's name in folders, results and tables (default: that of the file)")
    parser.add_argument("--method-version", metavar="V", help="the method's version; leaderboards ask for one")
    parser.add_argument(
        "--training-data",
        metavar="NAMES",
        help="what the method was trained on, with commas: names of `earthinstruct list training-sets`, unknown, or "
        "none if it was not trained",
    )
    kept = parser.add_mutually_exclusive_group()
    options.add_output(kept, "where run folders are kept (default: runs); a run folder is scored in place")
    kept.add_argument("--no-output", dest="output", action="store_const", const=None, help="keep nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace a run or a result of another kind")
    options.add_scoring(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when images failed or have no prediction."""
    from earthinstruct.results import category_blocks, print_blocks
    from earthinstruct.scoring import score

    folders: list[Path] = []
    result = score(**options.given(arguments, without=["per_category"]), kept=folders.append)
    print_blocks(result.blocks())
    if arguments.per_category:
        print_blocks(category_blocks([result]))
    options.write_json(arguments, result)
    for folder in folders:
        options.say(f"kept in {folder}")
        options.say_report(folder)
    return 1 if result.run.n_failed else 0
