"""Score thresholds: chosen by box mF1, on the scored images themselves (an oracle) or on other images (cross).

The threshold is chosen again without each image, so that intervals include the choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import scores
from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.inputs import Predicted, ScoreThreshold, Truth
from earthinstruct.metrics.matching import Pairs
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import Fold, Metrics, Sweep, SweepPoint
from earthinstruct.regions import ImageId, by_id

FOLDS = 5
CURVE_POINTS = 100
Sweeping: TypeAlias = bool | Literal["cross"]  # no sweep, an oracle, or over folds of images

_CELLS_AT_ONCE = 1_000_000  # of images, categories and thresholds
_ROUNDING = 1e-12
_KEEP_ALL = -np.inf


@dataclass(frozen=True, eq=False)
class ChosenAgain:
    """The thresholds that are chosen when one image is left out.

    Attributes:
        thresholds: float64 (t,), increasing: all that are chosen without any image.
        images: the images of the whole set.
        fold: int64 (images,), the fold of each image; 0 for an oracle.
        chosen: int64 (folds, images), index into `thresholds`: that of each fold, chosen without each image.
    """

    thresholds: NDArray[np.float64]
    images: tuple[ImageId, ...]
    fold: NDArray[np.int64]
    chosen: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Choice:
    """The score threshold of a set, given beforehand or chosen.

    Attributes:
        threshold: at which the images are scored.
        sweep: how it was chosen; None if it was given.
        again: the choices without each image; None without a sweep, predictions or ground truth.
    """

    threshold: ScoreThreshold = None
    sweep: Sweep | None = None
    again: ChosenAgain | None = None

    @property
    def also_at(self) -> list[float]:
        """The thresholds that are chosen without an image."""
        return [] if self.again is None else self.again.thresholds.tolist()


def boxes_of_chunk(truth: Truth, predicted: Predicted, protocol: Protocol) -> tuple[Outcomes, Pairs]:
    """Collect the data of a chunk for the sweep: the outcomes of its boxes, and their pairs, which are used again.

    Raises:
        EarthInstructError: there are predictions, and they have no scores, or no boxes.
    """
    if predicted.no_boxes_reason is not None:
        raise EarthInstructError(
            f"a sweep chooses by box F1, which is undefined ({predicted.no_boxes_reason}); give --threshold"
        )
    refuse_unscored(predicted, "a sweep")
    detection = Detection(truth, predicted.instances, protocol, "box")
    found = detection.outcomes() or Outcomes.none(count_per_image(truth.instances, *truth.shape))
    return found, detection.pairs


def refuse_unscored(predicted: Predicted, what: str) -> None:
    """Refuse to choose among predictions without scores; `what` needs them.

    Raises:
        EarthInstructError: there are predictions, and they have no scores.
    """
    if predicted.instances.scores is None and len(predicted.instances):
        raise EarthInstructError(
            f"{what} needs predictions with scores, and these have none (they are confidence-free); leave it out"
        )


def choose_threshold(
    chunks: Sequence[Outcomes],
    images: Sequence[ImageId],
    truth: Truth,
    protocol: Protocol,
    *,
    cross: bool = False,
) -> Choice:
    """Choose the lowest score threshold with the largest box mF1.

    Args:
        chunks: the boxes of the whole set, in chunks of images.
        images: the images of the whole set.
        truth: the ground truth of any chunk, for its categories and groups.
        protocol: the rules; they name the thresholds to try.
        cross: choose for each fold of images on the other folds. Otherwise, on the images themselves: an oracle.

    Raises:
        EarthInstructError: `cross` is set, and there are fewer than 2 images.
    """
    if cross and len(images) < 2:
        raise EarthInstructError(f"--sweep cross needs at least 2 images, got {len(images)}; give --threshold instead")
    outcomes, members = Outcomes.join(chunks), _members(truth)
    tried, means = _curve(outcomes, members, protocol)
    fold, folds = np.zeros(len(images), dtype=np.int64), list[Fold]()
    if cross:
        fold = folds_of(images)
        for k in range(int(fold.max()) + 1):
            others = outcomes.of_images(fold != k)
            folds.append(Fold(int((fold == k).sum()), _best(*_curve(others, members, protocol))))
    sweep = Sweep(None if cross else _best(tried, means), [], folds)
    if not len(tried):
        return Choice(None, sweep)
    shown = np.arange(len(tried))
    if protocol.thresholds is None:
        chosen = [one for one in (sweep.threshold, *(of.threshold for of in folds)) if one is not None]
        evenly = np.rint(np.linspace(0, len(tried) - 1, CURVE_POINTS)).astype(np.int64)
        shown = np.union1d(np.searchsorted(tried, chosen), evenly)
    curve = [SweepPoint(*map(float, point)) for point in zip(tried[shown], *means[:, shown], strict=True)]
    of_scores = protocol.thresholds is None
    again = _choose_again(outcomes, tried[shown], images, members, fold, cross=cross, of_scores=of_scores)
    return Choice(threshold_of_sweep(sweep, images), replace(sweep, curve=curve), again)


def folds_of(images: Sequence[ImageId]) -> NDArray[np.int64]:
    """The fold of each image: int64 (images,), in 0 to 4.

    The images are sorted by the SHA-256 of their id as text and dealt to 5 folds in turn, so folds depend on no order,
    and differ in size by at most one. Up to 5 images are each a fold of their own.
    """

    def key(i: int) -> tuple[bytes, bool]:
        return hashlib.sha256(str(images[i]).encode()).digest(), isinstance(images[i], str)

    by_hash = sorted(range(len(images)), key=key)
    fold = np.empty(len(images), dtype=np.int64)
    fold[by_hash] = np.arange(len(images)) % FOLDS
    return fold


def threshold_of_sweep(sweep: Sweep, images: Sequence[ImageId]) -> ScoreThreshold:
    """The threshold at which a sweep scores its images."""
    if not sweep.is_cross:
        return sweep.threshold
    of_fold = [_KEEP_ALL if fold.threshold is None else fold.threshold for fold in sweep.folds]
    return {image: of_fold[k] for image, k in zip(images, folds_of(images).tolist(), strict=True)}


def threshold_of(metrics: Metrics, images: Sequence[ImageId]) -> ScoreThreshold:
    """The score threshold that a result was scored at; `images`: all that it is over."""
    return metrics.threshold if metrics.sweep is None else threshold_of_sweep(metrics.sweep, images)


def sweep_of(metrics: Metrics) -> Sweeping:
    """How the threshold of a result was chosen."""
    return False if metrics.sweep is None else "cross" if metrics.sweep.is_cross else True


def threshold_option(metrics: Metrics) -> str | None:
    """The option that gave the threshold: `--threshold 0.5`, `--sweep` or `--sweep cross`; None: there is none."""
    if metrics.sweep is not None:
        return "--sweep cross" if metrics.sweep.is_cross else "--sweep"
    return None if metrics.threshold is None else f"--threshold {threshold_text(metrics.threshold)}"


def threshold_text(threshold: float | None) -> str:
    """A threshold with the fewest digits that read as the same number: `--threshold` with them gives the same scores.

    A rounded threshold may exceed the score that it was chosen from, and lose this prediction.

    >>> threshold_text(0.5), threshold_text(0.3716840147972107), threshold_text(50.0), threshold_text(None)
    ('0.5', '0.3716840147972107', '50', 'none')
    """
    return "none" if threshold is None else str(threshold).removesuffix(".0")


def threshold_in_words(metrics: Metrics) -> str:
    """How the threshold of a result was chosen, as the end of a sentence."""
    sweep = metrics.sweep
    if sweep is None:
        at = metrics.threshold
        if at is None:
            return "scored without a threshold"
        return f"scored at threshold {threshold_text(at)}, given beforehand"
    if sweep.is_cross:
        of_folds = ", ".join(threshold_text(fold.threshold) for fold in sweep.folds)
        return f"scored at the threshold of each fold of images, chosen on the other folds: {of_folds}"
    if sweep.threshold is None:
        return "scored without a threshold: there is none to choose without predictions or ground truth"
    return f"scored at threshold {threshold_text(sweep.threshold)}, chosen on these images: an oracle"


def sums_without(tallies: Sequence[Mapping[str, Tally]], again: ChosenAgain) -> dict[str, dict[str, NDArray[Any]]]:
    """Sum tallies over all images but one, at the thresholds that are chosen without it.

    Args:
        tallies: for each of `again.thresholds`, name -> tally of all images.
        again: the thresholds that are chosen without each image.

    Returns:
        name -> column -> (images, categories), a row for each image that is left out, by id.
    """
    n_folds, order = len(again.chosen), by_id(again.images)
    own = again.chosen[again.fold, np.arange(len(again.images))]  # the threshold at which the image itself is scored
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name, first in tallies[0].items():
        found[name] = {}
        for column in first.columns:
            sums = np.zeros((len(again.images), len(first.categories)), dtype=np.int64)
            for at, of_threshold in enumerate(tallies):
                values = of_threshold[name].columns[column]
                for k in range(n_folds):
                    of_fold = values[again.fold == k].sum(axis=0, dtype=np.int64)
                    sums[again.chosen[k] == at] += of_fold
                sums[own == at] -= values[own == at]
            found[name][column] = sums[order]
    return found


def _members(truth: Truth) -> NDArray[np.int64]:
    """The categories of the group `all`, sorted by name, so that no sum depends on the order of the categories."""
    return np.array([truth.categories.index(name) for name in sorted(truth.groups["all"])], dtype=np.int64)


def _curve(
    outcomes: Outcomes, members: NDArray[np.int64], protocol: Protocol
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds (t,), increasing, and the mean box precision, recall and F1 at each (3, t).

    Empty without predictions, and without ground truth in any category.
    """
    over = members[outcomes.n_targets[members] > 0]
    if not len(over) or not len(outcomes.scores):
        return np.zeros(0), np.zeros((3, 0))
    if protocol.thresholds is None:
        pieces = outcomes.at_distinct_scores()
    else:
        given = np.array(protocol.thresholds)
        pieces = iter([(given, outcomes.totals_at(given))])
    thresholds, means = [], []
    for piece, totals in pieces:
        here = {name: column[:, over] for name, column in totals.items()}
        thresholds.append(piece)
        means.append([score(here).mean(axis=1) for score in (scores.precision, scores.recall, scores.f1)])
    return np.concatenate(thresholds), np.concatenate(means, axis=1)


