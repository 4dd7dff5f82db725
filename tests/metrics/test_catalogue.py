"""The catalogue has every score of a result, under a path where the result has it."""

from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest

from earthinstruct.metrics import (
    CATALOGUE,
    HEADLINES,
    PERCENT,
    GeometryScores,
    Metrics,
    ProposalScores,
    Unit,
    Value,
    listed,
    title_of,
)
from earthinstruct.metrics.catalogue import OBJECTS
from earthinstruct.metrics.values import Calibration, CountCosts, CountingLimits, ErrorCosts, SizeScores

# scores that one kind of section does not have
OF_DETECTION = {"ap_nc50", "ap50", "ap75", "ap", "f1_5095", "miou"}
ABSENT = {
    "counting": OF_DETECTION,
    "box": {"mae", "rmse", "relative_error", "miou"},
    "mask": {"mae", "rmse", "relative_error"},
    "point": {"mae", "rmse", "relative_error", "miou", "ap75", "ap", "f1_5095"},
}
BESIDE = ("precision", "recall")  # beside the F1 of a size; the entry of the F1 tells of them


def scores(kind: type) -> set[str]:
    return {name for name, of in get_type_hints(kind).items() if Value in (of, *get_args(of))}


def test_every_score_of_a_result_is_in_the_catalogue_and_no_other():
    sections = {"proposals": ProposalScores, **dict.fromkeys(ABSENT, GeometryScores)}
    parts = {f"{at}.by_size.{size}": SizeScores for at in ("box", "mask") for size in ("small", "medium", "large")}
    parts |= {f"{at}.calibration": Calibration for at in ("box", "mask", "point")}
    parts["counting_limits"] = CountingLimits
    parts |= {"costs.counting": CountCosts}
    parts |= {f"costs.{at}": ErrorCosts for at in ("box", "mask", "point")}
    expected = {f"{at}.{name}" for at, kind in sections.items() for name in scores(kind) - ABSENT.get(at, set())}
    expected |= {f"{at}.{name}" for at, kind in parts.items() for name in scores(kind).difference(BESIDE)}
    several = {
        "counting_from_instances",
        "counting_limits",
        "proposals.at",
        "proposals.by_size",
        "threshold",
        "sweep",
        "errors",
        "rare",
        "slices",
        "extra",
    }
    expected |= scores(Metrics) | several | {"absent.counted.share", "absent.drawn.share"}
    assert set(CATALOGUE) == expected
    assert {path.partition(".")[0] for path in CATALOGUE} == set(Metrics.__struct_fields__)


def test_every_score_with_a_function_has_its_tally_in_a_result(build):
    """Otherwise no comparison of two runs would have it, and nobody would miss it."""
    random = np.random.default_rng(0)
    truth = build.truth(build.random(random, 9))
    found = build.random(random, 9)
    found = replace(found, points=found.boxes[:, :2])
    there = build.tallies(truth, build.predicted(found, truth))
    wanted = {score.path: score.tally for score in CATALOGUE.values() if score.function is not None}
    assert {path: tally for path, tally in wanted.items() if tally not in there} == {}
    for path, tally in wanted.items():
        values = CATALOGUE[path].function(there[tally].totals)
        assert values.shape == (len(truth.categories),), path


def test_no_two_scores_have_one_title():
    titles = [score.title for score in CATALOGUE.values() if score.title]
    assert len(set(titles)) == len(titles)
    assert all(title_of(path) for path in HEADLINES)


@pytest.mark.parametrize(
    ("path", "unit"),
    [("box.f1", "percent"), ("counting_from_instances.mae", "objects"), ("errors.mask.both", "objects")],
)
def test_a_score_has_its_unit(path, unit):
    assert listed(path).unit.name == unit


def test_a_path_that_is_no_score_is_refused():
    with pytest.raises(KeyError, match="boxes"):
        listed("boxes.f1")


def test_values_are_written_in_their_unit():
    assert [PERCENT.text(value) for value in (1, 0.6383, 0, None)] == ["100.0", "63.8", "0.0", "-"]
    assert [PERCENT.text(value, signed=True) for value in (0.125, 0, -1)] == ["+12.5", "+0.0", "-100.0"]
    assert [OBJECTS.text(2.5), Unit.of_extra("m").text(2), Unit.of_extra(None).text(0.5)] == ["2.50", "2.00", "50.0"]


def test_a_lopsided_interval_is_worded_by_its_bounds():
    assert [PERCENT.sure(0.4, (0.386, 0.41)), PERCENT.sure(0.4, (0.384, 0.41))] == ["40.0 ±1.2", "40.0 (38.4 to 41.0)"]
    # ±11.9 would move the bounds by 0.9 of a point, ±12.0 by more than one
    assert [PERCENT.sure(0.4, (0.272, 0.51)), PERCENT.sure(0.4, (0.269, 0.51))] == ["40.0 ±11.9", "40.0 (26.9 to 51.0)"]
    assert PERCENT.sure(1.0, (0.61, 1.0)) == "100.0 (61.0 to 100.0)"
    assert PERCENT.sure(0.0, (0.0, 0.39)) == "0.0 (0.0 to 39.0)"
    assert PERCENT.sure(0.5, (0.49962, 0.5002)) == "50.0 ±0.0"  # both sides round to 0.0
    assert [PERCENT.interval(0.5, None), PERCENT.interval(None, (0, 1)), PERCENT.sure(None, None)] == ["", "", "-"]
    assert [OBJECTS.interval(2, (1, 3)), OBJECTS.interval(2, (0, 3))] == ["±1.00", "0.00 to 3.00"]
