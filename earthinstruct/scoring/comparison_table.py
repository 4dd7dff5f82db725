"""The tables of a comparison of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from earthinstruct.metrics import HEADLINES, listed
from earthinstruct.results import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from earthinstruct.results import Block
    from earthinstruct.scoring.comparison import Compared, Comparison


def comparison_blocks(compared: Comparison, every_category: bool) -> Iterator[Block]:
    """What `Comparison.blocks` describes."""
    from rich.text import Text

    yield f"A: {compared.first}"
    yield f"B: {compared.second}"
    scores = [row for row in compared if row.score in HEADLINES]
    yield _table([row for row in scores if row.is_group])
    yield Text("percent; precision and recall are in --json", style="dim")
    categories = [row for row in scores if not row.is_group]
    shown = [row for row in categories if every_category or _differs(row)]
    if shown:
        yield _table(shown)
    if len(shown) < len(categories):
        yield Text(
            f"{len(categories) - len(shown)} of {len(categories)} rows of single categories are left out: their 95 % "
            "interval includes 0; --all shows them",
            style="dim",
        )
    extra = [row for row in compared if row.score.startswith("extra.") and row.is_group]
    if extra:
        yield _table(extra)
        yield Text("metric plug-ins: fractions, or in the unit of each; by category in --json", style="dim")
    yield _table([row for row in compared if row.score.startswith("errors.") and row.is_group and row.over == "all"])
    yield Text(
        "objects over all images, by category in --json; fewer are better, more are better of `correct`\n"
        "p of each row by itself, < 0.05 in bold; of 20 without a difference, shown or not, one is bold by chance",
        style="dim",
    )


def _differs(row: Compared) -> bool:
    low, high = row.difference.ci95
    return low > 0 or high < 0


def _table(rows: Sequence[Compared]) -> Table:
    table = new_table("score", "over", "A", "B", "B - A", "95 % interval", "p", left=("score", "over"), no_wrap=False)
    for row in rows:
        off, unit = row.difference, listed(row.score).unit
        table.add_row(
            row.score.removeprefix("errors.").removeprefix("extra.").removesuffix(".mean"),
            row.over,
            unit.text(off.first),
            unit.text(off.second),
            unit.text(off.value, signed=True),
            " to ".join(unit.text(bound, signed=True) for bound in off.ci95),
            f"{off.p:.3f}",
            style="bold" if off.p < 0.05 else "",
        )
    return table