def _best(thresholds: NDArray[np.float64], means: NDArray[np.float64]) -> float | None:
    """The lowest threshold with the largest mean F1."""
    return float(thresholds[_lowest_best(means[2])]) if len(thresholds) else None


def _choose_again(
    outcomes: Outcomes,
    candidates: NDArray[np.float64],
    images: Sequence[ImageId],
    members: NDArray[np.int64],
    fold: NDArray[np.int64],
    *,
    cross: bool,
    of_scores: bool,
) -> ChosenAgain:
    """Choose a threshold among `candidates` without each image in turn, for each fold; `of_scores`: they are scores."""
    counted = _Counted.of(outcomes, candidates, members)
    targets, n_members = outcomes.targets[:, members], len(members)
    n_folds = int(fold.max()) + 1
    actual = np.stack([targets[fold == k].sum(axis=0) for k in range(n_folds)])
    row = fold[counted.image] * n_members + counted.member
    known = counted.sums(row, slice(None), actual.ravel()).reshape(3, n_folds, n_members, -1)
    if cross:
        known = known.sum(axis=1, keepdims=True) - known
    # a threshold is left out if it cannot become the best one without any image
    means = np.array([_f1(known[:, k]).sum(axis=0) for k in range(n_folds)])  # times the number of categories
    most = counted.largest_change(targets, known[2, :, :, 0].min(axis=0))
    possible = np.flatnonzero((means >= means.max(axis=1, keepdims=True) - 2 * most - _ROUNDING).any(axis=0))
    counted, known, candidates = counted.at(possible), known[..., possible], candidates[possible]
    whole = [_f1(known[:, k]) for k in range(n_folds)]
    chosen = np.empty((n_folds, len(images)), dtype=np.int64)
    step = max(1, _CELLS_AT_ONCE // (n_members * len(candidates)))
    bounds = np.searchsorted(counted.image, np.arange(0, len(images) + step, step)).tolist()
    for first, low, high in zip(range(0, len(images), step), bounds[:-1], bounds[1:], strict=False):
        here, some = targets[first : first + step], slice(low, high)
        cell = (counted.image[some] - first) * n_members + counted.member[some]
        cells = np.union1d(cell, np.flatnonzero(here))
        own = counted.sums(np.searchsorted(cells, cell), some, here.ravel()[cells])
        of_image, of_member = np.divmod(cells, n_members)
        for k in range(n_folds):
            of_others = np.tile(whole[k].sum(axis=0), (len(here), 1))
            chosen_on = (not cross) | (fold[first + of_image] != k)
            without = _f1(known[:, k, of_member] - own * chosen_on[:, None])
            np.add.at(of_others, of_image, without - whole[k][of_member])
            chosen[k, first : first + step] = _lowest_best(of_others)
    thresholds = candidates[chosen]
    for k in range(n_folds) if cross and of_scores else ():
        # of the thresholds that are equal on the other folds, the one that is a score there
        others = np.unique(outcomes.scores[fold[outcomes.image] != k])
        if len(others) and known[2, k].any():
            thresholds[k] = others[np.searchsorted(others, thresholds[k]).clip(max=len(others) - 1)]
    used, index = np.unique(thresholds, return_inverse=True)
    return ChosenAgain(used, tuple(images), fold, index.reshape(chosen.shape))


@dataclass(frozen=True, eq=False)
class _Counted:
    """Predictions that reach a threshold and have a category, sorted by image.

    Attributes:
        image: int64 (n,), index of the image.
        member: int64 (n,), index of the category.
        reached: int64 (n,), index of the highest threshold that it reaches.
        matched: bool (n,), true positives.
        n: number of thresholds.
    """

    image: NDArray[np.int64]
    member: NDArray[np.int64]
    reached: NDArray[np.int64]
    matched: NDArray[np.bool_]
    n: int

    @staticmethod
    def of(outcomes: Outcomes, thresholds: NDArray[np.float64], members: NDArray[np.int64]) -> _Counted:
        place = np.full(outcomes.targets.shape[1] + 1, -1)  # the last is for predictions without a category
        place[members] = np.arange(len(members))
        reached, member = np.searchsorted(thresholds, outcomes.scores, side="right") - 1, place[outcomes.category]
        order = np.flatnonzero((reached >= 0) & (member >= 0))
        order = order[np.argsort(outcomes.image[order], kind="stable")]
        image = outcomes.image[order].astype(np.int64)
        return _Counted(image, member[order], reached[order], outcomes.matched[order], len(thresholds))

    def at(self, some: NDArray[np.int64]) -> _Counted:
        """With some of the thresholds."""
        reached = np.searchsorted(some, self.reached, side="right") - 1
        kept = reached >= 0
        return _Counted(self.image[kept], self.member[kept], reached[kept], self.matched[kept], len(some))

    def sums(self, row: NDArray[np.int64], some: slice, actual: NDArray[np.int64]) -> NDArray[np.float64]:
        """True positives, predictions and objects in rows at each threshold: float64 (3, rows, thresholds).

        Args:
            row: int64 (m,), the row of some predictions.
            some: which predictions.
            actual: int64 (rows,), the objects.
        """
        found = np.empty((3, len(actual), self.n))
        right = self.matched[some]
        for which, chosen in enumerate((right, np.ones_like(right))):
            cell = row[chosen] * self.n + self.reached[some][chosen]
            counts = np.bincount(cell, minlength=len(actual) * self.n).reshape(-1, self.n)
            np.cumsum(counts[:, ::-1], axis=1, out=found[which, :, ::-1])
        found[2] = actual[:, None]
        return found

    def largest_change(self, targets: NDArray[np.int64], actual: NDArray[np.float64]) -> float:
        """By how much the sum of F1 over categories can change at most, at any threshold, without an image.

        F1 = 2 tp / n changes by at most q / (n - q), where q of the n predictions and objects are in the image.

        Args:
            targets: int64 (images, c), the objects of each image.
            actual: float64 (c,), the objects of all images.
        """
        shape = targets.shape
        cell = self.image * shape[1] + self.member
        of_image = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape) + targets
        rest = actual - targets
        change = np.divide(of_image, rest, out=np.ones(shape), where=rest > 0).clip(max=1)
        return float(np.where(of_image > 0, change, 0).sum(axis=1).max())


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 from true positives, predictions and objects (3, rows, thresholds); 0 without objects."""
    tp, predicted, actual = sums
    f1: NDArray[np.float64] = np.divide(2 * tp, predicted + actual, out=np.zeros(tp.shape), where=actual > 0)
    return f1


def _lowest_best(means: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the first of the largest means along the last axis; differences of rounding are none."""
    return np.asarray((means >= means.max(axis=-1, keepdims=True) - _ROUNDING).argmax(axis=-1))
