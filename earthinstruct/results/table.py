"""Results as a table: a row for each task and group of categories, then what a reader must know about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import asdict, fields

from earthinstruct.metrics import (
    HEADLINES,
    LARGEST_ERROR,
    PERCENT,
    POOLED,
    RELATIVE,
    AbsentShares,
    CountingLimits,
    ErrorCosts,
    ErrorCounts,
    Metrics,
    RareCategories,
    Slice,
    Unit,
    Value,
    headlines_of,
    threshold_in_words,
    value_at,
    value_in_group,
)
from earthinstruct.results.shown import Block, new_table
from earthinstruct.results.variants import variant_tables

if TYPE_CHECKING:
    from rich.table import Table

    from earthinstruct.results.result import Result

_FAILURES_SHOWN = 5
_ABSENT_SHOWN = 3
_RARE_SHOWN = 8  # names of rare categories; the result file has all
_GROUPS = ("all", "base", "novel")
_EACH = " of a category in an image"


def result_blocks(results: Sequence[Result]) -> Iterator[Block]:
    """Tables in percent, and remarks, of runs of one method that were scored with the same metric plug-ins."""
    from rich.text import Text

    if results:
        first = results[0]
        rules = f"protocol {first.protocol}, version {first.protocol_version}"
        rules += f", variant {first.task.variant}" if first.task.variant else ""
        yield Text(f"{first.method.name} on {first.task.dataset.name}, {rules}", style="bold")
        yield _table(results)
        points = ", Point" if any(result.metrics.point is not None for result in results) else ""
        yield Text(f"percent; Cnt, Box, Mask{points}: F1; AP: AP_nc50; 95 %: interval over images", style="dim")
        if any(_shows(result, "hallucinated") for result in results):
            yield Text(
                "hallucinated: share of the predictions in categories that no image of the dataset has", style="dim"
            )
        if first.metrics.extra:
            yield _extra_table(results)
            yield Text("metric plug-ins: in percent, or in the unit that is given", style="dim")
        errors = _error_table(results)
        if errors.row_count:
            yield errors
            what = "points" if first.metrics.geometry == "point" else "boxes"
            yield Text(f"{what} and counts, in objects over all images; docs/protocol.md defines them", style="dim")
        costs = _cost_table(results)
        if costs.row_count:
            yield costs
            yield Text(
                f"{first.metrics.geometry} F1 gained, in percent, if the errors of one type alone were mended",
                style="dim",
            )
        for result in results:
            for attribute, slices in result.metrics.slices.items():
                yield _slice_table(attribute, slices)
                task = result.task.name.rpartition("/")[2]
                yield Text(
                    f"{task}, over the images of each slice; AP of scores has no slices; 95 %: interval over images"
                    f"{_without_interval(slices)}",
                    style="dim",
                )
        for result in results:
            yield from _variant_blocks(result)
    yield from _remarks(results)


def _variant_blocks(result: Result) -> Iterator[Block]:
    """The tables of the variants of a task."""
    from rich.text import Text

    for variants in variant_tables(result):
        table = new_table(*variants.headings, left=variants.headings[:1])
        for row in variants.rows:
            table.add_row(*row)
        yield ""
        yield Text(result.task.name, style="bold")
        if variants.rows:
            yield table
        yield from (Text(note, style="dim") for note in variants.notes)


def category_blocks(results: Sequence[Result]) -> Iterator[Block]:
    """Tables for each result: the scores of each category, in percent, and counting by the number of objects."""
    from rich.text import Text

    for result in results:
        scores = result.metrics.by_geometry
        headings = [f"{geometry} {score}" for geometry in scores for score in ("P", "R", "F1")]
        table = new_table("category", "objects", *headings, left=["category"])
        for category, counted in result.metrics.counting.per_category.items():
            own = [of.per_category.get(category) for of in scores.values()]
            values = [
                None if of is None else getattr(of, score) for of in own for score in ("precision", "recall", "f1")
            ]
            table.add_row(category, str(counted.tp + counted.fn), *map(PERCENT.text, values))
        yield ""
        yield Text(result.task.name, style="bold")
        yield table
        if (limits := result.metrics.counting_limits) is not None:
            yield ""
            yield _limits_table(limits)
            yield Text(
                "counting, percent, over the images and categories with so many objects, or with objects of this size; "
                "right: share of right counts; 95 %: interval over images",
                style="dim",
            )
        headings, rows = absent_rows(result.metrics)
        if rows:
            absent = new_table(*headings, left=headings[:1])
            for row in rows:
                absent.add_row(*row)
            yield ""
            yield absent
            yield Text("what is not there: share of the images without the category", style="dim")


def _remarks(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        task = result.task.name
        failed = list(result.run.failed.items())
        for image, reason in failed[:_FAILURES_SHOWN]:
            yield f"failed: {task}, image {image}: {reason}"
        if len(failed) > _FAILURES_SHOWN:
            yield f"failed: {task}: {len(failed) - _FAILURES_SHOWN} more; the result file has all reasons"
        if result.run.events:
            yield f"{task}: {', '.join(f'{name}: {n}' for name, n in sorted(result.run.events.items()))}"
        unmapped = sorted(label for label, mapped in result.label_map.items() if mapped.category is None)
        if unmapped:
            yield f"{task}: labels that map to no category: {', '.join(unmapped)}"
        metrics = result.metrics
        if metrics.threshold is not None or metrics.sweep is not None:
            yield f"{task}: {threshold_in_words(metrics)}"
        yield from (f"{task}: {sentence}" for sentence in _undefined(metrics))
        for name, extra in metrics.extra.items():
            if extra.mean.value is None:
                yield f"{task}: no {name}: {extra.mean.reason}"
        scores = [of.f1 for of in (metrics.counting, metrics.box, metrics.point) if of is not None]
        without_interval = {of.reason for of in scores if of.value is not None} - {None}
        yield from (f"{task}: {reason}" for reason in sorted(map(str, without_interval)))
        if metrics.counting_limits is not None and (sentence := limits_remark(metrics.counting_limits)):
            yield f"{task}: {sentence}"
        if sentence := absent_remark(metrics):
            yield f"{task}: {sentence}"
        if metrics.rare is not None:
            yield f"{task}: {rare_remark(metrics.rare)}"
    for result in results[:1]:
        for note in result.task.dataset.notes:
            yield f"ground truth: {note}"
        method, dataset = result.method, result.task.dataset.name
        if method.control:
            yield f"control: {method.name} sees the ground truth"
        if (training := result.training) is not None:
            yield f"training data: {training}"
        if method.made_for is not None and dataset not in method.made_for:
            yield (
                f"out of domain: the weights of {method.name} are made for {', '.join(method.made_for)}; "
                f"on {dataset} the numbers show that it runs, not how good it is"
            )
        for note in method.notes:
            yield f"note: {note}"


def _undefined(metrics: Metrics) -> Iterator[str]:
    """Why scores of boxes, masks or points are undefined."""
    scores = {name: of.f1 for name, of in metrics.by_geometry.items()}
    reasons = {name: None if of.value is not None else of.reason for name, of in scores.items()}
    if reasons["counting"]:
        yield f"nothing to score: {reasons['counting']}"
    elif reasons["box"]:
        yield f"no box and mask scores: {reasons['box']}"
    elif reasons["mask"]:
        yield f"no mask scores: {reasons['mask']}"
    if reasons.get("point") and not reasons["counting"]:
        yield f"no point scores: {reasons['point']}"


def _shows(result: Result, score: str) -> bool:
    """Whether a score over all categories together has a row: micro F1 where defined, the other one above 0."""
    values = [value_at(result.metrics, f"{geometry}.{score}") for geometry in result.metrics.by_geometry]
    return any(of is not None and of.value is not None and (of.value or score == "micro_f1") for of in values)


def rare_remark(rare: RareCategories) -> str:
    """Name the rare categories, and give the headline scores without them."""
    names = ", ".join(rare.categories[:_RARE_SHOWN])
    if len(rare.categories) > _RARE_SHOWN:
        names += f" and {len(rare.categories) - _RARE_SHOWN} more"
    scores = []
    for path, value in rare.without.items():
        scores.append(f"{HEADLINES[path]} {PERCENT.sure(value.value, value.ci95)}")
    return (
        f"objects in fewer than 3 images, too few for a sure score: {names}; "
        f"without them: {', '.join(scores) or 'no category is left'}"
    )


def absent_remark(metrics: Metrics) -> str | None:
    """Say how often a category is counted or drawn that the image does not have; None if every image has all."""
    parts = []
    for verb, shares in _verbs(metrics).items():
        if shares.share.value is None:
            continue
        often = sorted(shares.per_category.items(), key=lambda item: -(item[1].share.value or 0.0))[:_ABSENT_SHOWN]
        named = ", ".join(f"{name} {PERCENT.text(of.share.value)} %" for name, of in often if of.n_named)
        share = f"{PERCENT.sure(shares.share.value, shares.share.ci95)} %"
        parts.append(f"{verb} a category that is not there in {share} of the images" + (f" ({named})" if named else ""))
    return "; ".join(parts) or None


def _verbs(metrics: Metrics) -> dict[str, AbsentShares]:
    """What a method does with categories that are not there -> in how many images."""
    absent = metrics.absent
    if absent is None:
        return {}
    known = {"counts": absent.counted, "points at" if metrics.geometry == "point" else "draws": absent.drawn}
    return {verb: shares for verb, shares in known.items() if shares is not None}


def absent_rows(metrics: Metrics) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of a table of what is counted or drawn though it is not there, by category."""
    shares = _verbs(metrics)
    headings = ["category", "images without it", *(cell for verb in shares for cell in (f"{verb} it, %", "95 %"))]
    rows = []
    for name in metrics.counting.per_category if shares else ():
        values = [of.per_category[name].share for of in shares.values()]
        cells = (cell for of in values for cell in (PERCENT.text(of.value), PERCENT.interval(of.value, of.ci95)))
        rows.append([name, f"{shares['counts'].per_category[name].n_images:,}", *cells])
    return headings, rows


