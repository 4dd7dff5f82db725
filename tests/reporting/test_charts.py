"""Charts are drawn to scale."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.reporting import report
from earthinstruct.reporting.charts import (
    Bars,
    Plot,
    _dots,
    _lines,
    _ticks,
    calibration_figure,
    category_figure,
    iou_figure,
)
from earthinstruct.results import read_result

numbers = st.floats(0, 1e9, allow_nan=False).map(lambda value: round(value, 6))


@given(numbers, numbers)
def test_ticks_are_few_and_hold_all_values(a, b):
    least, most = sorted((a, b))
    ticks = _ticks(least, most)
    assert 2 <= len(ticks) <= 7  # one step more where neither end is a round number
    assert ticks[0] <= least + 1e-9 * (1 + most)
    assert ticks[-1] >= most - 1e-9 * (1 + most)
    steps = [high - low for low, high in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_lines_and_dots_stand_at_their_places():
    plot = _lines([[(0.5, 0.25), (0.75, None), (1.0, 0.0)], [(0.5, None)]], "IoU")
    assert plot.paths == ("M0,75 100,100", "")
    assert [label for _, label in plot.across.ticks] == ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]
    plot = _dots([(0, 0.0), (50, 2.0)], "objects", "seconds")
    assert plot.paths == ("M0,100h0M100,0h0",)
    assert [place for place, _ in plot.up.ticks] == [0, 25, 50, 75, 100]


def test_the_bars_of_the_page_are_the_scores(make_run, tmp_path):
    folder, file = make_run()
    metrics = read_result(folder / "result.json").metrics
    chart = category_figure(metrics).chart
    assert isinstance(chart, Bars)
    name, bars = chart.rows[0]
    assert (name, bars[1].value) == ("all", 100 * metrics.box.f1.value)
    assert bars[1].interval == tuple(100 * bound for bound in metrics.box.f1.ci95)
    assert isinstance(iou_figure(metrics).chart, Plot)
    page = report(folder, tmp_path / "page.html", dataset=file).read_text()
    drawn = re.search(r'id="chart-categories".*?</figure>', page, re.DOTALL)[0]
    assert f'class="bar colour-1" style="width:{100 * metrics.box.f1.value:.2f}%"' in drawn


def test_the_reliability_curve_is_that_of_the_result(make_run):
    metrics = read_result(make_run(scores=True)[0] / "result.json").metrics
    figure = calibration_figure(metrics)
    assert figure.legend == ("box", "mask", "perfect")
    # scores 0.9 (right in one of the two images with an answer) and 0.3 (wrong); the label of 0.8 has no category
    assert figure.chart.paths[0] == "M30,100 90,50"
    assert figure.chart.paths[2] == "M0,100 100,0"
    assert [row[:4] for row in figure.rows if row[1] != "0"] == [
        ("0.3 to 0.4", "2", "0.300", "0.0"),
        ("0.9 to 1.0", "2", "0.900", "50.0"),
    ]
    assert calibration_figure(read_result(make_run("bare")[0] / "result.json").metrics) is None
