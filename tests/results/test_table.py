"""What the tables of a result say in words."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from earthinstruct.metrics import CountingBand, CountingLimits, Value
from earthinstruct.results import limits_remark, read_result

STORED = Path(__file__).parents[1] / "guarded" / "scenes" / "open_vocabulary" / "oracle-jittered-0.1.0.json"


def limits(value, ci95=None, never=False, errors=(0.5, 0.1), reason=None):
    """Bands of 1, 4 and 10 objects."""
    sizes = zip((1, 4, 10), errors, strict=False)
    bands = [CountingBand(1, 0, n, 0, 0, Value(0), Value(error), Value(0)) for n, error in sizes]
    return CountingLimits(Value(value, ci95, reason), never, dict(zip(("1", "2-5", "6-20"), bands, strict=False)), {})


EACH = "of a category in an image"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (limits(40.4, (20.0, 100.0), errors=(0, 0)), f"up to about 40 objects {EACH} (95 %: 20 to 100)"),
        (
            limits(7.0, (3.0, 7.0), never=True, errors=(0, 0)),
            f"up to 7 objects {EACH}, the most there are (95 %: at least 3)",
        ),
        (limits(1.0, never=True, errors=(0,)), f"within 20 % up to 1 object {EACH}, the most there are"),
        (limits(0.0), f"counts stay within 20 % with 2-5 objects {EACH}, not with other numbers"),
        (limits(0.0, errors=(0.5, 0.1, 0)), f"counts stay within 20 % with 2-5 or 6-20 objects {EACH}, not with other"),
        (limits(0.0, errors=(0.5,)), f"counts are off by more than 20 % with 1 object {EACH}, all numbers"),
        (limits(0.0, errors=(0.5, 0.3)), f"counts are off by more than 20 % with 1 and 2-5 objects {EACH}"),
        # where a measured error says otherwise
        (
            limits(10.0, (10.0, 10.0), never=True, errors=(0, 0.7, 0)),
            f"{EACH}, the most there are (95 %: at least 10), but in these images not with 2-5 objects",
        ),
        (
            limits(1.5, (1.2, 2.0), errors=(0, 0.7, 0)),
            f"up to about 2 objects {EACH} (95 %: 1 to 2), and in these images again with 6-20 objects",
        ),
        (
            limits(None, reason="too few images", errors=(0.3, 0.3, 0)),
            f"up to how many objects {EACH} counts stay within 20 % is not known (too few images); in these images, "
            "they do with 6-20 objects and they do not with 1 or 2-5 objects",
        ),
        (limits(None, reason="too few images", errors=(0,)), "in these images, they do with 1 object"),
    ],
)
def test_up_to_how_many_objects_a_method_counts(found, said):
    assert said in limits_remark(found)


def test_without_objects_it_says_nothing():
    assert limits_remark(limits(None, errors=())) is None


def test_groups_have_their_intervals_below_them():
    result = read_result(STORED)
    base = result.metrics.box.groups["base"]["f1"]
    box = replace(result.metrics.box, groups_ci95={"base": {"f1": (base - 0.05, base + 0.05)}})
    lines = str(replace(result, metrics=replace(result.metrics, box=box))).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("  base "))
    assert lines[row].split()[2] == f"{100 * base:.1f}"
    assert lines[row + 1].split()[:2] == ["95", "%"]
    assert "±5.0" in lines[row + 1].split()