def limits_remark(limits: CountingLimits) -> str | None:
    """Say up to how many objects the counts are right within 20 %; None without objects.

    Bands whose measured error says otherwise are named.
    """
    bands = {name: band for name, band in limits.by_density.items() if band.n_objects}
    within = [name for name, band in bands.items() if float(band.relative_error) <= LARGEST_ERROR]
    above = [name for name in bands if name not in within]
    value, interval = limits.counts_up_to.value, limits.counts_up_to.ci95
    if not bands:
        return None
    if value is None:
        both = (("they do", within), ("they do not", above))
        measured = (f"{verb} with {_objects(of, 'or')}" for verb, of in both if of)
        return (
            f"up to how many objects of a category in an image counts stay within 20 % is not known "
            f"({limits.counts_up_to.reason}); in these images, {' and '.join(measured)}"
        )
    if not value and not within:
        return f"counts are off by more than 20 % with {_objects(above, 'and', _EACH)}, all numbers there are"
    if not value:
        return f"counts stay within 20 % with {_objects(within, 'or', _EACH)}, not with other numbers"
    said = f"up to {'' if limits.never_passes else 'about '}{_objects([f'{value:.0f}'], '', _EACH)}"
    if limits.never_passes:
        said += ", the most there are"
    if interval is not None:
        said += f" (95 %: at least {interval[0]:.0f})" if limits.never_passes else ""
        said += "" if limits.never_passes else f" (95 %: {interval[0]:.0f} to {interval[1]:.0f})"
    passed = [name for name, band in bands.items() if not limits.never_passes and band.objects_each > value]
    if off := [name for name in above if name not in passed]:
        said += f", but in these images not with {_objects(off, 'or')}"
    if again := [name for name in within if name in passed]:
        said += f", and in these images again with {_objects(again, 'or')}"
    return f"counts stay within 20 % {said}"


