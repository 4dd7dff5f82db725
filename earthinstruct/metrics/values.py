"""The structure of the scores in a result file."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from earthinstruct.errors import EarthInstructError


class Value(NDArrayOperatorsMixin, msgspec.Struct, frozen=True):  # type: ignore[metaclass]  # the mixin has none
    """One score. It is a number: it computes, compares with numbers, and goes into NumPy's functions.

    Two values are equal if their intervals and reasons are equal too; a value equals a number by its own number alone.
    Its truth is not that of a float: every value is true, also one of 0 and an undefined one.

    Attributes:
        value: a fraction in [0, 1]; a number of objects for `mae` and `rmse`; any unit for a metric plug-in. None if
            the score is undefined.
        ci95: 95 % interval (low, high) over images, with the value inside; or None.
        reason: why the value is None or, if there is a value, why it has no interval.

    Raises:
        EarthInstructError: by whatever needs the number of an undefined score; it says why.

    >>> before, after = Value(0.5), Value(0.75, (0.7, 0.8))
    >>> after - before, after > before, after == 0.75, np.mean([before, after]).item(), f"{after:.1%}"
    (0.25, True, True, 0.625, '75.0%')
    """

    value: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None

    def __float__(self) -> float:
        if self.value is None:
            raise EarthInstructError(f"this score is undefined: {self.reason}")
        return float(self.value)

    def __round__(self, digits: int | None = None) -> float:
        return round(float(self), digits)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.float64]:
        return np.array(float(self), dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> object:
        numbers = (float(each) if isinstance(each, Value) else each for each in inputs)
        found = getattr(ufunc, method)(*numbers, **options)
        return found.item() if isinstance(found, np.generic) else found

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Value):
            return msgspec.structs.astuple(self) == msgspec.structs.astuple(other)
        return self.value == other if isinstance(other, int | float) else NotImplemented

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return hash(self.value)

    def __format__(self, spec: str) -> str:
        return str(self) if not spec else "undefined" if self.value is None else format(self.value, spec)

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined: {self.reason}"
        return f"{self.value:.3f}" + (f" ({self.ci95[0]:.3f} to {self.ci95[1]:.3f})" if self.ci95 else "")


NEEDS_SCORES = Value(None, reason="average precision needs a score for each prediction")
NO_IOU = Value(None, reason="points have no IoU")


class Count(msgspec.Struct, frozen=True):
    """True positives, false positives, false negatives of one category."""

    tp: int
    fp: int
    fn: int


class CategoryScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scores of one category; None if it has no ground truth (for counting, if no count mentions it either).

    `ci95` holds the 95 % interval (low, high) of each score that is a function of sums over images; it is empty if the
    objects of the category lie in fewer than 2 images.
    """

    tp: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    f1: float | None
    ap_nc50: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    ap: float | None = None
    miou: float | None = None
    f1_5095: float | None = None
    mae: float | None = None
    rmse: float | None = None
    ci95: dict[str, tuple[float, float]] = {}


class SizeScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scores of objects of one size, means over the categories that have such objects.

    Attributes:
        n_objects: number of objects of this size.
        precision: at IoU 0.5.
        recall: at IoU 0.5.
        f1: at IoU 0.5.
        ap: average precision, mean of IoU 0.50, 0.55, ..., 0.95; undefined for methods without scores.
    """

    n_objects: int
    precision: Value
    recall: Value
    f1: Value
    ap: Value = NEEDS_SCORES


class CalibrationBin(msgspec.Struct, frozen=True):
    """The predictions with a score from `low` to below `high` (in the last bin, including it).

    Attributes:
        low: the lower bound.
        high: the upper bound.
        n: number of predictions.
        score: their mean score; None without predictions.
        precision: the share of them that are right at IoU 0.5; None without predictions.
    """

    low: float
    high: float
    n: int
    score: float | None
    precision: float | None


class Calibration(msgspec.Struct, frozen=True):
    """How far scores are the share of predictions that are right, over all predictions and categories.

    Attributes:
        ece: expected calibration error: |score - precision| of the bins, mean over the predictions.
        bins: the reliability curve, ten equal bins from 0 to 1; empty if `ece` is undefined.
    """

    ece: Value
    bins: list[CalibrationBin]


class GeometryScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counting, box, mask or point scores. `f1` is the headline.

    Attributes:
        precision: mean over categories.
        recall: mean over categories.
        f1: mean over categories.
        micro_f1: F1 of the sums over all scored categories, also those without ground truth.
        hallucinated: share of the predictions (counting: of the predicted objects) that are in categories without
            ground truth. They lower `micro_f1`, but not `f1`.
        tally: category -> tp, fp, fn over all images.
        per_category: category -> its scores.
        groups: group -> score -> mean over the group's categories.
        groups_ci95: group -> score -> 95 % interval (low, high) of this mean, for the groups beside `all`; without the
            scores that have no interval.
        ap_nc50: average precision without confidence; box, mask and point only.
        ap50: average precision at IoU 0.5 (of points: in the object); undefined for counting and for methods without
            scores.
        ap75: average precision at IoU 0.75; likewise, and for points.
        ap: average precision, mean of IoU 0.50, 0.55, ..., 0.95; likewise, and for points.
        miou: mean IoU of united masks; mask only.
        f1_5095: mean of F1 at IoU 0.50, 0.55, ..., 0.95; box and mask only.
        f1_at_iou: IoU threshold ("0.50", ...) -> mean F1 over the categories of `all`; box and mask only.
        mae: counting only: |predicted - actual| objects, mean over images, then over categories.
        rmse: counting only: root of the mean square over images, then the mean over categories.
        relative_error: counting only: objects counted too many or too few in any category, over all objects; may
            exceed 1.
        source: counting only: `counts`, `instances` or `mixed`.
        by_size: `small` (area of the object's box or mask below 32 x 32 pixels), `medium` (below 96 x 96), `large` ->
            scores; box and mask only.
        calibration: box, mask and point of methods with scores only.
    """

    precision: Value
    recall: Value
    f1: Value
    tally: dict[str, Count]
    per_category: dict[str, CategoryScores]
    groups: dict[str, dict[str, float | None]]
    groups_ci95: dict[str, dict[str, tuple[float, float]]] = {}
    micro_f1: Value | None = None
    hallucinated: Value | None = None
    ap_nc50: Value | None = None
    ap50: Value = NEEDS_SCORES
    ap75: Value = NEEDS_SCORES
    ap: Value = NEEDS_SCORES
    miou: Value | None = None
    f1_5095: Value | None = None
    f1_at_iou: dict[str, float | None] | None = None
    mae: Value | None = None
    rmse: Value | None = None
    relative_error: Value | None = None
    source: str | None = None
    by_size: dict[str, SizeScores] | None = None
    calibration: Calibration | None = None


class ProposalRecall(msgspec.Struct, frozen=True):
    """The share of the ground truth that the class-agnostic proposals cover at IoU 0.5.

    Attributes:
        recall: with all proposals, mean over categories.
        per_category: category -> its recall.
        groups: group -> `recall` -> mean over the group's categories.
        at: n ("10", ...) -> recall with the first n proposals of each image, in the method's order.
        by_size: `small` (box of the object below 32 x 32 pixels), `medium` (below 96 x 96), `large` -> recall.
    """

    recall: Value
    per_category: dict[str, float | None]
    groups: dict[str, dict[str, float | None]]
    at: dict[str, float | None]
    by_size: dict[str, float | None]


class ProposalScores(ProposalRecall, frozen=True, omit_defaults=True):
    """Recall by boxes and, in `mask`, by masks.

    Attributes:
        n_proposals: number of proposals in all images.
        mask: recall by masks; None if proposals or ground truth have no masks. Object sizes are still those of boxes.
    """

    n_proposals: int
    mask: ProposalRecall | None = None


