"""The shape of the scores in a result file."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True):
    """One score.

    Attributes:
        value: a fraction in [0, 1], or None where the score is undefined.
        ci95: bootstrap interval (low, high) over images, or None.
        reason: why the value is None.
    """

    value: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None


class Count(msgspec.Struct, frozen=True):
    """True positives, false positives, false negatives of one category."""

    tp: int
    fp: int
    fn: int


class CategoryScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """The scores of one category; None where it has neither ground truth nor, for counting, a mention."""

    tp: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    f1: float | None
    ap_nc50: float | None = None
    ap50: float | None = None
    miou: float | None = None


class PartScores(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counting, box or mask scores. `f1` is the headline.

    Attributes:
        precision: mean over categories.
        recall: mean over categories.
        f1: mean over categories.
        tally: category -> tp, fp, fn over all images.
        per_category: category -> its scores.
        groups: group -> score -> mean over the group's categories.
        ap_nc50: average precision without confidence; box and mask only.
        ap50: average precision; box and mask of methods with scores only.
        miou: mean IoU of united masks; mask only.
        source: counting only: `counts`, `instances` or `mixed`.
    """

    precision: Value
    recall: Value
    f1: Value
    tally: dict[str, Count]
    per_category: dict[str, CategoryScores]
    groups: dict[str, dict[str, float | None]]
    ap_nc50: Value | None = None
    ap50: Value | None = None
    miou: Value | None = None
    source: str | None = None


class ProposalScores(msgspec.Struct, frozen=True):
    """How much of the ground truth the class-agnostic proposals cover at IoU 0.5 (boxes)."""

    recall: Value
    per_category: dict[str, float | None]
    groups: dict[str, dict[str, float | None]]
    n_proposals: int


class SweepPoint(msgspec.Struct, frozen=True):
    """Box scores of the predictions whose score reaches the threshold."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None


class Sweep(msgspec.Struct, frozen=True):
    """The lowest threshold with the largest box mF1, chosen on the evaluated images themselves: an oracle.

    All other scores of the result are reported at `threshold`.
    """

    threshold: float
    curve: list[SweepPoint]


class Metrics(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every score of one run.

    Attributes:
        counting: from the counts a method gives, or from its instances.
        box: from boxes at IoU 0.5.
        mask: from masks at IoU 0.5.
        proposals: None when the method gives no proposals.
        sweep: None unless asked for.
        adherence: share of predicted instances whose label maps to a member of the parent; open_subclass only.
    """

    counting: PartScores
    box: PartScores
    mask: PartScores
    proposals: ProposalScores | None = None
    sweep: Sweep | None = None
    adherence: Value | None = None
