"""`earthinstruct evaluate`: run a method over a dataset, score it, print one table."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options
from earthinstruct.cli.config import add_config, write_config
from earthinstruct.cli.interrupts import interrupts
from earthinstruct.cli.progress import progress_bar, progress_bars

if TYPE_CHECKING:
    from earthinstruct.contract import Usage
    from earthinstruct.running import PlannedTask
    from earthinstruct.tasks import Task

_OF_THE_COMMAND = ("dry_run", "config", "per_category")  # no arguments of `evaluate`


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "evaluate", "run a method over a dataset, then score it: one table", __doc__, run, json="the scores"
    )
    options.add_method(parser)
    add_config(parser)
    options.add_dataset(parser, default="scenes")
    parser.add_argument(
        "--setting", default="all", metavar="S", help="open_vocabulary, open_ended, open_subclass or all (default: all)"
    )
    parser.add_argument(
        "--instruction-file", type=Path, metavar="FILE", help="an instruction text to use in place of ours (one task)"
    )
    options.add_images(parser)
    options.add_tiles(parser, "the method's largest side, where an image is larger")
    parser.add_argument(
        "--limit", type=options.at_least(1), metavar="N", help="only the first N images, kept apart in <method>-limit-N"
    )
    options.add_output(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="start again, and replace earlier predictions (default: go on with an interrupted run)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say how many images, requests and tokens are to be expected, and predict nothing",
    )
    _add_variants(parser)
    options.add_engine(parser)
    options.add_scoring(parser)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    """--wordings, --blind, --repeats and --distractors."""
    group = parser.add_argument_group("the same task once more, in a run of its own (see docs/beyond-f1.md)")
    group.add_argument("--wordings", metavar="all|N", help="in other words: all wordings of the suite, or N of them")
    group.add_argument(
        "--blind", metavar="HOW", help="with other pixels: grey, noise, other (another image of the set), or several"
    )
    group.add_argument("--repeats", type=int, metavar="K", help="K times in all, with nothing kept between them")
    group.add_argument(
        "--distractors", metavar="N,...", help="with N other names asked for as well, such as 5,20,100: once with each"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when images failed."""
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.results import category_blocks, n_failed, print_blocks
    from earthinstruct.running import evaluate
    from earthinstruct.texts import plural

    if arguments.dry_run:
        return _dry_run(arguments)
    try:
        with progress_bars() as update, interrupts() as stopping:
            tokens: Counter[str] = Counter()

            def spent(task: Task, usage: Usage) -> None:
                tokens[task.name] += usage.input_tokens + usage.output_tokens

            known: dict[str, tuple[int, int, int]] = {}

            def progress(task: Task, done: int, total: int, failed: int) -> None:
                known[task.name] = done, total, failed  # the variants of a kind share a line
                name = task.name if task.variant is None else f"{task.whole.name}, {task.variant.kind}"
                alike = [of for of in known if of == task.name or (task.variant and of.startswith(_kind(task)))]
                done, total, failed = map(sum, zip(*(known[of] for of in alike), strict=True))
                spent_on = sum(tokens[of] for of in alike)
                said = {f"{failed} failed": failed, plural(spent_on, "token"): spent_on}
                update(name, done, total, ", ".join(text for text, number in said.items() if number))

            given = options.given(arguments, without=_OF_THE_COMMAND)
            evaluation = evaluate(
                **given,
                began=lambda folder: write_config(folder, given),
                progress=progress,
                spent=spent,
                stopping=stopping,
                announce=_announce,
            )
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if arguments.overwrite else "the same command"
        kept = f"the predictions made so far are kept in {arguments.output}"
        options.say(f"stopped; {kept}: continue with {again}", error=True)
        return options.INTERRUPTED
    print_blocks(evaluation.blocks())
    if arguments.per_category:
        print_blocks(category_blocks(evaluation.results))
    options.write_json(arguments, evaluation.results)
    if not evaluation.results:
        raise EarthInstructError("every task was skipped; see the reasons above")
    page_of = evaluation.folders[0] if len(evaluation.folders) == 1 else arguments.output
    options.say_report(page_of)
    return 1 if any(result.run.n_failed or n_failed(result.variants) for result in evaluation.results) else 0


def _kind(task: Task) -> str:
    """The prefix that the names of all variants of a task of one kind share."""
    return f"{task.whole.name}@{task.variant.kind if task.variant else ''}-"


def _announce(sentence: str) -> None:
    options.say(sentence, error=True)


def _dry_run(arguments: argparse.Namespace) -> int:
    """Print what the run would use. Options that only a run or its scores need are ignored."""
    import inspect

    from earthinstruct.results import print_blocks
    from earthinstruct.running import dry_run

    taken = inspect.signature(dry_run).parameters
    given = {name: value for name, value in options.given(arguments).items() if name in taken}
    with progress_bar("estimating") as progress:
        planned = dry_run(**given, progress=progress)
    print_blocks(planned.blocks())
    options.write_json(arguments, [_row(each) for each in planned.tasks])
    return 0


def _row(planned: PlannedTask) -> dict[str, Any]:
    return {"task": planned.task.name, "images": planned.images, "done": planned.done, **asdict(planned.estimate)}
