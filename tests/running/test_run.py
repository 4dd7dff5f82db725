import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import zstandard

from earthinstruct import Prediction, Proposals, Usage, evaluate, load_dataset, score
from earthinstruct.contract import PredictionError, check_prediction
from earthinstruct.errors import ContractError, EarthInstructError
from earthinstruct.predictions import Record
from earthinstruct.predictions.file import StoredRecords
from earthinstruct.tasks import NWPU, tasks_of

SETTING = "open_ended"


def run(method, dataset, tmp_path, **options):
    return evaluate(method, dataset, setting=SETTING, output=tmp_path / "runs", **options)


def lines(evaluation):
    return (evaluation.folders[0] / "predictions.jsonl").read_text().splitlines()


def test_a_run_is_kept_scored_and_scored_again(constant, dataset, tmp_path):
    evaluation = run(constant, dataset, tmp_path)
    folder = evaluation.folders[0]
    assert folder == tmp_path / "runs" / "set" / SETTING / "constant"
    files = ["predictions.jsonl", "result.json", "run.json", "suspects.json", "tallies.npz"]
    assert sorted(path.name for path in folder.iterdir()) == files
    result = evaluation.results[0]
    # ship: predicted 1, 1, 1 and there are 2, 1, 0: tp 1 + 1, fp 1, fn 1
    assert (result.metrics.counting.tally["ship"].tp, result.metrics.counting.tally["ship"].fp) == (2, 1)
    assert result.metrics.counting.tally["ship"].fn == 1
    # the box is that of the first ship; the other two images have none there
    assert (result.metrics.box.tally["ship"].tp, result.metrics.box.tally["ship"].fp) == (1, 2)
    assert result.metrics.mask.f1.value is None
    assert "has no masks" in result.metrics.mask.f1.reason
    assert (result.run.n_done, result.run.n_failed) == (3, 0)
    again = score(folder, dataset, SETTING)
    assert again.metrics == result.metrics
    assert again.predictions == result.predictions
    assert again.method.name == "constant"


def test_a_complete_run_is_not_predicted_again(constant, dataset, tmp_path, monkeypatch):
    run(constant, dataset, tmp_path)
    monkeypatch.setattr(constant, "predict", lambda *given: 1 / 0)
    assert run(constant, dataset, tmp_path).results[0].run.n_failed == 0


def test_another_method_version_needs_overwrite(constant, dataset, tmp_path):
    run(constant, dataset, tmp_path)
    constant.describe = lambda: {"version": "2", "parameters": {"seed": 1}}
    with pytest.raises(
        EarthInstructError, match=r"method version was None, is 2; parameter seed was None, is 1.*--overwrite"
    ):
        run(constant, dataset, tmp_path)
    folder = tmp_path / "runs" / dataset.name / SETTING / "constant"
    (folder / "notes.txt").write_text("mine")
    assert run(constant, dataset, tmp_path, overwrite=True).results[0].method.version == "2"
    assert (folder / "notes.txt").read_text() == "mine"


def test_what_another_run_holds_is_said_before_any_image_is_predicted(constant, dataset, tmp_path, monkeypatch):
    evaluate(constant, dataset, setting="open_subclass", output=tmp_path / "runs")
    constant.describe = lambda: {"version": "2"}
    monkeypatch.setattr(constant, "predict", lambda *given: 1 / 0)
    with pytest.raises(EarthInstructError, match=r"open_subclass.* holds the predictions of another run"):
        evaluate(constant, dataset, output=tmp_path / "runs")
    assert not (tmp_path / "runs" / dataset.name / "open_vocabulary/constant/result.json").exists()


def test_a_long_name_of_a_method_has_a_short_folder(constant, dataset, tmp_path):
    constant.name = "\N{HIRAGANA LETTER A}" * 300
    assert run(constant, dataset, tmp_path).results[0].method.name == constant.name


def test_a_method_does_not_go_on_with_the_answers_of_another_that_shares_its_folder(constant, dataset, tmp_path):
    constant.name = "my method"
    run(constant, dataset, tmp_path)
    constant.name = "my/method"
    with pytest.raises(EarthInstructError, match="method was my method, is my/method"):
        run(constant, dataset, tmp_path)


def test_a_blank_line_does_no_harm_when_lines_are_sorted(constant, dataset, tmp_path):
    first, second, third = lines(run(constant, dataset, tmp_path))
    file = tmp_path / "runs" / "set" / SETTING / "constant" / "predictions.jsonl"
    file.write_text(f"{third}\n\n{first}\n")
    again = [json.loads(line) for line in lines(run(constant, dataset, tmp_path))]
    assert [record["image_id"] for record in again] == [json.loads(line)["image_id"] for line in (first, second, third)]


