"""What the tables of a result say in words."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from earthinstruct.metrics import CountingBand, CountingLimits, Value
from earthinstruct.results import limits_remark, read_result

STORED = Path(__file__).parents[1] / "guarded" / "scenes" / "open_vocabulary" / "oracle-jittered-0.1.0.json"


def limits(value, ci95=None, never=False, errors=(0.5, 0.1)):
    bands = [CountingBand(1, 0, 1, 0, 0, Value(0), Value(error), Value(0)) for error in errors]
    return CountingLimits(Value(value, ci95), never, dict(zip(("1", "2-5"), bands, strict=True)), {})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (limits(40.4, (20.0, 100.0)), "up to about 40 objects of a category in an image (95 %: 20 to 100)"),
        (
            limits(7.0, (3.0, 7.0), never=True),
            "up to 7 objects of a category in an image, the most there are (95 %: at least 3)",
        ),
        (limits(1.0, never=True), "within 20 % up to 1 object of a category in an image, the most there are"),
        (limits(0.0), "counts stay within 20 % with 2-5 objects of a category in an image, not with other numbers"),
        (
            limits(0.0, errors=(0.5, None)),
            "counts are off by more than 20 % with 1 object of a category in an image, all",
        ),
        (limits(0.0, errors=(0.5, 0.3)), "counts are off by more than 20 % with 1 and 2-5 objects"),
    ],
)
def test_up_to_how_many_objects_a_method_counts(found, said):
    assert said in limits_remark(found)


def test_without_objects_it_says_nothing():
    assert limits_remark(limits(None)) is None


def test_groups_have_their_intervals_below_them():
    result = read_result(STORED)
    base = result.metrics.box.groups["base"]["f1"]
    box = replace(result.metrics.box, groups_ci95={"base": {"f1": (base - 0.05, base + 0.05)}})
    lines = str(replace(result, metrics=replace(result.metrics, box=box))).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("  base "))
    assert lines[row].split()[2] == f"{100 * base:.1f}"
    assert lines[row + 1].split() == ["95", "%", "±5.0"]
