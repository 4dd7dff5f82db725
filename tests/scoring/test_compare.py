import json
import re
from pathlib import Path

import pytest

from earthinstruct import Prediction, evaluate, score
from earthinstruct.cli import main
from earthinstruct.errors import DataError
from earthinstruct.scoring import compare

COUNT_BIAS = f"{Path(__file__).parents[1]}/plugin_fixture/src/bright_spots/count_bias.py:CountBias"


@pytest.fixture
def runs(constant, dataset, tmp_path):
    """Two runs of one task: one ship in each image, and nothing anywhere."""
    first = evaluate(constant, dataset, setting="open_ended", output=tmp_path).folders[0]
    constant.name, constant.predict = "nothing", lambda image, instruction: Prediction()
    second = evaluate(constant, dataset, setting="open_ended", output=tmp_path).folders[0]
    return first, second


def test_the_difference_is_that_of_the_scores(runs, dataset):
    found = {(row.score, row.over): row.difference for row in compare(*runs, dataset=dataset)}
    # counting, ship: tp 2, fp 1, fn 1, so F1 4 / 6; nothing found: 0
    assert found["counting.f1", "ship"].value == pytest.approx(-4 / 6)
    assert found["counting.f1", "all"].value == pytest.approx(-2 / 6)
    low, high = found["counting.f1", "ship"].ci95
    assert -1 <= low <= -4 / 6 <= high
    assert ("mask.f1", "all") not in found
    assert found["box.ap_nc50", "all"].second == 0
    # one or two of three ships are found; then three are missed
    assert found["errors.box.correct", "all"].value == -found["errors.box.correct", "all"].first < 0
    assert found["errors.box.missed", "ship"].second == found["errors.counting.under", "ship"].second == 3


def test_what_is_named_though_it_is_not_there_is_compared(runs, dataset):
    found = {(row.score, row.over): row.difference for row in compare(*runs, dataset=dataset)}
    # one ship in each image: wrong in the last one of three, which has none. No image has all categories
    for how in ("counted", "drawn"):
        ships, both = found[f"absent.{how}.share", "ship"], found[f"absent.{how}.share", "all"]
        assert (ships.first, ships.second) == (1, 0)
        assert (both.first, both.second, both.value) == (pytest.approx(1 / 2), 0, pytest.approx(-1 / 2))
        assert (found[f"absent.{how}.share", "harbor"].value, both.p) == (0, 1)  # one image differs


def test_a_metric_plug_in_is_compared(runs, dataset, tmp_path, capsys):
    found = {(row.score, row.over): row.difference for row in compare(*runs, dataset=dataset, metric=COUNT_BIAS)}
    # ships 2, 1, 0: counted 1, 1, 1 and 0, 0, 0. Harbors 1, 0, 0: counted 0 by both
    ships, both = found["extra.count-bias.mean", "ship"], found["extra.count-bias.mean", "all"]
    assert (ships.first, ships.second) == (0, -1)
    assert (both.first, both.second) == pytest.approx((-1 / 6, -4 / 6))
    arguments = ["compare", *map(str, runs), "--dataset", str(tmp_path / "set" / "annotations.json")]
    assert main([*arguments, "--metric", COUNT_BIAS]) == 0
    assert "count-bias" in capsys.readouterr().out


def test_a_run_does_not_differ_from_itself(runs, dataset):
    assert all(row.difference.value == 0 for row in compare(runs[0], runs[0], dataset=dataset))
    assert all(row.difference.p == 1 for row in compare(runs[0], runs[0], dataset=dataset))


def test_runs_of_other_tasks_do_not_compare(runs, constant, dataset, tmp_path):
    other = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path).folders[0]
    with pytest.raises(DataError, match="task 'set/open_ended' against 'set/open_vocabulary'"):
        compare(runs[0], other, dataset=dataset)


def test_predictions_that_are_not_those_of_the_result_do_not_compare(runs, dataset):
    (runs[1] / "tallies.npz").unlink()
    file = runs[1] / "predictions.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"labels":[]', b'"labels": []') + b'{"image_id":5}\n')
    with pytest.raises(DataError, match=r"predictions\.jsonl has changed since it was scored; score it again"):
        compare(*runs, dataset=dataset)
    file.unlink()
    with pytest.raises(DataError, match=r"has no predictions\.jsonl"):
        compare(*runs, dataset=dataset)


