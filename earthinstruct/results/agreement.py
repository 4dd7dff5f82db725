"""Check that the scores of a result agree: those that follow from counts in the same file are computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import msgspec
import numpy as np
from msgspec.structs import asdict
from numpy.typing import NDArray

from earthinstruct.metrics import (
    CATALOGUE,
    GEOMETRIES,
    NEEDS_SCORES,
    POOLED,
    AbsentCategory,
    AbsentShares,
    Calibration,
    CountingLimits,
    DetectionErrors,
    ErrorCounts,
    GeometryScores,
    Metrics,
    ProposalRecall,
    SizeScores,
    Slice,
    Sweep,
    Value,
    counts_up_to,
    threshold_text,
)
from earthinstruct.texts import plural

_ROUNDING = 1e-9
_BINS = 10
_COUNTS_GIVE = "its counts give"


def disagreements(metrics: Metrics, n_images: int, *, standard: bool) -> Iterator[str]:
    """The contradictions between the scores of a result; `standard`: whether they are of this protocol."""
    truth = metrics.box.tally or (metrics.counting.tally if standard else {})
    has_truth = {category: count.tp + count.fn > 0 for category, count in truth.items()}
    n_objects = sum(count.tp + count.fn for count in truth.values())
    for name in (*GEOMETRIES, "counting_from_instances"):
        if (scores := getattr(metrics, name)) is not None:
            yield from _of_geometry(f"metrics.{name}", scores, has_truth, standard=standard)
            if standard and name != "mask" and scores.tally and n_images:
                yield from _of_counts(f"metrics.{name}", scores, n_images)
    if metrics.proposals is not None:
        yield from _of_proposals("metrics.proposals", metrics.proposals, standard=standard)
        if metrics.proposals.mask is not None:
            yield from _of_proposals("metrics.proposals.mask", metrics.proposals.mask, standard=standard)
    if metrics.sweep is not None:
        yield from _of_sweep(metrics.sweep, n_images)
        if metrics.threshold is not None:
            yield "metrics.threshold and metrics.sweep are both given"
    yield from _of_errors(metrics, has_truth)
    if metrics.counting_limits is not None:
        yield from _of_limits("metrics.counting_limits", metrics.counting_limits, metrics.counting, n_images, standard)
    if metrics.absent is not None:
        density = {} if metrics.counting_limits is None else metrics.counting_limits.by_density
        n_absent = density["0"].n_entries if "0" in density else 0
        yield from _of_absent("metrics.absent.counted", metrics.absent.counted, metrics.counting, n_images, n_absent)
        if metrics.absent.drawn is not None and standard:  # `paper` counts in some images alone
            drawn = metrics.box if metrics.box.per_category or metrics.point is None else metrics.point
            yield from _of_absent("metrics.absent.drawn", metrics.absent.drawn, drawn, n_images, n_absent)
    for name, extra in metrics.extra.items():
        of_categories = [value.value for value in extra.per_category.values()]
        place = f"metrics.extra.{name}"
        yield from _differs(f"{place}.mean.value", extra.mean.value, _mean(of_categories), "its categories give")
        if "all" in extra.groups:
            yield from _differs(f"{place}.groups.all", extra.groups["all"], extra.mean.value, "its mean is")
    for attribute, slices in metrics.slices.items():
        yield from _of_slices(f"metrics.slices.{attribute}", slices, n_images, n_objects)
    if metrics.rare is not None:
        rare = set(metrics.rare.categories)
        for path, value in metrics.rare.without.items():
            place = f"metrics.rare.without.{path}"
            section, _, score = path.partition(".")
            known = getattr(metrics, section, None)
            if not isinstance(known, GeometryScores) or score not in known.groups.get("all", {}):
                yield f"{place} is the mean of no score of this result"
                continue
            others = [getattr(own, score) for name, own in known.per_category.items() if name not in rare]
            yield from _differs(f"{place}.value", value.value, _mean(others), "the other categories give")


def _of_geometry(path: str, scores: GeometryScores, has_truth: Mapping[str, bool], *, standard: bool) -> Iterator[str]:
    if set(scores.per_category) != set(scores.tally):
        yield f"{path}.per_category and {path}.tally are of different categories"
        return
    for category, own in scores.per_category.items():
        if (own.tp, own.fp, own.fn) != tuple(asdict(scores.tally[category]).values()):
            yield f"{path}.per_category and {path}.tally differ for {category!r}"
    if not scores.per_category:  # of a method without boxes or masks
        return
    columns = _columns(scores.tally.values(), ("tp", "fp", "fn"))
    for score in ("precision", "recall", "f1", *(("ap_nc50",) if standard else ())):
        found = CATALOGUE[f"box.{score}"].of(columns)
        for (category, own), expected in zip(scores.per_category.items(), found.tolist(), strict=True):
            if (value := getattr(own, score)) is not None:
                yield from _differs(f"{path}.per_category.{category}.{score}", value, expected, _COUNTS_GIVE)
    if scores.tally.keys() == has_truth.keys():
        for score, value in _over_all(columns, np.array(list(has_truth.values()))).items():
            yield from _differs_value(f"{path}.{score}", getattr(scores, score), value, _COUNTS_GIVE)
        if scores.relative_error is not None:
            objects = columns["tp"] + columns["fn"]
            error = float((columns["fp"] + columns["fn"]).sum() / objects.sum()) if objects.any() else None
            yield from _differs_value(f"{path}.relative_error", scores.relative_error, error, _COUNTS_GIVE)
    for score, mean in scores.groups.get("all", {}).items():
        of_categories = [getattr(own, score, None) for own in scores.per_category.values()]
        yield from _differs(f"{path}.groups.all.{score}", mean, _mean(of_categories), "the categories give")
        yield from _differs_value(f"{path}.{score}", getattr(scores, score, None), mean, "the group `all` has")
    for threshold in scores.f1_at_iou or {}:
        if not _is_fraction(threshold):
            yield f"{path}.f1_at_iou has the threshold {threshold!r}; expected a number from 0 to 1"
    if scores.f1_at_iou:
        mean = _mean(scores.f1_at_iou.values())
        yield from _differs_value(f"{path}.f1_5095", scores.f1_5095, mean, "the mean of f1_at_iou is")
        if standard and "0.50" in scores.f1_at_iou:
            yield from _differs(f"{path}.f1_at_iou.0.50", scores.f1_at_iou["0.50"], scores.f1.value, "F1 is")
    if scores.by_size is not None:
        yield from _of_sizes(f"{path}.by_size", scores.by_size, int((columns["tp"] + columns["fn"]).sum()))
    if scores.calibration is not None:
        yield from _of_calibration(f"{path}.calibration", scores.calibration)


def _of_counts(path: str, scores: GeometryScores, n_images: int) -> Iterator[str]:
    """Mean errors of counts, in objects."""
    for category, own in scores.per_category.items():
        if own.mae is not None:
            mean = (own.fp + own.fn) / n_images
            yield from _differs(f"{path}.per_category.{category}.mae", own.mae, mean, _COUNTS_GIVE)
            if own.rmse is not None and own.rmse < own.mae - _ROUNDING * own.mae:
                yield f"{path}.per_category.{category}.rmse is {own.rmse:g}; expected at least the mae, {own.mae:g}"


def _of_limits(
    path: str, limits: CountingLimits, counting: GeometryScores, n_images: int, standard: bool
) -> Iterator[str]:
    """The counts by the number of objects and by their size."""
    columns = ("tp", "fp", "fn")
    bands = list(limits.by_density.values())
    whole = {name: int(column.sum()) for name, column in _columns(counting.tally.values(), columns).items()}
    if standard:  # `paper` leaves out images without counts
        whole["n_entries"] = n_images * len(counting.tally)
    some = [band for band in bands if band.n_objects]
    expected = {"by_density": whole, "by_size": {name: sum(getattr(of, name) for of in some) for name in whole}}
    for kind, sums in expected.items():
        for name, number in sums.items():
            if (found := sum(getattr(of, name) for of in getattr(limits, kind).values())) != number:
                yield f"{path}.{kind}.*.{name} add up to {found}; expected {number}"
        for name, band in getattr(limits, kind).items():
            place, objects = f"{path}.{kind}.{name}", band.n_objects
            f1, error = 2 * band.tp / (2 * band.tp + band.fp + band.fn or 1), (band.fp + band.fn) / (objects or 1)
            yield from _differs_value(f"{place}.f1", band.f1, f1 if objects else None, _COUNTS_GIVE)
            yield from _differs_value(
                f"{place}.relative_error", band.relative_error, error if objects else None, _COUNTS_GIVE
            )
            if band.n_right > band.n_entries:
                yield f"{place}.n_right is {band.n_right}, of {plural(band.n_entries, 'entry', 'entries')}"
            share = band.n_right / band.n_entries if band.n_entries else None
            yield from _differs_value(f"{place}.right", band.right, share, _COUNTS_GIVE)
    yield from _of_joined(path, limits)


def _of_joined(path: str, limits: CountingLimits) -> Iterator[str]:
    """The joined bands, and the number of objects that follows from them."""
    bands, known = limits.by_density, limits.counts_up_to.value
    if not limits.joined:  # of an early release, or too few images
        if limits.never_passes and known is None:
            yield f"{path}.never_passes is True; its bands give False"
        return
    names = [name for of in limits.joined for name in of.bands]
    if names != [name for name, band in bands.items() if band.n_objects] or not all(of.bands for of in limits.joined):
        yield f"{path}.joined has the bands {', '.join(names) or 'none'}; expected those with objects, in order"
        return
    for k, of in enumerate(limits.joined):
        tp, fp, fn = (sum(getattr(bands[name], column) for name in of.bands) for column in ("tp", "fp", "fn"))
        place = f"{path}.joined[{k}].relative_error"
        yield from _differs_value(place, of.relative_error, (fp + fn) / (tp + fn), _COUNTS_GIVE)
    if all(of.value is not None for of in (*(bands[n].relative_error for n in names), limits.joined[0].relative_error)):
        most = max(known or 0.0, bands[names[-1]].objects_each)  # the file has no largest number of objects
        value, never = counts_up_to(bands, limits.joined, most)
        if never != limits.never_passes:
            yield f"{path}.never_passes is {limits.never_passes}; its bands give {never}"
        yield from _differs(f"{path}.counts_up_to.value", known, value.value, "its bands give")


def _of_absent(path: str, shares: AbsentShares, scores: GeometryScores, n_images: int, absent: int) -> Iterator[str]:
    """The images in which a category is named that they do not have; `absent`: images x categories without objects."""
    each = shares.per_category
    if each.keys() != scores.per_category.keys():
        yield f"{path}.per_category is of other categories than the scores"
    places: dict[str, AbsentShares | AbsentCategory] = {path: shares}
    places |= {f"{path}.per_category.{name}": of for name, of in each.items()}
    for place, of in places.items():
        if not of.n_named <= of.n_images <= n_images:
            yield f"{place} has {of.n_named} of {plural(of.n_images, 'image')}, of {n_images} in all"
        share = of.n_named / of.n_images if of.n_images else None
        yield from _differs_value(f"{place}.share", of.share, share, _COUNTS_GIVE)
    for name in ("n_images", "n_named"):
        numbers = [getattr(of, name) for of in each.values()]
        if not max(numbers, default=0) <= getattr(shares, name) <= sum(numbers):
            yield f"{path}.{name} is {getattr(shares, name)}; the categories give {numbers}"
    if sum(of.n_images for of in each.values()) != absent:
        yield f"{path}.per_category.*.n_images do not add up to {absent}, the images x categories without objects"


def _of_sizes(path: str, sizes: Mapping[str, SizeScores], n_objects: int) -> Iterator[str]:
    if sum(of.n_objects for of in sizes.values()) != n_objects:
        yield f"{path}.*.n_objects add up to another number than the {plural(n_objects, 'object')} of the tally"
    for size, of in sizes.items():
        for score in ("precision", "recall", "f1", "ap"):
            value = getattr(of, score)
            if value != NEEDS_SCORES and (value.value is None) != (of.n_objects == 0):
                yield f"{path}.{size}.{score} does not go with n_objects, {of.n_objects}"


def _of_calibration(path: str, calibration: Calibration) -> Iterator[str]:
    bins, ece = calibration.bins, calibration.ece.value
    expected = _BINS if ece is not None else 0
    if len(bins) != expected:
        yield f"{path}.bins has {plural(len(bins), 'entry', 'entries')}; expected {expected}"
        return
    n, off = 0, 0.0
    for i, one in enumerate(bins):
        place = f"{path}.bins[{i}]"
        yield from _differs(f"{place}.low", one.low, i / _BINS, "its place is")
        yield from _differs(f"{place}.high", one.high, (i + 1) / _BINS, "its place is")
        if one.score is None or one.precision is None or not one.n:
            if (one.score, one.precision, one.n) != (None, None, 0):
                yield f"{place} has some of n, score and precision; expected all or none"
            continue
        if not one.low - _ROUNDING <= one.score <= one.high + _ROUNDING:
            yield f"{place}.score is {one.score:g}; expected a number from {one.low:g} to {one.high:g}"
        if abs(one.n * one.precision - round(one.n * one.precision)) > one.n * _ROUNDING:
            yield f"{place}.precision is {one.precision:g}; expected a share of {plural(one.n, 'prediction')}"
        n, off = n + one.n, off + one.n * abs(one.score - one.precision)
    if ece is not None:
        yield from _differs(f"{path}.ece.value", ece, off / n if n else None, "its bins give")


def _of_proposals(path: str, scores: ProposalRecall, *, standard: bool) -> Iterator[str]:
    mean = _mean(scores.per_category.values())
    yield from _differs(f"{path}.recall.value", scores.recall.value, mean, "the categories give")
    if "recall" in scores.groups.get("all", {}):
        yield from _differs(f"{path}.groups.all.recall", scores.groups["all"]["recall"], mean, "the categories give")
    before = 0.0
    for n, recall in (*scores.at.items(), ("all", scores.recall.value)) if standard else ():
        if recall is not None and recall < before - _ROUNDING:  # more proposals never find fewer objects
            yield f"{path}.at: the recall of {n} proposals is {recall:g}, and that of fewer is {before:g}"
        before = recall or 0.0


def _of_sweep(sweep: Sweep, n_images: int) -> Iterator[str]:
    thresholds = [point.threshold for point in sweep.curve]
    for i, (one, other) in enumerate(pairwise(thresholds)):
        if one >= other:
            found, least = threshold_text(other), threshold_text(one)
            yield f"metrics.sweep.curve[{i + 1}].threshold is {found}; expected more than {least}"
    chosen = {"metrics.sweep.threshold": sweep.threshold}
    chosen |= {f"metrics.sweep.folds[{k}].threshold": fold.threshold for k, fold in enumerate(sweep.folds)}
    for place, threshold in chosen.items():
        if threshold is not None and threshold not in thresholds:
            yield f"{place} is {threshold_text(threshold)}; expected a threshold of the curve"
    if sweep.is_cross and sweep.threshold is not None:
        yield "metrics.sweep.threshold and metrics.sweep.folds are both given"
    if sweep.is_cross and sum(fold.n_images for fold in sweep.folds) != n_images:
        yield f"metrics.sweep.folds[*].n_images add up to another number than the {plural(n_images, 'image')}"


def _of_errors(metrics: Metrics, has_truth: Mapping[str, bool]) -> Iterator[str]:
    """The error types and what they cost."""
    if metrics.errors is None:
        return
    counting, tally = metrics.errors.counting, metrics.counting.tally
    if {name: (of.over, of.under) for name, of in counting.per_category.items()} != {
        name: (of.fp, of.fn) for name, of in tally.items()
    }:
        yield "metrics.errors.counting.per_category and metrics.counting.tally differ"
    yield from _of_total("metrics.errors.counting", counting.total, counting.per_category)
    if metrics.costs is not None and tally.keys() == has_truth.keys():
        columns = _columns(tally.values(), ("tp", "fp", "fn"))
        yield from _of_costs("costs.counting", metrics.costs.counting, columns, has_truth)
    for geometry in ("box", "mask", "point"):
        errors: DetectionErrors | None = getattr(metrics.errors, geometry)
        if errors is None:
            continue
        yield from _of_total(f"metrics.errors.{geometry}", errors.total, errors.per_category)
        tally = metrics.by_geometry[geometry].tally if geometry in metrics.by_geometry else {}
        for category, of in errors.per_category.items():
            place, count = f"metrics.errors.{geometry}.per_category.{category}", tally.get(category)
            if count is None:
                yield f"{place} is of a category without scores"
                continue
            predictions = of.correct + of.duplicate + of.classification + of.localisation + of.both + of.background
            if predictions != count.tp + count.fp:
                yield f"{place} has {plural(predictions, 'prediction')}; {_COUNTS_GIVE} {count.tp + count.fp}"
            objects = of.correct + of.misclassified + of.mislocated + of.missed
            if objects != count.tp + count.fn:
                yield f"{place} has {plural(objects, 'object')}; {_COUNTS_GIVE} {count.tp + count.fn}"
        costs = metrics.costs and getattr(metrics.costs, geometry)
        if costs is not None and errors.per_category.keys() == has_truth.keys():
            columns = _columns(errors.per_category.values(), ErrorCounts.__struct_fields__)
            yield from _of_costs(f"costs.{geometry}", costs, columns, has_truth)


def _of_total(path: str, total: msgspec.Struct, per_category: Mapping[str, msgspec.Struct]) -> Iterator[str]:
    for name, value in asdict(total).items():
        found = sum(getattr(of, name) for of in per_category.values())
        if value != found:
            yield f"{path}.total.{name} is {value}; the categories give {found}"


def _of_costs(
    path: str, costs: msgspec.Struct, columns: Mapping[str, NDArray[np.int64]], has_truth: Mapping[str, bool]
) -> Iterator[str]:
    there = np.array(list(has_truth.values()))
    for error in costs.__struct_fields__:
        of_categories = CATALOGUE[f"{path}.{error}"].of(columns)
        expected = float(of_categories[there].mean()) if there.any() else None
        yield from _differs_value(f"metrics.{path}.{error}", getattr(costs, error), expected, "the errors give")


def _of_slices(path: str, slices: Iterable[Slice], n_images: int, n_objects: int) -> Iterator[str]:
    slices = list(slices)
    for what, whole in (("n_images", n_images), ("n_objects", n_objects)):
        if sum(getattr(one, what) for one in slices) != whole:
            yield f"{path}[*].{what} add up to another number than {whole}, that of the whole"
    for i, one in enumerate(slices):
        for score in one.scores:
            if score not in CATALOGUE and not score.startswith("extra."):
                yield f"{path}[{i}].scores names {score!r}, which is no score"


def _columns(rows: Iterable[msgspec.Struct], names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """The counts of categories as columns."""
    rows = list(rows)
    return {name: np.array([getattr(row, name) for row in rows], dtype=np.int64) for name in names}


def _over_all(columns: Mapping[str, NDArray[np.int64]], there: NDArray[np.bool_]) -> dict[str, float | None]:
    """The scores over all categories together; `there`: bool (c,), categories with ground truth."""
    if not there.any():
        return dict.fromkeys(POOLED)
    predicted = columns["tp"] + columns["fp"]
    micro = CATALOGUE["box.f1"].of({name: column.sum(keepdims=True) for name, column in columns.items()})
    hallucinated = float(predicted[~there].sum() / predicted.sum()) if predicted.any() else None
    return {"micro_f1": float(micro[0]), "hallucinated": hallucinated}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _differs(path: str, value: float | None, expected: float | None, why: str) -> Iterator[str]:
    """A number that is another than follows from the file."""
    if value is None or expected is None:
        wrong = value is not expected
    else:
        wrong = abs(value - expected) > _ROUNDING * max(1.0, abs(expected))
    if wrong:
        found, given = ("undefined" if of is None else f"{of:g}" for of in (value, expected))
        yield f"{path} is {found}; {why} {given}"


def _differs_value(path: str, value: Value | None, expected: float | None, why: str) -> Iterator[str]:
    if value is not None:
        yield from _differs(f"{path}.value", value.value, expected, why)


def _is_fraction(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
