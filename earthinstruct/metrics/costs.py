"""What each type of error costs: the gain in F1 when the errors of this type alone are mended.

A function of the sums of the error types and of the counts, so that it depends on no order. It is exactly the F1 of the
mended predictions: their wrong predictions of the type are removed, and each object that the type explains gets a
prediction of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.error_types import COUNTING_ERRORS, PREDICTION_VERDICTS, TARGET_VERDICTS
from earthinstruct.metrics.scores import Columns, Score
from earthinstruct.metrics.summary import NO_TRUTH, Summary
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import CountCosts, ErrorCosts

# type of error -> the verdict of its predictions, which are removed, and of its objects, which are found
MENDED: Mapping[str, tuple[str | None, str | None]] = {
    "duplicate": ("duplicate", None),
    "classification": ("classification", "misclassified"),
    "localisation": ("localisation", "mislocated"),
    "both": ("both", None),
    "background": ("background", None),
    "missed": (None, "missed"),
}
_WRONG, _LOST = PREDICTION_VERDICTS[1:-1], TARGET_VERDICTS[1:]
_Costs = TypeVar("_Costs", CountCosts, ErrorCosts)


def detection_cost(error: str, columns: Columns) -> NDArray[np.float64]:
    """The gain in F1 of each category, from the sums of a tally of error types.

    >>> columns = dict.fromkeys((*_WRONG, *_LOST), np.array([0])) | {"correct": np.array([2]), "missed": np.array([4])}
    >>> detection_cost("missed", columns).tolist()  # F1 is 2 x 2 / (2 x 2 + 4) = 0.5, and 1 without missed objects
    [0.5]
    """
    before: dict[str, NDArray[Any]] = {
        "tp": columns["correct"],
        "fp": np.sum([columns[name] for name in _WRONG], axis=0),
        "fn": np.sum([columns[name] for name in _LOST], axis=0),
    }
    after, (removed, found) = dict(before), MENDED[error]
    if removed is not None:
        after["fp"] = before["fp"] - columns[removed]
    if found is not None:
        after |= {"tp": before["tp"] + columns[found], "fn": before["fn"] - columns[found]}
    gain: NDArray[np.float64] = scores.f1(after) - scores.f1(before)
    return gain


def counting_cost(error: str, columns: Columns) -> NDArray[np.float64]:
    """The gain in F1 of each category, from the sums of a tally of counts."""
    after: dict[str, NDArray[Any]] = dict(columns)
    if error == "over":
        after["fp"] = np.zeros_like(columns["fp"])
    else:
        after |= {"tp": columns["tp"] + columns["fn"], "fn": np.zeros_like(columns["fn"])}
    gain: NDArray[np.float64] = scores.f1(after) - scores.f1(columns)
    return gain


DETECTION_COSTS: Mapping[str, Score] = {error: partial(detection_cost, error) for error in MENDED}
COUNTING_COSTS: Mapping[str, Score] = {error: partial(counting_cost, error) for error in COUNTING_ERRORS}


def cost_of(kind: type[_Costs], summary: Summary, tally: Tally) -> _Costs:
    """The cost of each type of error, mean over the categories with ground truth."""
    functions = COUNTING_COSTS if kind is CountCosts else DETECTION_COSTS
    totals = tally.totals
    return kind(
        **{
            error: summary.mean_value(function(totals), summary.has_truth, NO_TRUTH)
            for error, function in functions.items()
        }
    )