def test_the_command_prints_a_table_and_writes_every_difference(runs, dataset, tmp_path, capsys):
    file = str(tmp_path / "set" / "annotations.json")
    arguments = ["compare", *map(str, runs), "--dataset", file, "--json", str(tmp_path / "d.json")]
    assert main([*arguments, "--all"]) == 0
    printed = capsys.readouterr().out
    assert "counting.f1" in printed
    assert "box.missed" in printed
    assert printed.index(" all ") < printed.index(" ship ")
    (why,) = [line for line in printed.splitlines() if line.startswith("-: ")]  # one line for all of its reasons
    assert why.count("no interval") == 1 and "; or " in why
    rows = json.loads((tmp_path / "d.json").read_text())
    assert {row["score"] for row in rows} >= {"counting.f1", "box.f1", "box.precision", "errors.box.background"}
    groups = {row["over"]: row["is_group"] for row in rows}
    assert groups == {"all": True, "transport": True, "ship": False, "harbor": False}
    assert list(rows[0]) == list(compare(*runs, dataset=dataset).to_pandas().columns)
    assert {"first_score", "second_score", "difference", "low", "high", "p", "p_is_bound", "reason"} < set(rows[0])


@pytest.fixture
def sure_runs(tmp_path):
    """Runs over ten images, each with a ship and a harbor; the second finds every ship, the first in one image."""
    return few_and_all(tmp_path, "ship")


def few_and_all(tmp_path, ship):
    images = [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 20} for i in range(10)]
    boxes = {1: [1, 1, 4, 4], 2: [10, 10, 5, 5]}
    objects = [(i, category, box) for i in range(10) for category, box in boxes.items()]
    coco = {
        "images": images,
        "categories": [{"id": 1, "name": ship}, {"id": 2, "name": "harbor"}],
        "annotations": [
            {"id": k, "image_id": i, "category_id": category, "bbox": box}
            for k, (i, category, box) in enumerate(objects)
        ],
    }
    file = tmp_path / "gt.json"
    file.write_text(json.dumps(coco))
    folders = []
    for name, found in (("few", 1), ("all", 10)):
        results = [{"image_id": i, "category_id": 1, "bbox": boxes[1], "score": 1.0} for i in range(found)]
        predictions = tmp_path / f"{name}.json"
        predictions.write_text(json.dumps(results))
        score(predictions, file, "open_vocabulary", output=tmp_path / "runs", kept=folders.append)
    return folders


def test_the_verdict_comes_first_in_words(sure_runs, runs):
    lines = str(compare(*sure_runs)).splitlines()
    # ship: F1 2 / 11, then 1, and harbor 0: (1 - 2 / 11) / 2 = 0.409. Nine images differ, to one side: 2 of 2^9 flips
    rows = [
        row for row in compare(*sure_runs) if row.is_group and row.score in ("counting.f1", "box.f1", "box.ap_nc50")
    ]
    assert [row.difference.p for row in rows] == [2 / 2**9] * len(rows)
    corrected = len(rows) * 2 / 2**9
    assert [row.difference.p_corrected for row in rows] == [corrected] * len(rows)
    low, high = (100 * bound for bound in rows[0].difference.ci95)
    words = f"by 40.9 points ({low:.1f} to {high:.1f}), p = {corrected:.3f}"
    assert lines[0] == f"B counts better than A {words}; B finds better boxes than A {words}."
    named = compare(*sure_runs).verdict_named(("few", "all"))
    assert named == f"all counts better than few {words}; all finds better boxes than few {words}."
    turned = str(compare(*sure_runs[::-1])).splitlines()[0]
    assert turned == f"A counts better than B {words}; A finds better boxes than B {words}."
    # p is 2 / 2^3 at least, times six rows (three scores, two groups) is above 1
    assert str(compare(*runs)).splitlines()[0] == (
        "counting: no difference shown; boxes: no difference shown. "
        "No difference can be shown: with 3 images that differ, no corrected p-value is below 1."
    )


