"""Charts show what the result and the run say, and their tables have the same numbers."""

import msgspec
import numpy as np
import pytest

from earthinstruct.metrics import Value
from earthinstruct.reporting import charts
from earthinstruct.reporting.charts import (
    calibration_figure,
    category_figure,
    change_figure,
    confusion_figure,
    cost_figure,
    count_figure,
    curve_figure,
    density_figure,
    limit_figures,
    precision_recall_figures,
    residual_figure,
    size_figure,
    slice_figures,
    time_figure,
)
from earthinstruct.reporting.drawing import Bar, Series
from earthinstruct.reporting.loaded import load_run
from earthinstruct.results import read_result


@pytest.fixture
def drawn(monkeypatch):
    """What was last given to each function that draws."""
    given = {}
    for name in ("bars", "plane", "cells"):
        original = getattr(charts, name)

        def keep(*args, name=name, original=original, **options):
            given[name] = args
            return original(*args, **options)

        monkeypatch.setattr(charts, name, keep)
    return given


def metrics_of(run):
    return read_result(run[0] / "result.json").metrics


def test_counts_are_points_of_images_and_categories(make_run, drawn):
    run = load_run(*make_run())
    # the first image has two ships and a harbor, and two ships are predicted; the second one ship, and two predicted;
    # the third fails, without objects
    figure = count_figure(run)
    assert figure.rows == (
        ("<script>alert(1)<!--.png", "<b>harbor</b>", "1", "0", "-1"),
        ("b & 'c' \"d\".png", "ship", "1", "2", "+1"),
        ("<script>alert(1)<!--.png", "ship", "2", "2", "0"),
    )
    assert "the count is right: 1 of 3 (33.3 %)" in figure.note
    _, _, series = drawn["plane"]
    assert series[0].points == [(0, 0), (2, 2)]  # the line of right counts
    assert sorted(series[1].points) == [(1, 0), (1, 2), (2, 2)]


def test_residuals_and_shares_by_density(make_run, drawn):
    run = load_run(*make_run())
    figure = residual_figure(run)
    assert figure.rows == (("1", "2", "+0.00", "1.00", "-1"), ("2", "1", "+0.00", "0.00", "+0"))
    assert drawn["plane"][2][-1] == Series("c1", [(1.0, 0.0), (2.0, 0.0)], name="mean")
    assert density_figure(run).rows == (("1 (2)", "0", "1", "1"), ("2 (1)", "1", "0", "0"))
    assert drawn["bars"][0] == [("1 (2)", [Bar(0), Bar(50), Bar(50)]), ("2 (1)", [Bar(100), Bar(0), Bar(0)])]


