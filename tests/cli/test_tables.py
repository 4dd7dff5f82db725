"""The table of results in the terminal."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from earthinstruct import Prediction, evaluate
from earthinstruct.metrics import RareCategories, Value, count_per_image
from earthinstruct.reporting.page import score_rows
from earthinstruct.results import (
    absent_rows,
    category_blocks,
    metric_intervals,
    metric_values,
    moved_values,
    print_blocks,
    result_blocks,
)


class Found:
    """How many instances an image has."""

    name = "found"
    unit = "objects [k]"

    def tally(self, truth, predicted):
        found = count_per_image(predicted.instances, *truth.shape)
        return {"found": found, "images": np.ones_like(found)}

    def score(self, sums):
        return sums["found"] / sums["images"]


class ByMasks(Found):
    """Undefined here."""

    name = "by-masks"
    unit = None

    def tally(self, truth, predicted):
        return predicted.no_masks_reason


def printed(results) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    print_blocks(result_blocks(results), console)
    return console.file.getvalue().splitlines()


def test_error_types_follow_the_scores(constant, dataset, tmp_path):
    settings = ("open_vocabulary", "open_ended")
    results = [evaluate(constant, dataset, setting=setting, output=tmp_path).results[0] for setting in settings]
    # (1, 1, 4, 4) in three images: the first ship; beside the second (IoU 4 / 76); nothing there
    lines = printed(results)
    costs = next(i for i, line in enumerate(lines) if line.startswith("cost "))
    rows = {line.split()[0]: line.split()[1:] for line in lines[:costs] if line}
    assert rows["errors"] == list(settings)
    assert rows["correct"] == ["1", "1"]
    assert rows["background"] == ["2", "2"]
    assert rows["missed"] == ["3", "3"]
    assert "duplicate" not in rows  # none
    # of ships, 1 of 3 predictions is right and 1 of 3 is found: F1 1/3, and 2/4 without the two others; 2 categories
    gained = {line.split()[0]: line.split()[1:] for line in lines[costs:] if line}
    assert gained["background"] == ["8.3", "8.3"]
    happened = replace(results[0], run=replace(results[0].run, events={"truncated replies": 2, "labels lost": 1}))
    assert "set/open_vocabulary: labels lost: 1, truncated replies: 2" in printed([happened])
    without = replace(results[0], metrics=replace(results[0].metrics, errors=None))
    assert not any(line.startswith("errors") for line in printed([without]))


def test_metric_plug_ins_are_shown_where_the_built_in_scores_are(constant, dataset, tmp_path):
    options = {"setting": "open_vocabulary", "output": tmp_path, "metric": [Found(), ByMasks()]}
    (result,) = evaluate(constant, dataset, **options).results
    lines = printed([result])
    at = next(i for i, line in enumerate(lines) if line.startswith("metric "))
    # one ship in each image, no harbor: (1 + 0) / 2; 1 without the image of the harbor. Two images have objects:
    # standard error root((2 - 1) / 2 x 0.5^2) = 0.354, times t = 12.706
    assert lines[at + 1].split() == ["found,", "objects", "[k]", "0.50"]
    assert lines[at + 2].split() == ["95", "%", "±4.49"]
    assert ["by-masks", "-"] in [line.split() for line in lines]
    reason = "the prediction of image 0 has no masks"
    assert f"set/open_vocabulary: no by-masks: {reason}" in lines
    rows = {row.name: row for row in score_rows(result.metrics)["metric plug-ins"]}
    assert rows["found, objects [k]"].value == "0.50"
    assert rows["by-masks"].reason == f"undefined: {reason}"
    assert dict(metric_values(result))["extra.found.per_category.ship"] == 1
    assert dict(metric_intervals(result))["extra.found.mean"] == pytest.approx((0.5 - 4.492, 0.5 + 4.492), abs=1e-3)
    (without,) = evaluate(constant, dataset, **options | {"metric": []}).results
    assert "extra.found.mean" in [moved.name for moved in moved_values(without, result)]


def test_rare_categories_are_named_with_the_scores_without_them(constant, dataset, tmp_path):
    (result,) = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path).results
    remark = "set/open_vocabulary: objects in fewer than 3 images, too few for a sure score: harbor, ship; "
    assert remark + "without them: no category is left" in printed_whole(result)
    without = {"box.f1": Value(0.5, (0.4, 0.61)), "box.ap_nc50": Value(0.25)}
    rare = RareCategories([f"kind {i}" for i in range(11)], without)
    lines = printed_whole(replace(result, metrics=replace(result.metrics, rare=rare)))
    named = ", ".join(f"kind {i}" for i in range(8))
    assert any(line.endswith(f"score: {named} and 3 more; without them: Box 50.0 ±10.5, APbox 25.0") for line in lines)


def test_what_is_not_there_is_shown_by_category(constant, dataset, tmp_path):
    constant.predict = lambda image, instruction: Prediction(labels=["ship"], points=[[2, 2]])
    (result,) = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path).results
    # one ship in each of three images: wrong in the last one, which has no ship. Two images have no harbor
    remark = r"counts a category that is not there in 50\.0 .* of the images \(ship 100\.0 %\); points at a category"
    assert any(re.search(remark, line) for line in printed_whole(result))
    headings, rows = absent_rows(result.metrics)
    assert headings == ["category", "images without it", "counts it, %", "95 %", "points at it, %", "95 %"]
    assert [row[:3] for row in rows] == [["ship", "1", "100.0"], ["harbor", "2", "0.0"]]
    console = io.StringIO()
    print_blocks(category_blocks([result]), Console(file=console, width=1000))
    printed = [line.split() for line in console.getvalue().splitlines()]
    assert all(" ".join(row).split() in printed for row in rows)
    (up_to,) = score_rows(result.metrics)["counting limits"]
    assert (up_to.name, up_to.value) == ("counts up to, objects", "-")


def test_one_image_has_no_interval_and_the_table_says_why(constant, dataset, tmp_path):
    (result,) = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path, limit=1).results
    lines = printed_whole(result)
    assert "set/open_vocabulary: no interval: fewer than 2 images have objects" in lines
    assert not any(line.split()[:2] == ["95", "%"] for line in lines)
    reasons = {row.name: row.reason for row in score_rows(result.metrics)["box"]}
    assert reasons["F1"] == "no interval: fewer than 2 images have objects"
    assert reasons["F1, mean of IoU 0.50 to 0.95"] == ""  # a page does not repeat it for all such scores
    assert result.metrics.box.f1_5095.reason == "no interval is computed for this score"


def printed_whole(result) -> list[str]:
    return str(result).splitlines()