def few_and_all_ships(tmp_path, few_images, found):
    """Runs over some images with a ship each: one finds ships in the first images, one finds all and a wrong one."""
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 20} for i in range(few_images)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in range(few_images)],
    }
    (tmp_path / "ships.json").write_text(json.dumps(coco))
    folders = []
    wrong = {"image_id": 0, "category_id": 1, "bbox": [10, 10, 4, 4], "score": 0.5}
    for name, images, more in (("few", found, []), ("every", few_images, [wrong])):
        boxes = [{"image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4], "score": 0.5} for i in range(images)]
        boxes += more
        (tmp_path / f"{name}.json").write_text(json.dumps(boxes))
        score(
            tmp_path / f"{name}.json",
            tmp_path / "ships.json",
            "open_vocabulary",
            output=tmp_path / "runs",
            kept=folders.append,
        )
    return folders


def test_it_is_said_that_too_few_images_differ_to_show_a_difference(tmp_path):
    compared = compare(*few_and_all_ships(tmp_path, 6, 1))
    # all six images differ, the first one the other way: 4 of 2^6 flips; at best 2 of them, times three headline scores
    off = next(row.difference for row in compared if (row.score, row.over, row.is_group) == ("box.f1", "all", True))
    assert (off.n_differing, off.p, off.least_p) == (6, 4 / 2**6, 2 / 2**6)
    assert (off.least_corrected, off.can_be_shown) == (3 * 2 / 2**6, False)
    sentence = "No difference can be shown: with 6 images that differ, no corrected p-value is below 0.0938."
    assert compared.verdict.endswith(sentence)
    # as bold would read as "equally good", only the best run is
    assert compared.side_by_side.best == ((False,) * 3, (True,) * 3)
    remark = "Too few images differ to show a difference from the best run in Cnt F1, Box F1, AP_nc box: few."
    assert remark in compared.side_by_side.remarks
    assert sentence in compared.to_markdown() and sentence in compared.to_latex()


def test_a_difference_whose_interval_holds_no_0_does_not_read_as_equal(tmp_path):
    compared = compare(*few_and_all_ships(tmp_path, 4, 0))
    off = next(row.difference for row in compared if (row.score, row.over, row.is_group) == ("box.f1", "all", True))
    assert off.ci95[0] > 0 and off.p == 2 / 2**4  # F1 0 and 8 / 9
    assert "; boxes: no difference shown, although B scores higher by 88.9 points (" in compared.verdict


def test_the_command_leaves_out_categories_without_a_difference(sure_runs, tmp_path, capsys):
    arguments = ["compare", *map(str, sure_runs), "--json", str(tmp_path / "d.json")]
    assert main(arguments) == 0
    printed, complete = capsys.readouterr().out, (tmp_path / "d.json").read_bytes()
    assert printed.count(" ship ") == 3  # counting F1, box F1, AP_nc
    assert " harbor " not in printed
    assert re.search(
        r"left out: \d+ rows of groups, categories, micro F1 and error types without a difference", printed
    )

    assert main([*arguments, "--all"]) == 0
    printed = capsys.readouterr().out
    assert (printed.count(" ship "), printed.count(" harbor ")) == (3, 3)
    assert "left out" not in printed
    assert (tmp_path / "d.json").read_bytes() == complete


def test_up_to_how_many_objects_each_run_counts_stands_beside(sure_runs):
    compared = compare(*sure_runs)
    path, values = "counting_limits.counts_up_to", compared.side_by_side.beside["counting_limits.counts_up_to"]
    assert [value.value for value in values] == [0, 0]  # 19 and 10 of 20 objects are missed
    (row,) = (row for row in compared.records() if row["score"] == path)
    assert (row["first_score"], row["second_score"]) == tuple(value.value for value in values)
    assert (row["difference"], row["p"], row["reason"]) == (None, None, "not tested: shown for each run alone")
    (line,) = (block for block in compared.blocks() if str(block).startswith("counts up to, objects, not tested: A "))
    assert f"B {values[1].value:.0f}" in line


def test_each_table_is_corrected_for_its_rows(sure_runs):
    rows = compare(*sure_runs)
    single = [row for row in rows if not row.is_group and row.score in ("counting.f1", "box.f1", "box.ap_nc50")]
    corrected = {(row.over, row.difference.p): row.difference.p_corrected for row in single}
    assert corrected == {("ship", 2 / 2**9): 6 * 2 / 2**9, ("harbor", 1): 1}
    frame = rows.to_pandas()
    frame = frame[frame.reason != "not tested: shown for each run alone"]
    assert (frame.p <= frame.p_corrected).all()


def test_a_category_named_all_is_no_group(sure_runs, tmp_path):
    (tmp_path / "named").mkdir()
    named = compare(*few_and_all(tmp_path / "named", "all"))
    corrected = [[row.difference.p_corrected for row in rows if row.is_group] for rows in (compare(*sure_runs), named)]
    assert corrected[0] == corrected[1]


def test_one_image_has_no_verdict(constant, tmp_path, sure_runs):
    coco = json.loads((tmp_path / "gt.json").read_text())
    coco["images"] = coco["images"][:1]
    coco["annotations"] = coco["annotations"][:2]
    (tmp_path / "one.json").write_text(json.dumps(coco))
    folders = []
    for name, results in (("nothing", []), ("ship", [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4]}])):
        predictions = tmp_path / f"{name}.json"
        predictions.write_text(json.dumps(results))
        score(predictions, tmp_path / "one.json", "open_vocabulary", output=tmp_path / "runs", kept=folders.append)
    compared = compare(*folders)
    assert str(compared).splitlines()[0] == "No verdict: one image: no p-value and no interval can be given."
    assert all(row.difference.p is None and row.difference.ci95 is None for row in compared)
    assert compared.to_pandas().p.isna().all()


