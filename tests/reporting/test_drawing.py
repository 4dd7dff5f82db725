"""Charts are drawn to scale, and no text in them is markup."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.reporting.drawing import (
    MOST_ROWS,
    Axis,
    Bar,
    Series,
    bars,
    cells,
    count_axis,
    plane,
    sparkline,
    ticks,
)

numbers = st.floats(0, 1e9, allow_nan=False).map(lambda value: round(value, 6))
HOSTILE = "<script>alert('&')</script>"


@given(numbers, numbers)
def test_ticks_are_few_and_hold_all_values(a, b):
    least, most = sorted((a, b))
    found = ticks(least, most)
    assert 2 <= len(found) <= 7  # one step more where neither end is a round number
    assert found[0] <= least + 1e-9 * (1 + most)
    assert found[-1] >= most - 1e-9 * (1 + most)
    steps = [high - low for low, high in pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps))


@given(st.integers(-2_000_000, 0), st.integers(0, 2_000_000))
def test_an_axis_of_counts_holds_all_counts_in_order(least, most):
    axis = count_axis("objects", least, most)
    assert axis.ticks[0] <= least
    assert axis.ticks[-1] >= most
    assert len(axis.ticks) == len(set(axis.ticks)) >= 2
    places = [axis.place(tick) for tick in axis.ticks]
    assert (places[0], places[-1]) == (0, 1)
    assert places == sorted(places)


def test_bars_are_as_long_as_their_values():
    drawn = bars([("ship", [Bar(50, (25, 75)), None]), ("harbor", [Bar(100), Bar(0)])], [("box", "c0"), ("mask", "c1")])
    shapes = [one.attrib for one in ET.fromstring(drawn).iter("rect") if "rx" not in one.attrib]  # without the legend
    half, whole, nothing = (float(one["width"]) for one in shapes)
    assert (nothing, whole) == (0, pytest.approx(2 * half, abs=0.2))
    start = float(shapes[0]["x"])
    low, high = map(float, re.search(r'class="interval" d="M([\d.]+),.*H([\d.]+)M', drawn).groups())
    assert (low - start, high - start) == (pytest.approx(half / 2, abs=0.2), pytest.approx(1.5 * half, abs=0.2))


def test_stacked_bars_follow_each_other():
    drawn = bars([("ship", [Bar(25), None, Bar(75)])], [("a", "c0"), ("b", "c1"), ("c", "c2")], stacked=True)
    first, second = (one.attrib for one in ET.fromstring(drawn).iter("rect") if "rx" not in one.attrib)
    assert float(second["x"]) == pytest.approx(float(first["x"]) + float(first["width"]), abs=0.2)
    assert first["y"] == second["y"]


def test_more_rows_than_fit_are_left_out():
    drawn = bars([(f"row {i}", [Bar(1)]) for i in range(MOST_ROWS + 40)], [("f1", "c0")])
    assert f">row {MOST_ROWS - 1}<" in drawn
    assert f">row {MOST_ROWS}<" not in drawn


def test_lines_and_dots_stand_at_their_places():
    axes = Axis("across", (0.0, 10.0)), Axis("up", (0.0, 100.0))
    drawn = plane(*axes, [Series("c0", [(0, 0), (5, 50), (10, 100)])])
    path = re.search(r'class="series c0" d="M([^"]*)"', drawn)[1]
    (left, low), (middle, half), (right, top) = (tuple(map(float, point.split(","))) for point in path.split())
    assert (middle, half) == (pytest.approx((left + right) / 2, abs=0.1), pytest.approx((low + top) / 2, abs=0.1))
    assert left < right
    assert top < low
    dots = plane(*axes, [Series("c0", [(5, 50), (5, 50)], 4.0)])
    assert f'd="M{middle:.1f},{half:.1f}h0"' in dots  # once


def test_a_point_has_its_interval_and_a_tick_its_name():
    across = Axis("band", (0, 1, 2, 3), names=("", "few", HOSTILE, ""))
    svg = plane(across, Axis("percent", (0, 100)), [Series("c0", [(1, 50), (2, 80)], intervals=[(40, 60), None])])
    root = ET.fromstring(svg)
    (whiskers,) = (path for path in root.iter("path") if path.get("class") == "whiskers c0")
    x, low, high = (float(n) for n in re.search(r"M([\d.]+),([\d.]+)V([\d.]+)", whiskers.get("d")).groups())
    line = next(path.get("d") for path in root.iter("path") if path.get("class") == "series c0")
    at, middle = (float(n) for n in re.match(r"M([\d.]+),([\d.]+)", line).groups())
    assert (x, (low + high) / 2) == (at, pytest.approx(middle, abs=0.1))
    assert low > middle > high  # up the page, y falls
    assert whiskers.get("d").count("V") == 1
    assert {"few", HOSTILE} <= {text.text for text in root.iter("text")}


def test_the_cells_hold_the_numbers_and_the_diagonal_has_its_colour():
    drawn = cells([("ship", [(3, 0.75), (1, 0.25)]), ("nothing", [(0, 0.0), (2, 1.0)])], ["ship", "harbor"], ("a", "b"))
    found = [one.get("class") for one in ET.fromstring(drawn).iter("rect")]
    assert found == ["cell same", "cell other-cell", "cell other-cell"]
    assert re.findall(r'class="number"[^>]*>(\d+)<', drawn) == ["3", "1", "2"]


@pytest.mark.parametrize(
    "drawn",
    [
        bars([(HOSTILE, [Bar(1), Bar(2)])], [(HOSTILE, "c0"), ("b", "c1")], unit=HOSTILE),
        plane(Axis(HOSTILE, (0, 1)), Axis(HOSTILE, (0, 1)), [Series("c0", [(0, 0)], name=HOSTILE)]),
        cells([(HOSTILE, [(1, 1.0)])], [HOSTILE], (HOSTILE, HOSTILE)),
        sparkline(0.5, (0.25, 0.75)),
    ],
)
def test_every_text_is_escaped(drawn):
    assert "<script" not in drawn
    assert {one.tag for one in ET.fromstring(drawn).iter()} <= {"svg", "rect", "path", "text", "title", "circle"}


def test_long_names_are_cut_in_the_chart_alone():
    drawn = bars([("a" * 100, [Bar(1)]), ("港" * 100, [Bar(1)])], [("f1", "c0")])
    names = re.findall(r'text-anchor="end">([^<]*)<', drawn)
    assert [len(name) for name in names] == [24, 12]  # Chinese characters are twice as wide
    assert "a" * 100 in drawn  # in the title of the bar
