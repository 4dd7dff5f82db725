"""Metrics of others: those of the page that describes them, and everything that a plug-in can do wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.errors import EarthInstructError
from earthinstruct.files import as_json
from earthinstruct.metrics import STANDARD, Choice, Chunk, ExtraMetric, extra_metrics, measure, metrics_of
from earthinstruct.metrics.extra import MetricError
from earthinstruct.metrics.tally import compact
from earthinstruct.registry import PluginError

PAGE = Path(__file__).parents[2] / "docs" / "add-a-metric.md"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The classes of the page in one file."""
    path = tmp_path_factory.mktemp("metrics") / "mine.py"
    path.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)))
    return path


class Off:
    """How far counts are off."""

    name = "off"
    unit = "objects"

    def tally(self, truth, predicted):
        return {"off": predicted.counts - 2, "half": np.full(truth.shape, 0.5)}

    def score(self, sums):
        return sums["off"] * sums["half"]


def test_the_metrics_of_the_page_by_hand(build, file) -> None:
    truth = build.truth(
        build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 10, 10), (1, 0, 0, 0, 10, 10), (1, 1, 0, 20, 10, 10)])
    )
    found = build.instances([(0, 0, 0, 0, 10, 8), (1, 0, 0, 0, 10, 10), (2, 0, 0, 0, 10, 10), (1, 1, 20, 20, 5, 5)])
    predicted = build.predicted(found, truth)
    extra = extra_metrics([f"{file}:ExactCount", f"{file}:PanopticQuality"])
    exact, quality = measure(truth, predicted, extra=extra).extra.values()
    # a: 2 in image 0, found 1; 1 in image 1, found 1: 1 / 2. b: 1 in image 1, found 1: 1 / 1. c: nowhere
    assert [exact.per_category[name].value for name in "abc"] == [0.5, 1, None]
    assert exact.per_category["c"].reason == "no ground truth"
    assert (exact.mean.value, exact.groups) == (0.75, {"all": 0.75, "first": 0.5})
    assert exact.mean.ci95[0] < 0.75 < exact.mean.ci95[1]
    # a: 1 / 2; without one of its images 1 / 1 or 0: standard error root((2 - 1) / 2 x (0.5^2 + 0.5^2)) = 0.5, which is
    # that of 0.25 / 0.5^2 = 1 trial; t = 12.706: 0.5 ± 12.706 / (1 + 161.45) x root(0.25 + 161.45 / 4)
    assert exact.per_category["a"].ci95 == pytest.approx((0.5 - 0.4985, 0.5 + 0.4985), abs=1e-4)
    # a: IoU 80 / 100 and 1; 2 TP, 1 FP, 1 FN: 1.8 / (2 + 1). b: 0 / 1
    assert [quality.per_category[name].value for name in "ab"] == pytest.approx([0.6, 0])
    assert quality.unit is None


def test_a_plug_in_that_does_not_vary_has_no_interval(build) -> None:
    truth = build.truth(build.instances([(i, 0, 0, 0, 10, 10) for i in range(3)]))
    counted = build.predicted(build.instances([]), truth, np.full(truth.shape, 4))
    off = measure(truth, counted, extra=[ExtraMetric(Off())]).extra["off"].mean
    # sums of 2 and of 1 / 2 over 3 images: 6 x 1.5; over 2 images 4 x 1, so that it varies
    assert (off.value, off.ci95 is None) == (9, False)

    class Same(Off):
        def score(self, sums):
            return sums["off"] / sums["targets"]

    same = measure(truth, counted, extra=[ExtraMetric(Same())]).extra["off"].mean
    assert (same.value, same.ci95) == (2, None)
    assert same.reason == "no interval: fewer than 2 images have objects, or all images give the same"


def test_a_score_that_needs_masks_is_undefined_without_them(build, file) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    predicted = build.predicted(build.instances([(0, 0, 0, 0, 10, 10)], masks=False), truth)
    quality = measure(truth, predicted, extra=extra_metrics([f"{file}:PanopticQuality"])).extra["panoptic-quality"]
    assert (quality.mean.value, quality.mean.reason, quality.groups) == (None, "no masks", {})


def test_without_metrics_nothing_is_added(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    assert b"extra" not in as_json(measure(truth, build.predicted(build.instances([]), truth)))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=settings().max_examples // 10)
def test_chunks_score_as_the_whole(build, file, seed) -> None:
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 20))
    predicted = build.predicted(build.random(generator, 20, scores=True), truth, generator.integers(0, 5, (3, 3)))
    extra = (*extra_metrics([f"{file}:ExactCount", f"{file}:PanopticQuality"]), ExtraMetric(Off()))
    whole = measure(truth, predicted, extra=extra)

    def only(instances, image):
        part = instances.take(instances.image == image)
        return replace(part, image=part.image - image)

    chunks = [
        Chunk.of(
            replace(truth, images=truth.images[i : i + 1], instances=only(truth.instances, i)),
            replace(
                predicted,
                instances=only(predicted.instances, i),
                counts=predicted.counts[i : i + 1],
                has_counts=predicted.has_counts[i : i + 1],
            ),
            STANDARD,
            threshold=None,
            any_counts=True,
            extra=extra,
        )
        for i in range(3)
    ]
    found = metrics_of(Chunk.join(chunks, extra), truth.groups, STANDARD, Choice(), no_masks_reason=None, extra=extra)
    assert as_json(found) == as_json(whole)


