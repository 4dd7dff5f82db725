"""Results as a table: a row for each task and group of categories, then what a reader must know about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from earthinstruct.metrics import HEADLINES, PERCENT, RareCategories, Unit, Value, in_group, value_at
from earthinstruct.results.shown import Block, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from earthinstruct.results.result import Result

_FAILURES_SHOWN = 5
_RARE_SHOWN = 8  # names of rare categories; the result file has all
_GROUPS = ("all", "base", "novel")


def result_blocks(results: Sequence[Result]) -> Iterator[Block]:
    """Tables in percent, and remarks, of runs of one method that were scored with the same metric plug-ins."""
    from rich.text import Text

    if results:
        first = results[0]
        yield Text(f"{first.method.name} on {first.task.dataset.name}, protocol {first.protocol}", style="bold")
        yield _table(results)
        yield Text("percent; Cnt, Box, Mask: F1; AP: AP_nc50; ±: half of the 95 % interval over images", style="dim")
        if first.metrics.extra:
            yield _extra_table(results)
            yield Text("metric plug-ins: in percent, or in the unit that is given", style="dim")
        if any(result.metrics.errors is not None for result in results):
            yield _error_table(results)
            yield Text("boxes and counts, in objects over all images; docs/protocol.md defines them", style="dim")
    yield from _remarks(results)


def _remarks(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        task = result.task.name
        failed = list(result.run.failed.items())
        for image, reason in failed[:_FAILURES_SHOWN]:
            yield f"failed: {task}, image {image}: {reason}"
        if len(failed) > _FAILURES_SHOWN:
            yield f"failed: {task}: {len(failed) - _FAILURES_SHOWN} more; the result file has all reasons"
        if result.run.events:
            yield f"{task}: {', '.join(f'{n} {name}' for name, n in sorted(result.run.events.items()))}"
        unmapped = sorted(label for label, mapped in result.label_map.items() if mapped.category is None)
        if unmapped:
            yield f"{task}: labels that map to no category: {', '.join(unmapped)}"
        if result.metrics.sweep is not None:
            yield f"{task}: scored at threshold {result.metrics.sweep.threshold:.2f}, on these images (an oracle)"
        metrics = result.metrics
        if metrics.mask.f1.value is None:
            yield f"{task}: no mask scores: {metrics.mask.f1.reason}"
        for name, extra in metrics.extra.items():
            if extra.mean.value is None:
                yield f"{task}: no {name}: {extra.mean.reason}"
        without_interval = {of.reason for of in (metrics.counting.f1, metrics.box.f1) if of.value is not None} - {None}
        yield from (f"{task}: {reason}" for reason in sorted(map(str, without_interval)))
        if metrics.rare is not None:
            yield f"{task}: {rare_remark(metrics.rare)}"
    for result in results[:1]:
        for note in result.task.dataset.notes:
            yield f"ground truth: {note}"
        method, dataset = result.method, result.task.dataset.name
        if method.control:
            yield f"control: {method.name} sees the ground truth"
        if method.made_for is not None and dataset not in method.made_for:
            yield (
                f"out of domain: the weights of {method.name} are made for {', '.join(method.made_for)}; "
                f"on {dataset} the numbers show that it runs, not how good it is"
            )
        for note in method.notes:
            yield f"note: {note}"


def rare_remark(rare: RareCategories) -> str:
    """Name the rare categories, and give the headline scores without them."""
    names = ", ".join(rare.categories[:_RARE_SHOWN])
    if len(rare.categories) > _RARE_SHOWN:
        names += f" and {len(rare.categories) - _RARE_SHOWN} more"
    scores = []
    for path, value in rare.without.items():
        half = PERCENT.half(value.ci95)
        scores.append(f"{HEADLINES[path]} {PERCENT.text(value.value)}" + (f" ±{half}" if half else ""))
    return (
        f"objects in fewer than 3 images, too few for a sure score: {names}; "
        f"without them: {', '.join(scores) or 'no category is left'}"
    )


def _table(results: Sequence[Result]) -> Table:
    costs = [_cost(result) for result in results]
    shown = [name for name in costs[0] if any(cost[name] for cost in costs)]
    table = new_table("task", *HEADLINES.values(), *shown, left=["task"])
    for result, cost in zip(results, costs, strict=True):
        for group in _GROUPS:
            if group not in result.metrics.counting.groups:
                continue
            cells = [PERCENT.text(value_at(result.metrics, in_group(path, group))) for path in HEADLINES]
            if group != "all":
                table.add_row(f"  {group}", *cells)
                continue
            table.add_row(result.task.name.rpartition("/")[2], *cells, *(str(cost[name]) for name in shown))
            half = [_half(value_at(result.metrics, path), PERCENT) for path in HEADLINES]
            if any(half):
                table.add_row("  ±", *half, style="dim")
    return table


def _extra_table(results: Sequence[Result]) -> Table:
    """Metric plug-ins: a row for each and for its groups, a column for each task."""
    table = new_table("metric", *(result.task.name.rpartition("/")[2] for result in results), left=["metric"])
    for name, first in results[0].metrics.extra.items():
        scored = [result.metrics.extra[name] for result in results]
        unit, heading = Unit.of_extra(first.unit), name if first.unit is None else f"{name}, {first.unit}"
        table.add_row(heading, *(unit.text(extra.mean.value) for extra in scored))
        half = [_half(extra.mean, unit) for extra in scored]
        if any(half):
            table.add_row("  ±", *half, style="dim")
        for group in _GROUPS[1:]:
            if any(group in extra.groups for extra in scored):
                table.add_row(f"  {group}", *(unit.text(extra.groups.get(group)) for extra in scored))
    return table


def _error_table(results: Sequence[Result]) -> Table:
    """Error types: a row for each, a column for each task."""
    scored = [(result.task.name, errors) for result in results if (errors := result.metrics.errors) is not None]
    table = new_table("errors", *(name.rpartition("/")[2] for name, _ in scored), left=["errors"])
    rows: dict[str, list[int]] = {}
    for _, errors in scored:
        of_box, of_counts = errors.box.total, errors.counting.total
        counted = {"counted too many": of_counts.over, "counted too few": of_counts.under}
        for name, number in (msgspec.structs.asdict(of_box) | counted).items():
            rows.setdefault(name, []).append(number)
    for name, numbers in rows.items():
        if any(numbers):
            table.add_row(name, *map(str, numbers))
    return table


def _half(value: Value | None, unit: Unit) -> str:
    return "" if value is None else unit.half(value.ci95)


def _cost(result: Result) -> dict[str, int | float]:
    """Images, seconds and tokens; a column of zeros is not shown."""
    run = result.run
    return {
        "done": run.n_done,
        "failed": run.n_failed,
        "s": round(run.seconds.get("total", 0.0), 1),
        "tokens": run.input_tokens + run.output_tokens,
    }