class SweepPoint(msgspec.Struct, frozen=True):
    """Box scores of the predictions that reach the score threshold."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None


class Fold(msgspec.Struct, frozen=True):
    """One fold of images of `--sweep cross`.

    Attributes:
        n_images: number of its images.
        threshold: the score threshold at which its images are scored: the lowest with the largest box mF1 on the other
            folds. None if these have no predictions or no ground truth; then nothing is left out.
    """

    n_images: int
    threshold: float | None


class Sweep(msgspec.Struct, frozen=True, omit_defaults=True):
    """The choice of the score threshold, the lowest with the largest box mF1. The other scores are reported at it.

    Attributes:
        threshold: chosen on the evaluated images themselves: an oracle. None with `folds`, and without predictions or
            ground truth.
        curve: the scores on all images at the possible thresholds: all distinct scores, of which 100 are kept, evenly
            spaced in rank, and those that were chosen; under protocol `paper` 0.00, 0.02, ..., 0.98.
        folds: of `--sweep cross`: the threshold of each fold of images, chosen on the other folds: no oracle.
    """

    threshold: float | None
    curve: list[SweepPoint]
    folds: list[Fold] = []

    @property
    def is_cross(self) -> bool:
        """Whether the threshold of each image was chosen on other images."""
        return bool(self.folds)


class ErrorCounts(msgspec.Struct, frozen=True):
    """The number of predictions and ground truths with each verdict (defined by `earthinstruct.metrics.verdicts`).

    The first six count predictions and add up to tp + fp. `correct`, `misclassified`, `mislocated` and `missed` count
    ground truths and add up to tp + fn.

    Attributes:
        correct: matched.
        duplicate: on an object of its category that is matched to another prediction.
        classification: on an object of another category.
        localisation: near an object of its category, IoU 0.1 to 0.5.
        both: near an object of another category, IoU 0.1 to 0.5.
        background: IoU below 0.1 with every object.
        misclassified: not found; a `classification` error lies on it.
        mislocated: not found; a `localisation` error lies near it.
        missed: not found, for any other reason.
    """

    correct: int
    duplicate: int
    classification: int
    localisation: int
    both: int
    background: int
    misclassified: int
    mislocated: int
    missed: int


class DetectionErrors(msgspec.Struct, frozen=True):
    """Error types of boxes, masks or points.

    Attributes:
        total: sum over all categories.
        per_category: category -> its errors; predictions count in the predicted category, ground truths in their own.
        unscored: number of predictions whose label maps to no scored category; they enter no score.
    """

    total: ErrorCounts
    per_category: dict[str, ErrorCounts]
    unscored: int


class CountErrors(msgspec.Struct, frozen=True):
    """Objects counted too many (`over`) and too few (`under`), summed over images."""

    over: int
    under: int


class CountingErrors(msgspec.Struct, frozen=True):
    """Errors of counting."""

    total: CountErrors
    per_category: dict[str, CountErrors]


class ErrorTypes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Errors by type.

    `box` is None without boxes, `mask` if predictions or ground truth have no masks, `point` without points.
    """

    counting: CountingErrors
    box: DetectionErrors | None = None
    mask: DetectionErrors | None = None
    point: DetectionErrors | None = None

    @property
    def of_instances(self) -> DetectionErrors | None:
        """Those of boxes, or of points for a method that only points."""
        return self.box or self.point


class CountCosts(msgspec.Struct, frozen=True):
    """The gain in mean F1 of the counts if no object were counted too many (`over`), or too few (`under`)."""

    over: Value
    under: Value


class ErrorCosts(msgspec.Struct, frozen=True):
    """The gain in mean F1 if the errors of one type alone were mended.

    Mended: the predictions of this verdict are gone, and the objects of the verdict in brackets are found.

    Attributes:
        duplicate: `duplicate`.
        classification: `classification` (`misclassified`).
        localisation: `localisation` (`mislocated`).
        both: `both`.
        background: `background`.
        missed: none (`missed`).
    """

    duplicate: Value
    classification: Value
    localisation: Value
    both: Value
    background: Value
    missed: Value


class Costs(msgspec.Struct, frozen=True, omit_defaults=True):
    """What errors cost, by type.

    `box` is None without boxes, `mask` if predictions or ground truth have no masks, `point` without points.
    """

    counting: CountCosts
    box: ErrorCosts | None = None
    mask: ErrorCosts | None = None
    point: ErrorCosts | None = None


class CountingBand(msgspec.Struct, frozen=True):
    """Counting over some entries: an entry is an image and a category.

    Attributes:
        n_entries: number of entries.
        n_right: number of entries whose count is right.
        tp: sum over the entries, as for the whole.
        fp: likewise.
        fn: likewise.
        f1: of the sums over the entries.
        relative_error: objects counted too many or too few, over the objects; may exceed 1.
        right: share of the entries whose count is right.
    """

    n_entries: int
    n_right: int
    tp: int
    fp: int
    fn: int
    f1: Value
    relative_error: Value
    right: Value

    @property
    def n_objects(self) -> int:
        """The number of objects of the entries."""
        return self.tp + self.fn

    @property
    def objects_each(self) -> float:
        """The mean number of objects of an entry."""
        return self.n_objects / self.n_entries


class JoinedBands(msgspec.Struct, frozen=True):
    """Neighbouring bands of numbers of objects, of which only the common error is sure to be below or above 20 %.

    Attributes:
        bands: their names.
        relative_error: over all of their entries.
    """

    bands: list[str]
    relative_error: Value


class CountingLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where counting breaks.

    Attributes:
        counts_up_to: the number of objects of a category in an image at which the relative error passes 20 %.
            Undefined where the images do not show whether it is below or above.
        never_passes: whether it never does. Then `counts_up_to` is the largest number of objects in an image.
        by_density: `0`, `1`, `2-5`, `6-20`, `21-100`, `101+` objects of the entry -> its scores.
        by_size: `small` (box of the median object below 32 x 32 pixels), `medium` (below 96 x 96), `large` -> scores of
            the entries with objects.
        joined: the bands with objects of `by_density`, by increasing number, from which `counts_up_to` follows; empty
            if too few images have objects.
    """

    counts_up_to: Value
    never_passes: bool
    by_density: dict[str, CountingBand]
    by_size: dict[str, CountingBand]
    joined: list[JoinedBands] = []


class Slice(msgspec.Struct, frozen=True):
    """The scores of the images that share the value of an attribute.

    Attributes:
        name: the value, or the range of values.
        n_images: number of images.
        n_objects: number of their objects.
        scores: path of a score in the metrics ("box.f1") -> its value over these images. Scores that are no function of
            sums over images, such as AP50, are left out.
    """

    name: str
    n_images: int
    n_objects: int
    scores: dict[str, Value]


class ExtraScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scores of a metric plug-in.

    Attributes:
        mean: mean over the categories with ground truth.
        per_category: category -> its score.
        groups: group -> mean over the group's categories.
        unit: the unit of the score; None: a fraction.
    """

    mean: Value
    per_category: dict[str, Value]
    groups: dict[str, float | None]
    unit: str | None = None


class AbsentCategory(msgspec.Struct, frozen=True):
    """One category in the images that do not have it.

    Attributes:
        n_images: number of these images.
        n_named: number of those in which the method counts or draws it.
        share: their share.
    """

    n_images: int
    n_named: int
    share: Value


class AbsentShares(msgspec.Struct, frozen=True):
    """The images in which a method names a category that they do not have.

    Attributes:
        n_images: number of images that lack a category.
        n_named: number of those in which it names one that they lack.
        share: their share.
        per_category: category -> the same for it alone.
    """

    n_images: int
    n_named: int
    share: Value
    per_category: dict[str, AbsentCategory]


class Absent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a method names although it is not there.

    Attributes:
        counted: by its counts.
        drawn: by its boxes or points; None for a method that only counts.
        distractors: the share of images in which it counts or draws a name that is asked for and is no category of the
            dataset; None if there is no such name.
    """

    counted: AbsentShares
    drawn: AbsentShares | None = None
    distractors: Value | None = None


class RareCategories(msgspec.Struct, frozen=True):
    """The categories whose objects lie in fewer than 3 images: too few to say how well they are found.

    Attributes:
        categories: their names.
        without: path of a headline score -> its mean over the other categories; empty if there are no others.
    """

    categories: list[str]
    without: dict[str, Value]


class Metrics(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every score of one run.

    Attributes:
        counting: from the counts of the method, or from its instances if it gives none.
        counting_from_instances: from the instances; only if `counting` is from counts.
        box: from boxes at IoU 0.5.
        mask: from masks at IoU 0.5.
        point: from points that lie in the objects; None if the method never points.
        proposals: recall of the proposals; None if the method gives none.
        threshold: the score threshold that was given beforehand; None if none was.
        sweep: the choice of the score threshold; None without a sweep.
        adherence: share of predicted instances whose label maps to a member of the parent; open_subclass only.
        errors: error types of the scored predictions.
        costs: what each type of error costs in F1.
        counting_limits: counts by the number of objects and by their size.
        absent: what is counted or drawn although it is not there.
        rare: categories with objects in too few images, and the scores without them; None if there are none.
        extra: name -> scores of a metric plug-in.
        slices: attribute of the images -> its slices.
    """

    counting: GeometryScores
    box: GeometryScores
    mask: GeometryScores
    point: GeometryScores | None = None
    proposals: ProposalScores | None = None
    threshold: float | None = None
    sweep: Sweep | None = None
    adherence: Value | None = None
    counting_from_instances: GeometryScores | None = None
    errors: ErrorTypes | None = None
    costs: Costs | None = None
    counting_limits: CountingLimits | None = None
    absent: Absent | None = None
    rare: RareCategories | None = None
    extra: dict[str, ExtraScores] = {}
    slices: dict[str, list[Slice]] = {}

    @property
    def by_geometry(self) -> dict[str, GeometryScores]:
        """The scores of counts, boxes and masks, and of points if the method points; some may be undefined."""
        found = {"counting": self.counting, "box": self.box, "mask": self.mask}
        return found if self.point is None else found | {"point": self.point}

    @property
    def geometry(self) -> str:
        """The geometry of the verdicts and errors of instances: `box`, or `point` of a method that only points."""
        return "box" if self.box.tally or self.point is None or not self.point.tally else "point"
