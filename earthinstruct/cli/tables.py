"""Results as a table in the terminal. Values in percent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from earthinstruct.metrics.values import PartScores
from earthinstruct.results import Result
from earthinstruct.running import Skipped

_GROUPS = ("all", "base", "novel")


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
        console.print(f"[bold]{title}[/bold] (percent; ± half of the 95 % interval over images)")
    if results:
        console.print(_table(results))
    for result in results:
        for image, reason in list(result.run.failed.items())[:5]:
            console.print(f"failed: {result.task.name}, image {image}: {reason}", style="red", markup=False)
        if result.run.n_failed > 5:
            console.print(f"failed: {result.task.name}: {result.run.n_failed - 5} more; all reasons are in the result file", style="red")
        unmapped = sorted(label for label, mapped in result.label_map.items() if mapped.category is None)
        if unmapped:
            console.print(f"{result.task.name}: labels that map to no category: {', '.join(unmapped)}", markup=False)
        if result.metrics.sweep is not None:
            console.print(f"{result.task.name}: scored at threshold {result.metrics.sweep.threshold:.2f}, chosen on these images (an oracle)")
        reason = result.metrics.mask.f1.reason
        if reason:
            console.print(f"{result.task.name}: no mask scores: {reason}", markup=False)
    for task in skipped:
        console.print(f"skipped: {task.task.name}: {task.reason}", style="yellow", markup=False)
    for note in results[0].method.notes if results else ():
        console.print(f"note: {note}", markup=False)


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task", overflow="fold")
    table.add_column("group")
    for heading in ("Cnt F1", "Box F1", "Mask F1", "mIoU", "AP_nc box", "AP_nc mask", "images", "seconds", "tokens"):
        table.add_column(heading, justify="right")
    for result in results:
        metrics = result.metrics
        for group in _GROUPS:
            if group not in metrics.counting.groups:
                continue
            first = group == "all"
            table.add_row(
                result.task.name.partition("/")[2] if first else "",
                group,
                _cell(metrics.counting, "f1", group),
                _cell(metrics.box, "f1", group),
                _cell(metrics.mask, "f1", group),
                _cell(metrics.mask, "miou", group),
                _cell(metrics.box, "ap_nc50", group),
                _cell(metrics.mask, "ap_nc50", group),
                *(_cost(result) if first else ("", "", "")),
                end_section=group == "novel",
            )
    return table


def _cell(part: PartScores, score: str, group: str) -> str:
    if group == "all":
        headline = getattr(part, score)
        if headline is None or headline.value is None:
            return "-"
        half = "" if headline.ci95 is None else f" ±{50 * (headline.ci95[1] - headline.ci95[0]):.1f}"
        return f"{100 * headline.value:.1f}{half}"
    value = part.groups.get(group, {}).get(score)
    return "-" if value is None else f"{100 * value:.1f}"


def _cost(result: Result) -> tuple[str, str, str]:
    run = result.run
    failed = f", {run.n_failed} failed" if run.n_failed else ""
    tokens = run.input_tokens + run.output_tokens
    seconds = run.seconds.get("total")
    return f"{run.n_done}{failed}", "-" if seconds is None else f"{seconds:.1f}", str(tokens) if tokens else "-"