def _objects(numbers: Sequence[str], joint: str, each: str = "") -> str:
    """Numbers of objects in words.

    >>> _objects(["1", "2-5", "6-20"], "or"), _objects(["1"], "or")
    ('1, 2-5 or 6-20 objects', '1 object')
    """
    *before, last = numbers
    said = f"{', '.join(before)} {joint} {last}" if before else last
    return f"{said} {'object' if said == '1' else 'objects'}{each}"


def _limits_table(limits: CountingLimits) -> Table:
    """Counting by the number of objects and by their size: a row for each band."""
    headings = ("images x categories", "objects", "F1", "95 %", "relative error", "95 %", "right", "95 %")
    table = new_table("number or size", *headings, left=["number or size"])
    rows = limits.by_density | {f"{size} objects": band for size, band in limits.by_size.items()}
    for name, band in rows.items():
        scores = ((band.f1, PERCENT), (band.relative_error, RELATIVE), (band.right, PERCENT))
        cells = (cell for of, unit in scores for cell in (unit.text(of.value), unit.interval(of.value, of.ci95)))
        table.add_row(name, f"{band.n_entries:,}", f"{band.n_objects:,}", *cells)
    return table


def _table(results: Sequence[Result]) -> Table:
    usages = [_usage(result) for result in results]
    shown = [name for name in usages[0] if any(usage[name] for usage in usages)]
    headlines = headlines_of(result.metrics for result in results)
    table = new_table("task", *headlines.values(), *shown, left=["task"])
    for result, usage in zip(results, usages, strict=True):
        for group in _GROUPS:
            if group not in result.metrics.counting.groups:
                continue
            values = [value_in_group(result.metrics, path, group) for path in headlines]
            cells = [PERCENT.text(None if of is None else of.value) for of in values]
            if group != "all":
                table.add_row(f"  {group}", *cells)
                add_intervals(table, [(of, PERCENT) for of in values], indent=4)
                continue
            table.add_row(result.task.name.rpartition("/")[2], *cells, *(str(usage[name]) for name in shown))
            add_intervals(table, [(of, PERCENT) for of in values])
            for score, title in POOLED.items():
                if _shows(result, score):
                    beside = [_beside(result.metrics, path, score) for path in headlines]
                    table.add_row(f"  {title}", *beside)
    return table


