"""`earthinstruct evaluate`: run a method over a dataset, score it, print one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bars


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "evaluate", help="run a method over a dataset, then score it: one table", description=__doc__
    )
    options.add_method(parser)
    options.add_dataset(parser, default="scenes")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the folder of the images, where it is not beside the annotation file",
    )
    parser.add_argument(
        "--setting", default="all", metavar="S", help="open_vocabulary, open_ended, open_subclass or all (default: all)"
    )
    parser.add_argument(
        "--instruction-file", type=Path, metavar="FILE", help="an instruction text to use in place of ours (one task)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept (default: runs)"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with an interrupted run (the default)")
    again.add_argument("--overwrite", action="store_true", help="start again, and replace earlier predictions")
    options.add_scoring(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when images failed."""
    from earthinstruct.cli.tables import print_results
    from earthinstruct.errors import DataError, EarthInstructError
    from earthinstruct.files import as_json
    from earthinstruct.registry import parse_parameters
    from earthinstruct.running import evaluate

    text = None
    if arguments.instruction_file is not None:
        try:
            text = arguments.instruction_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"instruction file {arguments.instruction_file} cannot be read: {error}") from error
    with progress_bars() as update:
        evaluation = evaluate(
            arguments.method,
            arguments.dataset,
            setting=arguments.setting,
            parent=arguments.parent,
            parameters=parse_parameters(arguments.parameters),
            data=arguments.data,
            images=arguments.images,
            output=arguments.output,
            limit=arguments.limit,
            overwrite=arguments.overwrite,
            protocol=arguments.protocol,
            mapper=options.label_mapper(arguments.label_map),
            sweep=arguments.sweep,
            instruction_text=text,
            resamples=arguments.resamples,
            progress=lambda task, done, total, failed: update(task.name, done, total, failed),
        )
    print_results(evaluation.results, evaluation.skipped)
    for folder in evaluation.folders:
        print(f"kept in {folder}")
    if arguments.json is not None:
        arguments.json.write_bytes(as_json(list(evaluation.results)))
    if not evaluation.results:
        raise EarthInstructError("every task was skipped; see the reasons above")
    return 1 if any(result.run.n_failed for result in evaluation.results) else 0
