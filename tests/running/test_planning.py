"""A dry run says what a run would do, and does nothing of it."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from earthinstruct import Estimate, Prediction, Usage, dry_run, evaluate
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError


class Asks:
    """Asks a server for all but the first image; its tokens are the width of the image."""

    name = "asks"

    def __init__(self):
        self.predicted = 0

    def predict(self, image, instruction):
        self.predicted += 1
        return Prediction(usage=Usage(input_tokens=30, output_tokens=2))

    def estimate(self, image, instruction):
        kept = instruction.setting == "open_ended" and self.predicted == 0 and bool((image == image[0, 0]).all())
        return Estimate() if kept else Estimate(1, image.shape[1], 2000)

    def skip(self, task):
        return "no parents" if task.setting == "open_subclass" else None


def test_images_requests_and_tokens_before_and_after_a_part_of_the_run(dataset, tmp_path):
    method = Asks()
    output = tmp_path / "runs"
    planned = dry_run(method, dataset, output=output)
    assert [each.task.setting for each in planned.tasks] == ["open_vocabulary", "open_ended"]
    assert [(each.images, each.done) for each in planned.tasks] == [(3, 0), (3, 0)]
    assert planned.tasks[0].estimate == Estimate(3, 90, 6000)  # three images, 30 pixels wide
    flat = sum(bool((dataset.read_image(i) == dataset.read_image(i)[0, 0]).all()) for i in range(3))
    assert planned.tasks[1].estimate == Estimate(3 - flat, 90 - 30 * flat, 6000 - 2000 * flat)
    assert planned.estimate.requests == 6 - flat
    assert (len(planned.skipped), planned.skipped[0].reason) == (1, "no parents")
    assert planned.memory["this process"] > 1e6
    assert not output.exists()
    assert method.predicted == 0
    evaluate(method, dataset, setting="open_vocabulary", limit=3, output=output)
    (file,) = output.rglob("predictions.jsonl")
    lines = file.read_text().splitlines()
    failed = json.dumps({"image_id": json.loads(lines[1])["image_id"], "error": "no connection"})
    file.write_text(f"{lines[0]}\n{failed}\n{lines[2][:9]}")  # one answered, one failed, one torn
    before = sorted((path, path.read_bytes()) for path in output.rglob("*") if path.is_file())
    planned = dry_run(method, dataset, output=output)
    assert (planned.tasks[0].done, planned.tasks[0].estimate) == (1, Estimate(2, 60, 4000))
    assert dry_run(method, dataset, output=output, overwrite=True).tasks[0].done == 0
    assert dry_run(method, dataset, setting="open_vocabulary", output=output / "other", limit=2).tasks[0].images == 2
    assert sorted((path, path.read_bytes()) for path in output.rglob("*") if path.is_file()) == before
    assert method.predicted == 3


def test_what_a_limited_run_found_is_done(dataset, tmp_path):
    evaluate(Asks(), dataset, setting="open_vocabulary", limit=2, output=tmp_path / "runs")
    planned = dry_run(Asks(), dataset, setting="open_vocabulary", output=tmp_path / "runs")
    assert (planned.tasks[0].images, planned.tasks[0].done) == (3, 2)
    assert planned.tasks[0].estimate.requests == 1


def test_what_a_method_does_not_say_is_not_known(constant, dataset, tmp_path):
    planned = dry_run(constant, dataset, setting="open_ended", output=tmp_path)
    assert planned.tasks[0].estimate == Estimate(None, None, None)
    assert [line.split() for line in str(planned).splitlines()][2] == ["set/open_ended", "3", "0", "3", *"????"]


def test_the_seconds_of_all_are_the_sum_of_the_rows(constant, dataset, tmp_path):
    planned = dry_run(constant, dataset, output=tmp_path)
    tasks = tuple(replace(task, seconds=0.3) for task in planned.tasks)
    seconds = [line.split()[-1] for line in str(replace(planned, tasks=tasks)).splitlines()[2:6]]
    assert seconds == ["1", "1", "1", "3"]


def test_an_image_that_cannot_be_read_costs_nothing(dataset, tmp_path):
    (tmp_path / "set" / "images" / "b.png").write_bytes(b"nothing")
    assert dry_run(Asks(), dataset, setting="open_vocabulary", output=tmp_path).tasks[0].estimate.requests == 2


def test_it_is_refused_where_the_run_would_be(constant, dataset, tmp_path):
    evaluate(constant, dataset, setting="open_ended", output=tmp_path)
    constant.describe = lambda: {"version": "2"}
    with pytest.raises(EarthInstructError, match="holds the predictions of another run"):
        dry_run(constant, dataset, setting="open_ended", output=tmp_path)
    with pytest.raises(EarthInstructError, match="limit must be at least 1"):
        dry_run(constant, dataset, limit=0)


def test_on_the_command_line(dataset, tmp_path, capsys):
    file = tmp_path / "dry.json"
    command = ["evaluate", "--method", "oracle", "--dataset", str(tmp_path / "set" / "annotations.json"), "--dry-run"]
    assert main([*command, "--output", str(tmp_path / "runs"), "--workers", "2", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "nothing was sent, predicted or written" in out
    assert "memory: " in out
    rows = json.loads(file.read_text())
    assert rows[0] == {
        "task": "set/open_vocabulary",
        "images": 3,
        "done": 0,
        "requests": 0,  # a control asks nobody
        "input_tokens": 0,
        "output_tokens": 0,
    }
    assert not (tmp_path / "runs").exists()


def test_a_run_tells_its_tokens_so_far(dataset, tmp_path):
    told = []
    evaluate(
        Asks(),
        dataset,
        setting="open_ended",
        output=tmp_path,
        spent=lambda task, usage: told.append((task.setting, usage.input_tokens, usage.output_tokens)),
    )
    assert told == [("open_ended", 30, 2)] * 3
    assert np.array(told)[:, 1].astype(int).sum() == 90


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_images_and_tokens(dataset, tmp_path, capsys, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    (tmp_path / "pays.py").write_text(
        "from earthinstruct import Prediction, Usage\n\n\n"
        "class Pays:\n"
        '    name = "pays"\n\n'
        "    def predict(self, image, instruction):\n"
        "        return Prediction(usage=Usage(input_tokens=1000, output_tokens=2))\n"
    )
    command = ["evaluate", "--method", f"{tmp_path / 'pays.py'}:Pays", "--setting", "open_ended"]
    (tmp_path / "set" / "images" / "c.png").write_bytes(b"nothing")
    assert main([*command, "--dataset", str(tmp_path / "set/annotations.json"), "--output", str(tmp_path / "r")]) == 1
    shown = capsys.readouterr().err
    assert ("3/3" if terminal else "set/open_ended: 3 of 3, 1 failed, 2,004 tokens\n") in shown
    assert bool(re.search(r"\d:\d\d:\d\d", shown)) == terminal
    assert "1 failed, 2,004 tokens" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("given", "reason"), [(lambda: 1 / 0, "failed: ZeroDivisionError: division by zero"), (lambda: 3, "returned a int")]
)
def test_an_estimate_that_fails_is_named(dataset, tmp_path, given, reason):
    class Own(Asks):
        def estimate(self, image, instruction):
            return given()

    with pytest.raises(DataError, match=rf"method 'asks': estimate\(\) {reason}"):
        dry_run(Own(), dataset, setting="open_vocabulary", output=tmp_path)