def test_compressed_predictions_of_a_run_keep_the_name_of_the_method(constant, dataset, tmp_path):
    folder = run(constant, dataset, tmp_path).folders[0]
    file = folder / "predictions.jsonl"
    (folder / "predictions.jsonl.zst").write_bytes(zstandard.compress(file.read_bytes()))
    file.unlink()
    assert score(folder / "predictions.jsonl.zst", dataset, SETTING).method.name == "constant"


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), ([0], [False]), ({"a": 1}, {"a": True}), ("1", 1)])
def test_a_run_is_not_continued_with_a_parameter_that_only_python_takes_for_the_same(
    constant, dataset, tmp_path, before, after
):
    constant.describe = lambda: {"parameters": {"a": before}}
    run(constant, dataset, tmp_path)
    run(constant, dataset, tmp_path)
    constant.describe = lambda: {"parameters": {"a": after}}
    with pytest.raises(EarthInstructError, match="predictions of another run"):
        run(constant, dataset, tmp_path)


def test_given_parameters_stand_for_a_method_that_describes_none(dataset, tmp_path):
    (tmp_path / "silent.py").write_text(
        "from earthinstruct import Prediction\n"
        "class Silent:\n    name = 'silent'\n    def __init__(self, a=0, part=None, api_key=None): pass\n"
        "    def predict(self, image, instruction): return Prediction()\n"
    )
    made = {"a": 1, "part": object(), "api_key": "sk-123456"}
    first = run(f"{tmp_path / 'silent.py'}:Silent", dataset, tmp_path, parameters=made)
    assert first.results[0].method.parameters == {"a": 1, "part": "object"}
    with pytest.raises(EarthInstructError, match=r"predictions of another run \(parameter a was 1, is 2\)"):
        run(f"{tmp_path / 'silent.py'}:Silent", dataset, tmp_path, parameters={**made, "a": 2})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_limited_run_has_a_folder_of_its_own_and_never_touches_a_whole_one(constant, dataset, tmp_path):
    whole = run(constant, dataset, tmp_path).folders[0]
    before = contents(whole)
    limited = run(constant, dataset, tmp_path, limit=1)
    assert limited.folders == (whole.with_name("constant-limit-1"),)
    assert limited.results[0].task.dataset.n_images == 1
    assert limited.results[0].metrics.counting.tally["ship"].fn == 1
    run(constant, dataset, tmp_path, limit=2, overwrite=True)
    assert contents(whole) == before
    assert run(constant, dataset, tmp_path, limit=3).folders == (whole,)  # that is all of them
    with pytest.raises(EarthInstructError, match="at least 1"):
        run(constant, dataset, tmp_path, limit=0)


def test_a_limit_can_be_lifted_later_and_only_the_other_images_are_predicted(constant, dataset, tmp_path, monkeypatch):
    asked = []
    predict = constant.predict

    def counted(image, instruction):
        asked.append(instruction)
        return predict(image, instruction)

    monkeypatch.setattr(constant, "predict", counted)
    run(constant, dataset, tmp_path, limit=1)
    run(constant, dataset, tmp_path, limit=1)
    assert len(asked) == 1
    said = []
    run(constant, dataset, tmp_path, limit=2, announce=said.append)
    assert said == [f"set/{SETTING}: 1 of 2 images were predicted before; --overwrite predicts them again"]
    assert len(asked) == 2
    assert len(lines(run(constant, dataset, tmp_path))) == 3
    assert len(asked) == 3
    run(constant, dataset, tmp_path, overwrite=True)
    assert len(asked) == 6


def test_a_run_does_not_start_with_the_predictions_of_another_limited_run(constant, dataset, tmp_path):
    run(constant, dataset, tmp_path, limit=2)
    constant.describe = lambda: {"version": "2"}
    constant.predict = lambda image, instruction: Prediction()
    assert [json.loads(line).get("labels") for line in lines(run(constant, dataset, tmp_path))] == [None] * 3


def test_a_failing_image_is_named_counted_as_empty_and_tried_again(constant, dataset, tmp_path):
    answer = constant.predict
    broken = dataset.read_image(1)

    def fail_once(image, instruction):
        if np.array_equal(image, broken):
            raise RuntimeError("out of memory")
        return answer(image, instruction)

    constant.predict = fail_once
    first = run(constant, dataset, tmp_path).results[0]
    assert first.run.failed == {"7": "RuntimeError: out of memory"}
    assert (first.run.n_done, first.run.n_failed) == (2, 1)
    assert first.metrics.counting.tally["ship"].fn == 2
    constant.predict = answer
    assert run(constant, dataset, tmp_path).results[0].run.failed == {}


