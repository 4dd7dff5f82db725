"""`earthinstruct score`: score stored predictions, without a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("score", help="score stored predictions", description=__doc__)
    parser.add_argument(
        "predictions",
        type=Path,
        help="predictions.jsonl (or .jsonl.zst), a run folder or a folder of shards (predictions-*.jsonl[.zst]), "
        "a COCO results file (.json), or a folder of count files",
    )
    options.add_dataset(parser)
    parser.add_argument("--setting", required=True, metavar="S", help="open_vocabulary, open_ended or open_subclass")
    parser.add_argument("--counts", type=Path, metavar="DIR", help="a folder of count files, <image name>.json")
    parser.add_argument(
        "--proposals", type=Path, metavar="FILE", help="a proposals file, image to bboxes, scores, segmentations"
    )
    parser.add_argument("--name", help="the method's name in the result")
    options.add_scoring(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when images failed or have no prediction."""
    from earthinstruct.cli.tables import print_results
    from earthinstruct.running import score

    result = score(
        arguments.predictions,
        arguments.dataset,
        arguments.setting,
        parent=arguments.parent,
        counts=arguments.counts,
        proposals=arguments.proposals,
        data=arguments.data,
        protocol=arguments.protocol,
        mapper=options.label_mapper(arguments.label_map),
        sweep=arguments.sweep,
        resamples=arguments.resamples,
        metrics=arguments.metrics,
        name=arguments.name,
    )
    print_results([result])
    options.write_json(arguments, result)
    return 1 if result.run.n_failed else 0
