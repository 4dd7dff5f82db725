"""A result that contradicts itself is refused in words, wherever it is read."""

import copy
import json
import os
import random
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from earthinstruct import Prediction, Proposals, compare, evaluate, validate
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.regions import encode_mask
from earthinstruct.reporting import report
from earthinstruct.results import Result, check, read_result
from earthinstruct.results.rules import contradiction

MUTATIONS = max(20, int(os.environ.get("EARTHINSTRUCT_FUZZ", "0")) // 100)


COUNT_BIAS = f"{Path(__file__).parents[1]}/plugin_fixture/src/bright_spots/count_bias.py:CountBias"


class Everything:
    """A method whose result has every section."""

    name = "everything"

    def predict(self, image, instruction):
        mask = image[:, :, 0] >= 0
        return Prediction(
            labels=["ship", "a boat"],
            boxes=[[1, 1, 4, 4], [10, 2, 5, 5]],
            masks=[encode_mask(mask)] * 2,
            scores=[0.9, 0.4],
            counts={"ship": 2},
            proposals=Proposals(boxes=np.array([[1, 1, 4, 4], [3, 3, 8, 8]])),
        )


@pytest.fixture
def run(dataset, tmp_path):
    """A run folder, and its result as JSON."""
    options = {"sweep": True, "metric": COUNT_BIAS, "slice_by": "n_objects"}
    done = evaluate(Everything(), dataset, setting="open_ended", output=tmp_path / "runs", **options)
    return done.folders[0], json.loads((done.folders[0] / "result.json").read_text())


def write(run, changed):
    (run[0] / "result.json").write_text(json.dumps(changed))


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("run.n_done", 4, "4 images are done and 0 failed, of 3"),
        ("run.failed", {"0": "lost"}, "0 images failed, and 1 has a reason"),
        ("run.input_tokens", -1, r"run\.input_tokens is -1"),
        ("metrics.box.f1.value", 1.5, r"metrics\.box\.f1\.value is 1\.5; expected a number from 0 to 1"),
        (
            "metrics.counting.mae.value",
            1e308,
            r"metrics\.counting\.mae\.value is 1e\+308; expected a number from 0 to 1e\+12",
        ),
        ("metrics.box.f1.value", None, r"metrics\.box\.f1\.ci95 is an interval without a value"),
        ("metrics.box.f1.ci95", [0.9, 0.1], r"metrics\.box\.f1\.ci95 is 0\.9 to 0\.1; expected .* inside"),
        (
            "metrics.box.groups_ci95",
            {"transport": {"f1": [0.9, 1.0]}},
            r"metrics\.box\.groups_ci95\.transport\.f1 is 0\.9 to 1; expected .* inside",
        ),
        (
            "metrics.box.per_category",
            {},
            r"metrics\.box\.per_category and metrics\.box\.tally are of different categories",
        ),
        ("metrics.box.tally.ship.tp", 99, r"metrics\.box\.per_category and metrics\.box\.tally differ for 'ship'"),
        ("metrics.box.f1_at_iou", {"Infinity": 0.5}, r"metrics\.box\.f1_at_iou has the threshold 'Infinity'"),
        ("metrics.box.groups.all.f1", 2.0, r"metrics\.box\.groups\.all\.f1 is 2"),
        ("metrics.box.by_size.small.n_objects", 7, r"metrics\.box\.by_size\.\*\.n_objects add up to another number"),
        ("metrics.box.calibration.bins", [], r"metrics\.box\.calibration\.bins has 0 entries; expected 10"),
        ("metrics.box.micro_f1.value", 0.9, r"metrics\.box\.micro_f1\.value is 0\.9; its counts give 0\."),
        ("metrics.box.hallucinated.value", 0.9, r"metrics\.box\.hallucinated\.ci95 is .*; expected 0\.9 inside"),
        ("metrics.costs.box.missed.value", 0.9, r"metrics\.costs\.box\.missed\.value is 0\.9; the errors give 0\."),
        (
            "metrics.proposals.at.10",
            0.9,
            r"metrics\.proposals\.at: the recall of 50 proposals is .*, and that of fewer is",
        ),
        (
            "metrics.extra.count-bias.mean.value",
            9.0,
            r"metrics\.extra\.count-bias\.mean\.value is 9; its categories give",
        ),
        (
            "metrics.counting_limits.never_passes",
            True,
            r"metrics\.counting_limits\.never_passes is True; its bands give",
        ),
        ("metrics.counting_limits.by_size", {}, r"metrics\.counting_limits\.by_size\.\*\.tp add up to 0; expected"),
        ("metrics.slices.n_objects", [], r"metrics\.slices\.n_objects\[\*\]\.n_images add up to another number than 3"),
        ("metrics.threshold", 0.5, r"metrics\.threshold and metrics\.sweep are both given"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(run, place, value, problem):
    *path, last = place.split(".")
    part = run[1]
    for key in path:
        part = part[key]
    part[last] = value
    write(run, run[1])
    with pytest.raises(DataError, match=rf"result\.json contradicts itself: {problem}.*; score its predictions again"):
        read_result(run[0] / "result.json")


def test_a_label_map_that_lacks_a_label_is_refused_by_the_report(run, dataset, tmp_path):
    pytest.importorskip("jinja2")
    write(run, run[1] | {"label_map": {}})
    with pytest.raises(DataError, match=r"contradicts its predictions: its label map lacks the label '(a boat|ship)'"):
        report(run[0], tmp_path / "page.html", dataset=dataset)


def places(value, path=()):
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*path, key))


def get(value, path):
    for step in path:
        value = value[step]
    return value