def test_what_a_failure_cost_and_what_happened_are_kept_and_summed(constant, dataset, tmp_path):
    answers = iter(
        [
            Prediction(usage=Usage({}, 5, 1, {"labels not asked for": 2})),
            PredictionError("no boxes", Usage({"lvlm": 3.0}, 70, 30)),
            Prediction(usage=Usage({}, 5, 1, {"labels not asked for": 1, "truncated replies": 1})),
        ]
    )

    def predict(image, instruction):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    constant.predict = predict
    evaluation = run(constant, dataset, tmp_path)
    failed = json.loads(lines(evaluation)[1])
    assert failed["error"] == "PredictionError: no boxes"
    assert (failed["input_tokens"], failed["output_tokens"], failed["seconds"]["lvlm"]) == (70, 30, 3.0)
    assert failed["seconds"]["total"] > 0
    spent = evaluation.results[0].run
    assert (spent.input_tokens, spent.output_tokens, spent.seconds["lvlm"]) == (80, 32, 3.0)
    assert spent.events == {"labels not asked for": 3, "truncated replies": 1}
    constant.predict = lambda image, instruction: Prediction(usage=Usage({"lvlm": 2.0}, 60, 20))
    resumed = run(constant, dataset, tmp_path).results[0].run
    assert (resumed.n_failed, resumed.input_tokens, resumed.output_tokens) == (0, 140, 52)
    assert resumed.seconds["lvlm"] == 5.0


def test_the_time_of_a_batch_that_failed_is_that_of_its_images(constant, dataset, tmp_path, monkeypatch):
    now = 0

    def predict_batch(images, instruction):
        nonlocal now
        now += 6
        raise RuntimeError("one of them")

    monkeypatch.setattr("earthinstruct.running.engines.worker.time", SimpleNamespace(perf_counter=lambda: now))
    constant.predict_batch = predict_batch
    evaluation = run(constant, dataset, tmp_path)
    assert [json.loads(line)["seconds"]["total"] for line in lines(evaluation)] == [2, 2, 2]


def test_garbage_is_a_failure_of_its_image(constant, dataset, tmp_path):
    constant.predict = lambda image, instruction: {"ship": 1}
    failed = run(constant, dataset, tmp_path).results[0].run.failed
    assert failed["0"] == "ContractError: predict must return a Prediction, got dict"


def test_a_reason_that_no_file_could_hold_is_kept(constant, dataset, tmp_path):
    def fail(image, instruction):
        raise ValueError("no JSON: \ud83d")

    constant.predict = fail
    assert set(run(constant, dataset, tmp_path).results[0].run.failed.values()) == {"ValueError: no JSON: \\ud83d"}


def test_a_missing_image_is_a_failure_of_that_image(constant, dataset, tmp_path):
    (dataset.image_root / "b.png").unlink()
    failed = run(constant, dataset, tmp_path).results[0].run.failed
    assert list(failed) == ["7"]
    assert "does not exist" in failed["7"]


def test_a_torn_last_line_is_dropped(constant, dataset, tmp_path):
    file = run(constant, dataset, tmp_path).folders[0] / "predictions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert list(StoredRecords([file])) == [0, 7]
    run(constant, dataset, tmp_path)
    assert [json.loads(line)["image_id"] for line in file.read_text().splitlines()] == [0, 7, 9]
    file.write_bytes(whole[:10])  # nothing but a torn line
    run(constant, dataset, tmp_path)
    assert len(file.read_text().splitlines()) == 3


WAITS = """
import time
from pathlib import Path
from earthinstruct import Prediction

class Waits:
    name = "waits"
    images = 0
    def predict(self, image, instruction):
        self.images += 1
        while self.images > 3 and not Path(__file__).with_name("go").exists():
            time.sleep(0.01)
        return Prediction(labels=["ship"], boxes=[[1, 1, 4, int(image[0, 0, 0]) % 5]])
"""


