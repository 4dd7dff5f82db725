"""Whether a method knows what is not there: in how many images it counts or draws a category that they do not have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.intervals import within_0_and_1
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.summary import Summary, value_of
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import Absent, AbsentCategory, AbsentShares, Value

_ANY = ""  # the part of the tally that is about all categories
_HAVE_ALL = "every image has all categories"
_HAVE_IT = "every image has an object of this category"


def absent_scores(summary: Summary, drawn: str | None) -> Absent:
    """The categories that are counted or drawn where they are not.

    Args:
        summary: with the tally `counting`, and that of what the method draws.
        drawn: the name of that tally, `box` or `point`; None: the method draws nothing.
    """
    return Absent(_shares(summary, "counting"), None if drawn is None else _shares(summary, drawn))


def share_of_images(named: NDArray[np.bool_]) -> Value:
    """The share of images of which something is true, with its interval; `named`: bool (n,)."""
    n, share = len(named), float(named.mean()) if len(named) else None
    if share is None:
        return Value(None, reason="no images")
    error = float(np.sqrt(share * (1 - share) / max(n - 1, 1)))
    return value_of(share, within_0_and_1(share, error, n))


def _shares(summary: Summary, name: str) -> AbsentShares:
    tally, members = summary.tallies[name], summary.groups["all"]
    columns = {column: values[:, members].astype(np.int64) for column, values in tally.columns.items()}
    lacks = columns["tp"] + columns["fn"] == 0
    named = lacks & (columns["fp"] > 0)
    parts = Tally(
        tally.images,
        (_ANY, *(tally.categories[c] for c in members)),
        {"named": _with_any(named), "targets": _with_any(lacks)},
    )
    whole, *each = summary.by_part(parts, _share, name, _HAVE_IT)
    if whole.value is None:
        whole = Value(None, reason=_HAVE_ALL)
    n_images, n_named = (parts.totals[column].tolist() for column in ("targets", "named"))
    rows = zip(parts.categories[1:], n_images[1:], n_named[1:], each, strict=True)
    per_category = {category: AbsentCategory(*of) for category, *of in rows}
    return AbsentShares(n_images[0], n_named[0], whole, per_category)


def _with_any(column: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.column_stack([column.any(axis=1), column]).astype(np.int64)


def _share(columns: Columns) -> NDArray[np.float64]:
    return np.asarray(columns["named"] / np.maximum(columns["targets"], 1))