def test_the_bars_are_the_scores_with_their_intervals(make_run, drawn):
    metrics = metrics_of(make_run())
    category_figure(metrics)
    name, of_all = drawn["bars"][0][0]
    assert name == "all"
    assert of_all[1] == Bar(100 * metrics.box.f1.value, tuple(100 * bound for bound in metrics.box.f1.ci95))
    counting, box, _ = precision_recall_figures(metrics)
    ship = metrics.box.per_category["ship"]
    cells = []
    for score in ("precision", "recall", "f1"):
        low, high = ship.ci95[score]
        cells += [f"{100 * getattr(ship, score):.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
    assert [row for row in box.rows if row[0] == "ship"] == [("ship", *cells)]
    assert "with 95 % intervals" in counting.note


def test_the_confusion_matrix_adds_up(make_run):
    run = load_run(*make_run())
    figure = confusion_figure(run)
    # one ship is found; two ships and a harbor lie alone; three ships and two foreign labels lie on nothing
    assert figure.header == ("object", "ship", "no category", "not found", "sum")
    assert figure.rows == (
        ("ship", "1", "0", "2", "3"),
        ("<b>harbor</b>", "0", "0", "1", "1"),
        ("nothing", "3", "2", "0", "5"),
    )


def test_the_curve_has_the_ap_of_the_result_as_its_area(make_run):
    made = make_run(scores=True)
    run = load_run(*made)
    mean = np.nanmean(run.outcomes.precision_at_recalls(), axis=1)
    ap50 = metrics_of(made).box.ap50.value
    assert ap50 > 0
    assert mean.mean() == pytest.approx(ap50)
    figure = curve_figure(run)
    assert f"The area is AP50: {100 * ap50:.1f}." in figure.note
    assert figure.header == ("recall", "mean", "ship", "<b>harbor</b>")
    # of three ships one is found, by the best score of two: recall 1/3 at precision 1/2
    assert figure.rows[6] == ("30", "25.0", "50.0", "0.0")
    assert figure.rows[7] == ("35", "0.0", "0.0", "0.0")
    assert curve_figure(load_run(*make_run("bare"))) is None


def test_a_curve_holds_also_the_predictions_below_the_threshold(make_run):
    whole, swept = (load_run(*make_run(name, scores=True, sweep=name == "swept")) for name in ("whole", "swept"))
    assert swept.n_predicted < whole.n_predicted
    assert curve_figure(swept).rows == curve_figure(whole).rows


def test_the_reliability_curve_is_that_of_the_result(make_run, drawn):
    metrics = metrics_of(make_run(scores=True))
    figure = calibration_figure(metrics)
    ideal, box, mask = drawn["plane"][2]
    assert ideal.points == [(0, 0), (1, 100)]
    assert (box.name, mask.name) == ("box", "mask")
    # scores 0.9 (right in one of the two images with an answer) and 0.3 (wrong); the label of 0.8 has no category
    assert box.points == [(pytest.approx(0.3), 0), (pytest.approx(0.9), 50)]
    assert [row[:4] for row in figure.rows if row[1] != "0"] == [
        ("0.3 to 0.4", "2", "0.300", "0.0"),
        ("0.9 to 1.0", "2", "0.900", "50.0"),
    ]
    assert calibration_figure(metrics_of(make_run("bare"))) is None


def test_costs_sizes_and_slices_are_those_of_the_result(make_run):
    metrics = metrics_of(make_run(slice_by=["width"]))
    costs = {row[0]: row[1:] for row in cost_figure(metrics).rows}
    assert costs["counted too many"] == (f"{100 * metrics.costs.counting.over.value:.1f}", "-", "-")
    assert costs["missed"][1] == f"{100 * metrics.costs.box.missed.value:.1f}"
    small = size_figure(metrics).rows[0]
    assert small[:3] == ("small", "4", f"{100 * metrics.box.by_size['small'].f1.value:.1f}")
    figure, errors = slice_figures({"one": metrics})
    part = metrics.slices["width"][0]
    counted = part.scores["counting.f1"]
    sure = " to ".join(f"{100 * bound:.1f}" for bound in counted.ci95)
    assert "with 95 % intervals" in figure.note
    assert figure.header[:5] == ("width", "images", "objects", "Cnt", "95 %")
    assert figure.rows[0][:5] == (part.name, "3", "4", f"{100 * counted.value:.1f}", sure)
    assert errors.rows[0][:2] == (part.name, f"{100 * part.scores['counting.relative_error'].value:.1f}")


def test_where_counting_breaks_has_a_line_for_each_run(make_run, drawn):
    one, other = metrics_of(make_run("a")), metrics_of(make_run("b", counts_only=True))
    errors, f1, by_size, _ = limit_figures({"a": one, "b": other})
    limits = one.counting_limits
    # two ships of one and of two, no harbor; the third image fails, without objects
    assert [(row[0], row[1], row[3]) for row in errors.rows] == [("1", "100.0", "100.0"), ("2-5", "0.0", "0.0")]
    assert errors.rows[0][2] == " to ".join(
        f"{100 * bound:.1f}" for bound in limits.by_density["1"].relative_error.ci95 or ()
    )
    assert errors.header == ("number of objects", "a", "95 %", "b", "95 %")
    assert "Where the error passes 20 %: a not known, b not known." in errors.note
    assert [row[1] for row in f1.rows] == [f"{100 * limits.by_density[b].f1.value:.1f}" for b in ("1", "2-5")]
    assert [row[0] for row in by_size.rows] == ["small"]
    across, up, series = drawn["plane"]
    assert (across.names, across.ticks, up.title) == (("", "small", ""), (0, 1, 2), "F1, percent")
    assert [line.name for line in series] == ["a", "", "b", ""]
    assert "with 95 % intervals over images. Over" in errors.note
    bands = {
        name: msgspec.structs.replace(band, relative_error=Value(band.relative_error.value))
        for name, band in limits.by_density.items()
    }
    swept = msgspec.structs.replace(one, counting_limits=msgspec.structs.replace(limits, by_density=bands))
    assert (
        "with 95 % intervals over images (b: without). Over" in next(iter(limit_figures({"a": one, "b": swept}))).note
    )
    assert "intervals" not in next(iter(limit_figures({"b": swept}))).note
    up_to = msgspec.structs.replace(limits, counts_up_to=Value(1.2), never_passes=False)
    passing = msgspec.structs.replace(one, counting_limits=up_to)
    assert "passes 20 %: a at 1 object." in next(iter(limit_figures({"a": passing}))).note
    early = msgspec.structs.replace(one, counting_limits=None)  # of an early release
    assert next(limit_figures({"a": early, "b": other})).header[1:] == ("relative error", "95 %")
    assert not list(limit_figures({"a": early}))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ([1, 2, 3, 4], "With each further object, an image takes about 1 s longer; this explains 100 %"),
        ([0.9, 0.6, 0.3, 0], "an image takes about 300 ms shorter"),
        ([1, 2, 2, 1], "Time hardly depends on the number of objects."),
        ([1, 1, 1, 1], ""),
    ],
)
def test_the_trend_of_time_is_a_sentence_or_nothing(seconds, said):
    found = charts._trend(np.arange(4), np.array(seconds, dtype=float))
    assert said in found
    assert bool(found) == bool(said)


def test_time_has_a_point_for_each_image(make_run):
    figure = time_figure(load_run(*make_run()))
    # one object, and three; the third image has no file, and so no time
    assert [row[:2] for row in figure.rows] == [("1", "1"), ("3 to 5", "1")]


def test_the_errors_of_two_runs_meet_in_one_chart(make_run, drawn):
    run, other = (load_run(*make_run(name, shift=shift)) for name, shift in (("a", 0), ("b", 12)))
    figure = change_figure(run, other, ("new", "old"), "change-0")
    assert "new has fewer errors than old: 1 image. Above it, more: 0. On it: 2." in figure.note
    assert figure.rows[0] == ("fewer errors: 1", "5", "3")
    assert [axis.title for axis in drawn["plane"][:2]] == ["errors of old (logarithmic)", "errors of new (logarithmic)"]
