"""Results as a table in the terminal. Values in percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from earthinstruct.metrics.values import Value
from earthinstruct.results import Result
from earthinstruct.running import Skipped

_GROUPS = ("all", "base", "novel")
_COLUMNS = (
    ("counting", "f1"),
    ("box", "f1"),
    ("mask", "f1"),
    ("mask", "miou"),
    ("box", "ap_nc50"),
    ("mask", "ap_nc50"),
)


def print_results(results: Sequence[Result], skipped: Iterable[Skipped] = (), console: Console | None = None) -> None:
    """One table: a row for each task and group of categories, then what was skipped and what failed.

    Args:
        results: scored runs of one method.
        skipped: tasks the method declined.
        console: where to print; None: standard output.
    """
    console = console or Console()
    for result in results[:1]:
        title = f"{result.method.name} on {result.task.dataset.name}, protocol {result.protocol}"
        console.print(title, style="bold", markup=False)
        console.print("Cnt, Box, Mask: F1; AP: AP_nc50; percent; ±: half of the 95 % interval over images", style="dim")
    if results:
        console.print(_table(results))
    for result in results:
        for image, reason in list(result.run.failed.items())[:5]:
            console.print(f"failed: {result.task.name}, image {image}: {reason}", style="red", markup=False)
        if result.run.n_failed > 5:
            console.print(
                f"failed: {result.task.name}: {result.run.n_failed - 5} more; all reasons are in the result file",
                style="red",
            )
        unmapped = sorted(label for label, mapped in result.label_map.items() if mapped.category is None)
        if unmapped:
            console.print(f"{result.task.name}: labels that map to no category: {', '.join(unmapped)}", markup=False)
        if result.metrics.sweep is not None:
            console.print(
                f"{result.task.name}: scored at threshold {result.metrics.sweep.threshold:.2f}, chosen on these images (an oracle)"
            )
        no_masks = result.metrics.mask.f1.reason
        if no_masks:
            console.print(f"{result.task.name}: no mask scores: {no_masks}", markup=False)
    for task in skipped:
        console.print(f"skipped: {task.task.name}: {task.reason}", style="yellow", markup=False)
    for result in results[:1]:
        if result.method.made_for is not None and result.task.dataset.name not in result.method.made_for:
            console.print(
                f"out of domain: the weights of {result.method.name} are made for {', '.join(result.method.made_for)}; "
                f"on {result.task.dataset.name} the numbers show that it runs, not how good it is",
                style="yellow",
                markup=False,
            )
    for note in results[0].method.notes if results else ():
        console.print(f"note: {note}", markup=False)


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task", no_wrap=True)
    for heading in ("Cnt", "Box", "Mask", "mIoU", "APbox", "APmask", "done", "failed", "s", "tokens"):
        table.add_column(heading, justify="right")
    for result in results:
        for group in _GROUPS:
            if group not in result.metrics.counting.groups:
                continue
            cells = [
                _percent(getattr(result.metrics, part).groups.get(group, {}).get(score)) for part, score in _COLUMNS
            ]
            if group != "all":
                table.add_row(f"  {group}", *cells)
                continue
            table.add_row(result.task.name.rpartition("/")[2], *cells, *_cost(result))
            half = [_half_interval(getattr(getattr(result.metrics, part), score)) for part, score in _COLUMNS]
            if any(half):
                table.add_row("  ±", *half, style="dim")
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _half_interval(value: Value | None) -> str:
    return "" if value is None or value.ci95 is None else f"{50 * (value.ci95[1] - value.ci95[0]):.1f}"


def _cost(result: Result) -> tuple[str, str, str, str]:
    run = result.run
    tokens = run.input_tokens + run.output_tokens
    seconds = run.seconds.get("total")
    return (
        str(run.n_done),
        str(run.n_failed),
        "-" if seconds is None else f"{seconds:.1f}",
        str(tokens) if tokens else "-",
    )
