"""The catalogue of all scores of a result: path in `metrics`, names, meaning, and how to format values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.costs import COUNTING_COSTS, DETECTION_COSTS
from earthinstruct.metrics.scores import Columns, Score
from earthinstruct.metrics.sizes import SIZES
from earthinstruct.metrics.values import Value

# an interval is lopsided if one of its sides is so many times as long as the other, or if ± half of its width would
# move a bound by more than this many units of the last digit
_LOPSIDED = 1.5
_MOVED = 10


@dataclass(frozen=True)
class Unit:
    """The unit of a score, and how to format its values.

    Attributes:
        name: the name of the unit; empty if the context names it.
        factor: stored values are multiplied by it for display.
        digits: digits after the decimal point.
    """

    name: str
    factor: int = 1
    digits: int = 2

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """Format a stored value for tables.

        >>> PERCENT.text(0.6383), PERCENT.text(0.6383, signed=True), PERCENT.text(None)
        ('63.8', '+63.8', '-')
        """
        sign = "+" if signed else ""
        return "-" if value is None else f"{self.factor * value:{sign}.{self.digits}f}"

    def interval(self, value: float | None, interval: tuple[float, float] | None) -> str:
        """Word the interval of a value: `±` half of its width, or its bounds where it is lopsided.

        It is lopsided if one side is more than 1.5 times as long as the other, unless both round to the same number, or
        if `±` would move a bound by more than 10 units of the last digit (one point of a score in percent).

        >>> PERCENT.interval(0.638, (0.588, 0.69)), PERCENT.interval(1.0, (0.805, 1.0)), PERCENT.interval(1.0, None)
        ('±5.1', '80.5 to 100.0', '')
        """
        if value is None or interval is None:
            return ""
        shorter, longer = sorted((value - interval[0], interval[1] - value))
        moved = self.factor * 10**self.digits * (longer - shorter) / 2
        if moved > _MOVED or (longer > _LOPSIDED * shorter and self.text(longer) != self.text(shorter)):
            return " to ".join(map(self.text, interval))
        return f"±{self.text((interval[1] - interval[0]) / 2)}"

    def sure(self, value: float | None, interval: tuple[float, float] | None) -> str:
        """Format a value with its interval, as all tables show them.

        >>> PERCENT.sure(0.638, (0.588, 0.69)), PERCENT.sure(1.0, (0.805, 1.0)), PERCENT.sure(0.5, None)
        ('63.8 ±5.1', '100.0 (80.5 to 100.0)', '50.0')
        """
        words = self.interval(value, interval)
        return f"{self.text(value)} {words if words.startswith('±') else f'({words})'}" if words else self.text(value)

    @staticmethod
    def of_extra(name: str | None) -> Unit:
        """The unit of a metric plug-in; None means a fraction, shown in percent."""
        return PERCENT if name is None else Unit(name)


PERCENT = Unit("percent", 100, 1)
RELATIVE = Unit("percent", 100, 1)  # may exceed 100
FRACTION = Unit("", 1, 3)
OBJECTS = Unit("objects")
WHOLE_OBJECTS = Unit("objects", digits=0)


@dataclass(frozen=True)
class Listed:
    """An entry of the catalogue: one score, or several scores of a kind.

    Attributes:
        path: its place in `metrics` of a result.
        title: its name in a table of all scores; empty if no such table shows it.
        name: its name among the scores of its section.
        meaning: what it is, in one sentence.
        function: computes it from the sums of `tally`, so that two runs can be compared; None if it is not a function
            of a tally.
        unit: the unit of its values.
        own_tally: the tally that `function` takes; empty: that of the section.
    """

    path: str
    title: str
    name: str
    meaning: str
    function: Score | None = None
    unit: Unit = PERCENT
    own_tally: str = ""

    def of(self, sums: Columns) -> NDArray[np.float64]:
        """The score of each category from the sums of `tally`.

        Raises:
            ValueError: it is not a function of a tally.
        """
        if self.function is None:
            raise ValueError(f"{self.path} is no function of a tally")
        return self.function(sums)

    @property
    def section(self) -> str:
        """The section of `metrics` that holds it: `counting`, `box`, ..."""
        return self.path.partition(".")[0]

    @property
    def tally(self) -> str:
        """The tally that `function` takes: `counting`, `box`, `mask`, `regions`, ..."""
        return self.own_tally or self.section


def _precision_recall_f1(section: str, title: str, of: str) -> list[Listed]:
    rows = (("F1", "F1", scores.f1), ("precision", "P", scores.precision), ("recall", "R", scores.recall))
    return [
        Listed(f"{section}.{name.lower()}", f"{title} {short}", name, f"{name} of {of}, mean over categories", function)
        for name, short, function in rows
    ]


POOLED: Mapping[str, str] = {"micro_f1": "micro F1", "hallucinated": "hallucinated"}  # beside the F1 of each geometry
OVER_ALL_ALONE = (*POOLED, "relative_error")  # have no value by category or group


def _pooled(section: str, title: str, of: str) -> list[Listed]:
    meanings = {
        "micro_f1": f"F1 of {of} from the sums over all categories, also those without ground truth",
        "hallucinated": f"share of {of} in categories without ground truth",
    }
    return [Listed(f"{section}.{short}", f"{title} {name}", name, meanings[short]) for short, name in POOLED.items()]


def _counting() -> list[Listed]:
    return [
        *_precision_recall_f1("counting", "Cnt", "object counts"),
        *_pooled("counting", "Cnt", "object counts"),
        *_counting_errors(),
        Listed(
            "counting.relative_error",
            "Cnt relative error",
            "relative error",
            "objects counted too many or too few in any category, over all objects",
            unit=RELATIVE,
        ),
    ]


def _counting_errors() -> list[Listed]:
    errors = {"mae": "mean absolute error", "rmse": "root mean square error"}
    return [
        Listed(
            f"counting.{short}",
            f"Cnt {short.upper()}",
            name,
            f"{name} of object counts over images, then the mean over categories",
            unit=OBJECTS,
        )
        for short, name in errors.items()
    ]


def _sizes(geometry: str, plural: str) -> Iterator[Listed]:
    for size in SIZES:
        path = f"{geometry}.by_size.{size}"
        yield Listed(
            f"{path}.f1",
            f"{geometry.capitalize()} F1 {size}",
            f"F1, {size} objects",
            f"F1 of {plural} at IoU 0.5, of {size} objects alone; precision and recall beside it",
            scores.f1,
            own_tally=f"sizes.{geometry}.{size}",
        )
        yield Listed(
            f"{path}.ap",
            f"AP {geometry} {size}",
            f"AP, {size} objects",
            f"mean of average precision at IoU 0.50 to 0.95, of {size} objects alone, of methods that give scores",
        )


def _costs() -> Iterator[Listed]:
    what = {"over": "too many objects counted", "under": "too few objects counted"}
    for error, function in COUNTING_COSTS.items():
        title = f"cost of {what[error]}"
        yield Listed(
            f"costs.counting.{error}",
            title,
            error,
            f"gain in counting F1 without {what[error]}",
            function,
            own_tally="counting",
        )
    for geometry in ("box", "mask", "point"):
        for error, function in DETECTION_COSTS.items():
            yield Listed(
                f"costs.{geometry}.{error}",
                f"{geometry} cost of {error}",
                error,
                f"gain in {geometry} F1 if the errors of type {error} alone were mended",
                function,
                own_tally=f"errors.{geometry}",
            )


def _regions(geometry: str, plural: str) -> list[Listed]:
    title = geometry.capitalize()
    return [
        *_precision_recall_f1(geometry, title, f"{plural} at IoU 0.5"),
        *_pooled(geometry, title, f"{plural} at IoU 0.5"),
        Listed(
            f"{geometry}.ap_nc50",
            f"AP_nc {geometry}",
            "AP without confidence, IoU 0.5",
            f"average precision of {plural} without confidence: one operating point",
            scores.ap_nc,
        ),
        Listed(
            f"{geometry}.ap50",
            f"AP {geometry}",
            "AP, IoU 0.5",
            "average precision at IoU 0.5, of methods that give scores",
        ),
        Listed(
            f"{geometry}.ap75",
            f"AP75 {geometry}",
            "AP, IoU 0.75",
            "average precision at IoU 0.75, of methods that give scores",
        ),
        Listed(
            f"{geometry}.ap",
            f"AP {geometry} 50-95",
            "AP, mean of IoU 0.50 to 0.95",
            "mean of average precision at IoU 0.50, 0.55, ..., 0.95, of methods that give scores",
        ),
        Listed(
            f"{geometry}.f1_5095",
            f"{title} F1 50-95",
            "F1, mean of IoU 0.50 to 0.95",
            "mean of F1 at IoU 0.50, 0.55, ..., 0.95; each is in f1_at_iou",
        ),
        *_sizes(geometry, plural),
        _calibration(geometry),
    ]


def _points() -> list[Listed]:
    plural = "points that lie in the objects"
    return [
        *_precision_recall_f1("point", "Point", plural),
        *_pooled("point", "Point", plural),
        Listed(
            "point.ap_nc50",
            "AP_nc point",
            "AP without confidence",
            "average precision of points without confidence: one operating point",
            scores.ap_nc,
        ),
        Listed("point.ap50", "AP point", "AP", "average precision of points, of methods that give scores"),
        _calibration("point"),
    ]


def _calibration(geometry: str) -> Listed:
    return Listed(
        f"{geometry}.calibration.ece",
        f"ECE {geometry}",
        "expected calibration error",
        "mean difference of score and precision; the reliability curve is in calibration.bins",
    )


GEOMETRIES = ("counting", "box", "mask", "point")  # each has an F1, the headline

CATALOGUE: Mapping[str, Listed] = {
    score.path: score
    for score in (
        *_counting(),
        Listed(
            "counting_from_instances",
            "",
            "",
            "the counting scores from the instances of a method that also gives counts",
        ),
        *_regions("box", "boxes"),
        *_regions("mask", "masks"),
        Listed(
            "mask.miou",
            "mIoU",
            "mIoU",
            "IoU of the united masks of a category, mean over categories",
            scores.iou,
            own_tally="regions",
        ),
        *_points(),
        Listed(
            "proposals.recall",
            "proposal recall",
            "recall",
            "share of the ground truth that proposals cover at IoU 0.5, mean over categories; proposals.mask: by masks",
        ),
        Listed("proposals.at", "", "recall of the first", "recall of the first 10, 50, 100, 200 proposals an image"),
        Listed("proposals.by_size", "", "recall of objects:", "recall of small, medium and large objects"),
        Listed("threshold", "", "", "the score threshold that was given beforehand", unit=FRACTION),
        Listed("sweep", "", "", "box scores at many score thresholds, and those that were chosen"),
        Listed(
            "adherence",
            "adherence",
            "adherence",
            "open_subclass: share of instances whose label maps to a member of the parent",
        ),
        Listed("errors", "", "", "what went wrong, by type: of counts, boxes, masks and points", unit=WHOLE_OBJECTS),
        *_costs(),
        Listed("slices", "", "", "scores of the images that share an attribute, with --slice-by"),
        Listed(
            "counting_limits",
            "",
            "",
            "F1, relative error and share of right counts by the number of objects of a category in an image, and by "
            "their size",
        ),
        Listed(
            "counting_limits.counts_up_to",
            "counts up to",
            "counts up to",
            "number of objects of a category in an image at which the relative error of the counts passes 20 %",
            unit=WHOLE_OBJECTS,
        ),
        *(
            Listed(
                f"absent.{how}.share",
                f"{how} but not there",
                f"{how} but not there",
                f"share of the images in which a category is {words} that the image does not have",
            )
            for how, words in {"counted": "counted", "drawn": "drawn, or pointed at,"}.items()
        ),
        Listed("rare", "", "", "categories with objects in fewer than 3 images, and the headline scores without them"),
        Listed("extra", "", "", "scores of the metric plug-ins that --metric asks for", unit=FRACTION),
    )
}
# the headline scores, with short headings for a table of 80 columns; that of points only where a method points
HEADLINES: Mapping[str, str] = {
    "counting.f1": "Cnt",
    "box.f1": "Box",
    "mask.f1": "Mask",
    "point.f1": "Point",
    "mask.miou": "mIoU",
    "box.ap_nc50": "APbox",
    "mask.ap_nc50": "APmask",
}


def headlines_of(metrics: Iterable[Any]) -> dict[str, str]:
    """The headline scores of the metrics of some results: that of points only if one of them has points."""
    points = any(of.point is not None for of in metrics)
    return {path: heading for path, heading in HEADLINES.items() if points or path != "point.f1"}


def list_metrics() -> list[dict[str, str]]:
    """Every score in a result file: `name`, its path in `metrics` there, `from` and `meaning`."""
    return [{"name": path, "from": "earthinstruct", "meaning": score.meaning} for path, score in CATALOGUE.items()]


def listed(path: str) -> Listed:
    """Look up the catalogue entry of a score, or of the kind of scores that it belongs to.

    Raises:
        KeyError: the catalogue has no such score.

    >>> listed("errors.box.missed").unit.name
    'objects'
    """
    path = path.replace("counting_from_instances.", "counting.")
    while path not in CATALOGUE and "." in path:
        path = path.rpartition(".")[0]
    return CATALOGUE[path]


def title_of(path: str) -> str:
    """The title of a score, or of its mean over a group, in a table of all scores.

    >>> title_of("box.f1"), title_of("box.groups.novel.ap_nc50")
    ('Box F1', 'AP_nc box, novel')
    """
    section, groups, rest = path.partition(".groups.")
    group, _, score = rest.rpartition(".")
    return f"{CATALOGUE[f'{section}.{score}'].title}, {group}" if groups else CATALOGUE[path].title


def value_at(metrics: Any, path: str) -> Any:
    """Look up a path in the metrics of a result; None if it does not exist.

    The mean over a group is a number; any other score is a `Value`.
    """
    for key in path.split("."):
        metrics = metrics.get(key) if isinstance(metrics, Mapping) else getattr(metrics, key, None)
    return metrics


def in_group(path: str, group: str) -> str:
    """Make the path of the mean of a score over a group of categories.

    >>> in_group("box.f1", "novel")
    'box.groups.novel.f1'
    """
    section, _, score = path.rpartition(".")
    return f"{section}.groups.{group}.{score}"


def value_in_group(metrics: Any, path: str, group: str) -> Value | None:
    """The mean of a score over a group of categories, with its interval if it has one; None if it does not exist."""
    if group == "all":
        found: Value | None = value_at(metrics, path)
        return found
    section, _, score = path.rpartition(".")
    interval = value_at(metrics, f"{section}.groups_ci95.{group}.{score}")
    mean = value_at(metrics, in_group(path, group))
    return None if mean is None else Value(mean, interval)