def test_predictions_in_categories_without_ground_truth_are_compared(tmp_path):
    """Ten images with a ship each; the second run also draws a plane in each: 10 of its 20 boxes, F1 20 / 30."""
    ship, plane = [1, 1, 4, 4], [10, 10, 5, 5]
    file = tmp_path / "gt.json"
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 20} for i in range(10)],
        "categories": [{"id": 1, "name": "ship"}, {"id": 2, "name": "plane"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": ship} for i in range(10)],
    }
    file.write_text(json.dumps(coco))
    folders = []
    for name, boxes in (("clean", {1: ship}), ("planes", {1: ship, 2: plane}), ("nothing", {})):
        found = [
            {"image_id": i, "category_id": category, "bbox": box} for i in range(10) for category, box in boxes.items()
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
        score(tmp_path / f"{name}.json", file, "open_vocabulary", output=tmp_path / "runs", kept=folders.append)
    clean, planes, nothing = folders
    compared = compare(clean, planes)
    off = {row.score: row.difference for row in compared if row.is_group}
    assert off["box.f1"].value == 0
    for geometry in ("counting", "box"):
        assert (off[f"{geometry}.hallucinated"].first, off[f"{geometry}.hallucinated"].second) == (0, 0.5)
        assert (off[f"{geometry}.micro_f1"].first, off[f"{geometry}.micro_f1"].second) == (1, 20 / 30)
    p = 2 / 2**10  # all images differ, to one side
    four = [off[f"{geometry}.{name}"] for geometry in ("counting", "box") for name in ("micro_f1", "hallucinated")]
    assert [(one.p, one.p_corrected) for one in four] == [(p, 4 * p)] * 4
    verdict, *lines = str(compared).splitlines()
    assert verdict == (
        "counting: no difference shown; boxes: no difference shown; "
        "more of the counts of B than of A are in categories without ground truth, by 50.0 points, p = 0.008; "
        "more of the boxes of B than of A are in categories without ground truth, by 50.0 points, p = 0.008."
    )
    assert ["box.hallucinated", "all", "0.0", "50.0", "+50.0", "-", "*0.008"] in [line.split() for line in lines]
    remark = (
        "In categories without ground truth, planes has 50.0 % of the counts (micro F1 66.7) and 50.0 % of the boxes"
    )
    assert remark in compared.to_markdown()
    assert remark in " ".join(str(compare(clean, planes, nothing)).split())

    unlike = compare(nothing, clean)
    assert "box.hallucinated: it is undefined for A (no predictions)" in str(unlike)
    scores = {row.score for row in unlike}
    assert "box.micro_f1" in scores
    assert "box.hallucinated" not in scores
    assert not [line for line in str(compare(clean, clean)).splitlines() if line.startswith("box.micro_f1")]