def test_after_a_sweep_only_what_reaches_the_threshold_is_given(build, file) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    found = build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 20, 20, 10, 10)], scores=[0.9, 0.1])
    extra = extra_metrics([f"{file}:ExactCount"])
    unswept, swept = (
        measure(truth, build.predicted(found, truth), sweep=sweep, extra=extra).extra["exact-count"].mean.value
        for sweep in (False, True)
    )
    assert (unswept, swept) == (0, 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "tally.. returned NoneType; expected column name -> numbers"),
        ({}, r"tally.. returned \[\]; expected"),
        ({"targets": np.zeros((3, 3))}, r"returned \['targets'\]; expected .* without 'targets', which is added"),
        ({"n": np.zeros(3)}, r"column 'n' has shape \(3,\); expected \(3, 3\), \(images, categories\)"),
        ({"n": [[1], [1, 2]]}, "column 'n' is not an array of numbers"),
        ({"n": np.full((3, 3), "x")}, "column 'n' is an array of <U1; expected numbers"),
        ({"n": np.full((3, 3), np.nan)}, "column 'n' is nan of an image of category 'a'; expected finite"),
    ],
)
def test_a_tally_that_is_none_is_an_error_that_names_it(build, columns, message) -> None:
    refused(build, message, tally=lambda truth, predicted: columns)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda sums: None, "score.. is an array of object; expected numbers"),
        (lambda sums: sums["half"].sum(), r"of shape \(3,\) and returned shape \(\); expected the same shape"),
        # right for all images, wrong for the sums without each image
        (lambda sums: sums["half"].reshape(-1)[:3], r"of shape \(3, 3\) and returned shape \(3,\)"),
        (lambda sums: sums["half"] / 0, "score.. is inf for category 'a'; expected finite numbers"),
        (lambda sums: sums["none"], r"score.. raised KeyError: 'none' \(test_extra.py, line \d+\)"),
    ],
)
def test_a_score_that_is_none_is_an_error_that_names_it(build, score, message) -> None:
    refused(build, message, score=score)


def refused(build, message, **members) -> None:
    metric = Off()
    for name, member in members.items():
        setattr(metric, name, member)
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    with pytest.raises(MetricError, match=f"metric 'off': .*{message}"):
        measure(truth, build.predicted(build.instances([]), truth), extra=[ExtraMetric(metric)])


def test_columns_are_the_same_for_all_images(build) -> None:
    truth = build.truth(build.instances([]))
    extra = ExtraMetric(Off())
    tally = extra.tally(truth, build.predicted(build.instances([]), truth))
    with pytest.raises(
        MetricError, match=r"metric 'off': .*columns off, half, targets for some images, and off, targets"
    ):
        extra.join([tally, replace(tally, columns={name: tally.columns[name] for name in ("off", "targets")})])
    assert extra.join([tally, "no masks"]) == "no masks"


def test_integers_are_kept_small_whatever_their_sign() -> None:
    for low, high, kept in ((-128, 127, "int8"), (-129, 0, "int16"), (0, 128, "int16"), (0, 0, "int8")):
        column = np.array([low, high])
        assert (compact(column).dtype, compact(column).tolist()) == (kept, [low, high])


def test_a_metric_is_found_in_a_module_and_in_a_file(file, monkeypatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    assert extra_metrics("mine:ExactCount")[0].name == "exact-count"
    with pytest.raises(PluginError, match="metric 'no_such_module:Thing' cannot be loaded: ModuleNotFoundError"):
        extra_metrics("no_such_module:Thing")
    with pytest.raises(PluginError, match=r"metric 'exact-count' has no class; give package\.module:Class"):
        extra_metrics("exact-count")
    with pytest.raises(PluginError, match="metric 'exact-count' is given twice"):
        extra_metrics(["mine:ExactCount", f"{file}:ExactCount"])


def test_what_is_no_metric_says_so(tmp_path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("class Needs:\n    def __init__(self, size): ...\nclass Bare: ...\n")
    for name, message in (
        ("Needs", "cannot be created: TypeError"),
        ("Bare", "has no `name`, `tally.truth, predicted.` and `score.sums.`"),
        ("Bear", "did you mean 'Bare'"),
    ):
        with pytest.raises(EarthInstructError, match=message):
            extra_metrics(f"{file}:{name}")
    with pytest.raises(PluginError, match=r"metric file .*none\.py does not exist"):
        extra_metrics(f"{tmp_path}/none.py:Thing")
    assert extra_metrics(Off)[0].name == "off"
    metric = Off()
    metric.unit = 3
    with pytest.raises(PluginError, match="metric Off has the unit 3; expected text"):
        extra_metrics(metric)
    metric.name = "../off"
    with pytest.raises(PluginError, match=r"metric Off has the name '\.\./off'; expected letters"):
        extra_metrics(metric)