def test_a_killed_run_goes_on_where_it_stopped(coco, write_coco, tmp_path):
    coco["images"] += [{"id": 20 + i, "file_name": f"x{i}.png", "width": 30, "height": 20} for i in range(9)]
    file = write_coco(coco)
    method = tmp_path / "waits.py"
    method.write_text(WAITS)
    command = [sys.executable, "-m", "earthinstruct", "evaluate", "--method", f"{method}:Waits", "--dataset", str(file)]
    command += ["--setting", SETTING, "--output", str(tmp_path / "killed")]
    predictions = tmp_path / "killed" / "set" / SETTING / "waits" / "predictions.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not (predictions.exists() and predictions.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = predictions.read_bytes()
    kept = before[: before.rfind(b"\n") + 1]
    assert kept.count(b"\n") == 3
    (tmp_path / "go").touch()
    subprocess.run(command, check=True, capture_output=True)
    assert predictions.read_bytes().startswith(kept)
    never_killed = run(f"{method}:Waits", load_dataset(str(file)), tmp_path).results[0]
    resumed = score(predictions, str(file), SETTING)
    assert resumed.metrics == never_killed.metrics
    assert resumed.run.n_done == 12


def test_batches_are_used_and_a_bad_image_of_one_is_found(constant, dataset, tmp_path):
    sizes = []
    broken = dataset.read_image(1)

    def predict_batch(images, instruction):
        sizes.append(len(images))
        if any(np.array_equal(image, broken) for image in images):
            raise RuntimeError("one of these")
        return [constant.predict(image, instruction) for image in images]

    constant.predict_batch = predict_batch
    result = run(constant, dataset, tmp_path).results[0]
    assert sizes == [3]
    assert result.run.n_failed == 0  # alone, `predict` answers for each


def test_a_task_can_be_declined(constant, dataset, tmp_path):
    constant.skip = lambda task: "no counts" if task.setting == "open_ended" else None
    evaluation = evaluate(constant, dataset, output=tmp_path)
    assert [(skipped.task.name, skipped.reason) for skipped in evaluation.skipped] == [("set/open_ended", "no counts")]
    assert [result.task.name for result in evaluation.results] == ["set/open_vocabulary", "set/open_subclass/transport"]


def test_secrets_never_reach_a_file(constant, dataset, tmp_path):
    constant.describe = lambda: {
        "parameters": {"api_key": "sk-1", "max_tokens": 9, "url": "https://me:pw@host/v1?key=2", "hub": {"token": "t"}}
    }
    evaluation = run(constant, dataset, tmp_path)
    assert evaluation.results[0].method.parameters == {"max_tokens": 9, "url": "https://host/v1", "hub": {}}
    for file in evaluation.folders[0].iterdir():
        content = file.read_bytes()
        if file.suffix == ".npz":
            with np.load(file) as stored:
                content = b"".join(array.tobytes() for array in stored.values())
        assert not any(secret in content for secret in (b"sk-1", b"pw@", b"key=2"))


def test_every_field_of_a_prediction_survives_the_file(dataset):
    rle = dataset.masks.take().encode()[0]
    prediction = Prediction(
        ["ship"],
        [[1, 1, 4, 4]],
        [rle],
        [0.25],
        {"ship": 3},
        Proposals([[1, 1, 4, 4], [0, 0, 2, 2]], [rle, rle], [0.9, 0.8]),
        Usage({"counter": 0.5}, 10, 2),
    )
    record = Record.of(7, prediction)
    assert (record.labels, record.boxes, record.masks, record.scores) == (["ship"], [(1, 1, 4, 4)], [rle], [0.25])
    assert (record.counts, record.seconds, record.input_tokens, record.output_tokens) == (
        {"ship": 3},
        {"counter": 0.5},
        10,
        2,
    )
    back = record.proposals.proposals()
    assert np.array_equal(back.boxes, prediction.proposals.boxes)
    assert back.masks == prediction.proposals.masks


def test_open_vocabulary_labels_must_be_categories():
    instruction = tasks_of("nwpu", NWPU)[0].instruction
    check_prediction(Prediction(counts={"ship": 1}), instruction, 10, 10)
    for prediction in (Prediction(["boat"], [[0, 0, 1, 1]]), Prediction(counts={"boat": 1})):
        with pytest.raises(ContractError, match="'boat' is not one of the instruction's categories"):
            check_prediction(prediction, instruction, 10, 10)


def test_words_that_a_method_does_not_know_are_said_and_kept(constant, dataset, tmp_path):
    said = []
    constant.unknown_words = lambda instruction: [name for name in instruction.categories if name == "harbor"]
    found = evaluate(constant, dataset, output=tmp_path, announce=said.append)
    assert said == ["constant does not know 'harbor', and will find none"]
    notes = {result.task.name: result.method.notes for result in found.results}
    assert (notes["set/open_vocabulary"], notes["set/open_ended"]) == (said, [])
