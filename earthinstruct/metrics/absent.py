"""Whether a method knows what is not there: in how many images it counts or draws a category that they do not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.intervals import within_0_and_1
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.summary import Summary, value_of
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import Absent, AbsentCategory, AbsentShares, Value

ANY_CATEGORY = ""  # the part of the tally that is about all categories
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
    tally = summary.tallies[name]
    parts = absent_tally(tally, [tally.categories[c] for c in summary.groups["all"]])
    whole, *each = summary.by_part(parts, absent_share, name, _HAVE_IT)
    if whole.value is None:
        whole = Value(None, reason=_HAVE_ALL)
    n_images, n_named = (parts.totals[column].tolist() for column in ("targets", "named"))
    rows = zip(parts.categories[1:], n_images[1:], n_named[1:], each, strict=True)
    per_category = {category: AbsentCategory(*of) for category, *of in rows}
    return AbsentShares(n_images[0], n_named[0], whole, per_category)


def absent_tally(tally: Tally, categories: Sequence[str]) -> Tally:
    """The images that lack a category, and those of them in which it is named: a tally with `targets` and `named`.

    Its categories are `ANY_CATEGORY`, which stands for any of the categories, and then these.

    Args:
        tally: with tp, fp, fn.
        categories: some of its categories.
    """
    places = [tally.categories.index(name) for name in categories]
    columns = {name: values[:, places].astype(np.int64) for name, values in tally.columns.items()}
    lacks = columns["tp"] + columns["fn"] == 0
    named = lacks & (columns["fp"] > 0)
    return Tally(tally.images, (ANY_CATEGORY, *categories), {"named": _with_any(named), "targets": _with_any(lacks)})


def _with_any(column: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.column_stack([column.any(axis=1), column]).astype(np.int64)


def absent_share(columns: Columns) -> NDArray[np.float64]:
    """The share of the images that lack a category in which it is named, from the sums of an `absent_tally`."""
    return np.asarray(columns["named"] / np.maximum(columns["targets"], 1))