# numbers that follow from nothing else in the file: only their range is checked
FREE = re.compile(
    r".*ci95.*|.*\.groups\.transport.*|.*\.rmse|errors\.\w+\.unscored|adherence.*|slices\..*\.scores\..*"
    r"|\w+\.by_size\.\w+\.(precision|recall|f1|ap)\..*|proposals\.(mask\.)?(n_proposals|at\..*|by_size\..*)"
    r"|\w+\.calibration\.bins\.\d+\.n"  # after a sweep, the bins have other predictions than the scores
    r"|sweep\.curve\.\d+\.(precision|recall|f1|threshold)"
)


def test_each_number_of_the_metrics_is_checked(run):
    """By its range and, where it follows from others, by these."""
    metrics, nudged = run[1]["metrics"], 0

    def problem(path, other):
        part, before = get(metrics, path[:-1]), get(metrics, path)
        part[path[-1]] = other
        found = contradiction(msgspec.convert(run[1], Result)) or ""
        part[path[-1]] = before
        return found

    for path in places(metrics):
        value, where = get(metrics, path), ".".join(map(str, path))
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        anything = where.startswith("extra.") or ".scores.extra." in where or where.endswith("threshold")
        impossible = [-1] if isinstance(value, int) else [1e308, -1e308 if anything else -0.5]
        for other in impossible:
            assert problem(path, other).startswith("metrics."), where
        if not FREE.fullmatch(where):
            step = 1 if isinstance(value, int) else 0.003 if value < 0.9 else -0.003
            assert problem(path, value + step).startswith("metrics."), where
            nudged += 1
    assert nudged > 200


def mutate(result, generator):
    """Change a value, or a key, in any place of a result."""
    *path, key = generator.choice(list(places(result)))
    part = result
    for step in path:
        part = part[step]
    value, how = part[key], generator.randrange(4)
    if how == 0 and isinstance(part, dict):
        part[generator.choice(["Infinity", "nan", "", "x", "1e999", "\x1b[31m", "0.123"])] = part.pop(key)
    elif how == 1:
        del part[key]
    elif how == 2 and isinstance(value, int | float) and not isinstance(value, bool):
        part[key] = generator.choice([value + 1, value - 1, -value, value * 1e9, value / 3])
    else:
        part[key] = generator.choice([None, -1, 0, 2**62, 10**30, 1e308, -1e308, 5e-324, "", "x", [], {}, 1.5, True])


def test_whatever_a_result_says_it_is_shown_or_refused_in_words(run, dataset, tmp_path):
    pytest.importorskip("jinja2")
    generator = random.Random(1)
    folder, _ = run
    options = {
        "sweep": True,
        "metric": COUNT_BIAS,
        "slice_by": "n_objects",
        "wordings": 1,
        "repeats": 2,
        "blind": "grey",
    }
    evaluate(Everything(), dataset, setting="open_ended", output=tmp_path / "runs", **options)
    whole = json.loads((folder / "result.json").read_text())
    assert set(whole["variants"]) == {"wordings", "repeats", "blind"}
    other = evaluate(Everything(), dataset, setting="open_ended", output=tmp_path / "other", sweep=True)
    found = {"shown": 0, "refused": 0, "not validated": 0}
    for _ in range(MUTATIONS):
        changed = copy.deepcopy(whole)
        for _ in range(generator.choice([1, 1, 2])):
            mutate(changed, generator)
        write(run, changed)
        try:
            result = read_result(folder / "result.json")
            assert str(result)
            assert len(result.to_pandas())
            report(folder, tmp_path / "page.html", dataset=dataset)
            compare(other.folders[0], folder, dataset=dataset)
            check(folder, other.folders[0] / "result.json")
            found["shown"] += 1
        except EarthInstructError:
            found["refused"] += 1
        try:
            assert validate(folder, dataset=dataset.image_root.parent / "annotations.json")
        except EarthInstructError:
            found["not validated"] += 1
    assert found["shown"]
    assert found["refused"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"joined": [{"bands": ["2-5"]}]}, r"joined has the bands 2-5; expected those with objects, in order"),
        (
            {"joined": [{"relative_error": {"value": 0.2}}]},
            r"joined\[0\]\.relative_error\.value is 0\.2; its counts give 0",
        ),
        ({"counts_up_to": {"value": 0.5}}, r"counts_up_to\.value is 0\.5; its bands give 1"),
        ({"never_passes": False}, r"never_passes is False; its bands give True"),
    ],
)
def test_the_number_up_to_which_a_method_counts_follows_from_joined_bands(
    coco, write_coco, constant, tmp_path, changed, problem
):
    """Twenty images of one ship, which is counted in each."""
    one = coco["annotations"][3]
    coco["images"] = [coco["images"][0] | {"id": i, "file_name": f"{i}.png"} for i in range(20)]
    coco["annotations"] = [one | {"id": i, "image_id": i} for i in range(20)]
    (folder,) = evaluate(constant, write_coco(coco), setting="open_vocabulary", output=tmp_path).folders
    content = json.loads((folder / "result.json").read_text())
    limits = content["metrics"]["counting_limits"]
    assert (limits["counts_up_to"]["value"], limits["never_passes"]) == (1, True)
    for name, value in changed.items():
        if name == "joined":
            limits[name][0] |= value[0]
        elif isinstance(value, dict):
            limits[name] |= value | {"ci95": None}
        else:
            limits[name] = value
    write((folder,), content)
    with pytest.raises(DataError, match=rf"metrics\.counting_limits\.{problem}"):
        read_result(folder / "result.json")