def _beside(metrics: Metrics, path: str, score: str) -> str:
    """The cell of a score over all categories together: below the F1 of its geometry."""
    geometry, _, headline = path.partition(".")
    found = value_at(metrics, f"{geometry}.{score}") if headline == "f1" else None
    return "" if found is None else PERCENT.text(found.value)


def _extra_table(results: Sequence[Result]) -> Table:
    """Metric plug-ins: a row for each and for its groups, a column for each task."""
    table = new_table("metric", *(result.task.name.rpartition("/")[2] for result in results), left=["metric"])
    for name, first in results[0].metrics.extra.items():
        scored = [result.metrics.extra[name] for result in results]
        unit, heading = Unit.of_extra(first.unit), name if first.unit is None else f"{name}, {first.unit}"
        table.add_row(heading, *(unit.text(extra.mean.value) for extra in scored))
        add_intervals(table, [(extra.mean, unit) for extra in scored])
        for group in _GROUPS[1:]:
            if any(group in extra.groups for extra in scored):
                table.add_row(f"  {group}", *(unit.text(extra.groups.get(group)) for extra in scored))
    return table


def _error_table(results: Sequence[Result]) -> Table:
    """Error types of boxes, or of points without boxes: a row for each, a column for each task."""
    scored = [(result.task.name, errors) for result in results if (errors := result.metrics.errors) is not None]
    table = new_table("errors", *(name.rpartition("/")[2] for name, _ in scored), left=["errors"])
    rows: dict[str, list[int | None]] = {}
    for _, errors in scored:
        found = errors.of_instances
        of_box = dict.fromkeys(ErrorCounts.__struct_fields__) if found is None else asdict(found.total)
        of_counts = {"counted too many": errors.counting.total.over, "counted too few": errors.counting.total.under}
        for name, number in (of_box | of_counts).items():
            rows.setdefault(name, []).append(number)
    for name, numbers in rows.items():
        if any(numbers):
            table.add_row(name, *("-" if number is None else str(number) for number in numbers))
    return table


def _cost_table(results: Sequence[Result]) -> Table:
    """What errors of boxes, or of points without boxes, cost: a row for each type, a column for each task."""
    table = new_table("cost", *(result.task.name.rpartition("/")[2] for result in results), left=["cost"])
    for error in fields(ErrorCosts):
        values = [
            value_at(result.metrics, f"costs.box.{error.name}") or value_at(result.metrics, f"costs.point.{error.name}")
            for result in results
        ]
        if any(value is not None and value.value for value in values):
            table.add_row(error.name, *(PERCENT.text(value and value.value) for value in values))
    return table


def _slice_table(attribute: str, slices: Sequence[Slice]) -> Table:
    """The headline scores by an attribute of the images: a row for each slice."""
    headlines = {path: name for path, name in HEADLINES.items() if path != "point.f1" or path in slices[0].scores}
    table = new_table(attribute, "images", "objects", *headlines.values(), left=[attribute])
    for part in slices:
        scores = [part.scores.get(path) for path in headlines]
        cells = (PERCENT.text(None if of is None else of.value) for of in scores)
        table.add_row(part.name, str(part.n_images), str(part.n_objects), *cells)
        add_intervals(table, [(of, PERCENT) for of in (None, None, *scores)])
    return table


def _without_interval(slices: Sequence[Slice]) -> str:
    """Why scores of slices have no interval, as the end of a sentence; empty if all have one."""
    reasons = {
        of.reason for part in slices for path in HEADLINES if (of := part.scores.get(path)) and of.value is not None
    }
    return "".join(f"; without: {reason}" for reason in sorted(map(str, reasons - {None})))


def add_intervals(table: Table, values: Sequence[tuple[Value | None, Unit]], indent: int = 2) -> None:
    """Add the row of the intervals below a row of values, if any of them has one. Bounds may wrap."""
    cells = ["" if value is None else unit.interval(value.value, value.ci95) for value, unit in values]
    for column, cell in zip(table.columns[1:], cells, strict=False):
        column.no_wrap = column.no_wrap and " " not in cell
    if any(cells):
        table.add_row(f"{' ' * indent}95 %", *cells, style="dim")


def _usage(result: Result) -> dict[str, int | float]:
    """Images, seconds and tokens; a column of zeros is not shown."""
    run = result.run
    return {
        "done": run.n_done,
        "failed": run.n_failed,
        "s": round(run.seconds.get("total", 0.0), 1),
        "tokens": run.input_tokens + run.output_tokens,
    }
