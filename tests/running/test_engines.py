"""Every engine gives the same answers, and says what it cannot do."""

import errno
import json
import os
import re
import signal
import sys
import threading

import pytest

from earthinstruct import Prediction, evaluate
from earthinstruct.datasets import Dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.running import EngineOptions
from earthinstruct.running.engines import processes as processes_engine
from earthinstruct.running.engines.local import READ_AHEAD
from earthinstruct.running.engines.worker import chunks
from earthinstruct.running.reading import Tile

SETTING = "open_ended"
TWO = EngineOptions(workers=2)


def run(method, dataset, output, **options):
    return evaluate(method, dataset, setting=SETTING, output=output, **options)


def answers(evaluation):
    """The predictions file without what differs from run to run."""
    return re.sub(rb',"seconds":{[^}]*}', b"", (evaluation.folders[0] / "predictions.jsonl").read_bytes())


def processes(evaluation):
    """The process that answered each image."""
    lines = (evaluation.folders[0] / "predictions.jsonl").read_text().splitlines()
    return [record["seconds"]["pid"] for record in map(json.loads, lines)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["Faulty", "Batched", "Control"])
def test_processes_give_the_bytes_and_scores_of_one(numbered, faulty, tmp_path, name):
    one = run(f"{faulty}:{name}", numbered, tmp_path / "one")
    two = run(f"{faulty}:{name}", numbered, tmp_path / "two", engine=TWO)
    assert answers(two) == answers(one)
    assert [json.loads(line)["image_id"] for line in answers(two).splitlines()] == [i.id for i in numbered.images]
    assert two.results[0].metrics == one.results[0].metrics
    assert two.results[0].method == one.results[0].method


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", [EngineOptions(), TWO])
@pytest.mark.parametrize("name", ["Faulty", "Batched"])
def test_a_hopeless_error_stops_the_run_and_the_next_one_continues_it(
    numbered, faulty, tmp_path, monkeypatch, engine, name
):
    monkeypatch.setenv("MY_API_KEY", "my-secret-key")
    gate = tmp_path / "gate"
    parameters = {"faults": {"10": "hopeless"}, "gate": str(gate)}
    with pytest.raises(EarthInstructError, match=r"401: the key \*\*\* is refused; the run stops.*--overwrite"):
        run(f"{faulty}:{name}", numbered, tmp_path / "runs", parameters=parameters, engine=engine)
    (stopped,) = (tmp_path / "runs").rglob("predictions.jsonl")
    kept = stopped.read_text().splitlines()
    assert not [line for line in kept if "error" in json.loads(line)]
    if engine == EngineOptions():
        assert len(kept) == (10 if name == "Faulty" else 9)  # what came before the image, or before its batch
    gate.touch()
    continued = run(f"{faulty}:{name}", numbered, tmp_path / "runs", parameters=parameters, engine=engine)
    assert continued.results[0].run.n_failed == 0
    assert set(kept) <= set((continued.folders[0] / "predictions.jsonl").read_text().splitlines())


READS = """
import os
import threading

from earthinstruct import Prediction, Usage
from earthinstruct.datasets import Dataset

read, enough = [], threading.Event()
open_scene = Dataset.open_scene


def counted(self, index, *options):
    read.append(index)
    if len(read) == 2:
        enough.set()
    return open_scene(self, index, *options)


Dataset.open_scene = counted


class Batches:
    name = "batches"

    def predict(self, image, instruction):
        return self.predict_batch([image], instruction)[0]

    def predict_batch(self, images, instruction):
        seen = {"pid": os.getpid(), "again": len(read) - len(set(read))}
        return [Prediction(usage=Usage(events=seen)) for _ in images]


class Reads:
    name = "reads"

    def predict(self, image, instruction):
        enough.wait(100)  # for the second image, while the method has the first
        return Prediction(counts={"read": len(read), "different": len(set(read)), "waited": int(not enough.is_set())})
"""


@pytest.mark.timeout(120)
def test_one_process_reads_the_next_image_while_the_method_works(numbered, tmp_path):
    (tmp_path / "reads.py").write_text(READS)
    evaluation = run(f"{tmp_path / 'reads.py'}:Reads", numbered, tmp_path, engine=EngineOptions(timeout=600))
    counts = [json.loads(line)["counts"] for line in (evaluation.folders[0] / "predictions.jsonl").open()]
    assert len(counts) == 12
    assert counts[0] == {"read": 2, "different": 2, "waited": 0}
    assert counts[-1] == {"read": 12, "different": 12, "waited": 0}  # none twice


PEEKS = """
import gc

from earthinstruct import Prediction
from earthinstruct.datasets import Dataset


class Peeks:
    name = "peeks"

    def predict(self, image, instruction):
        found = [thing for thing in gc.get_objects() if isinstance(thing, Dataset)]
        return Prediction(counts={"datasets": len(found), "objects": sum(len(it.annotations) for it in found)})
"""


@pytest.mark.timeout(120)
def test_the_ground_truth_is_not_in_the_process_of_a_method(numbered, tmp_path):
    (tmp_path / "peeks.py").write_text(PEEKS)
    evaluation = run(f"{tmp_path / 'peeks.py'}:Peeks", numbered, tmp_path, engine=TWO)
    lines = (evaluation.folders[0] / "predictions.jsonl").read_text().splitlines()
    assert {(line["counts"]["datasets"], line["counts"]["objects"]) for line in map(json.loads, lines)} == {(1, 0)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", [1, 2])
def test_all_that_is_asked_of_an_image_goes_to_one_process_which_reads_it_once(numbered, tmp_path, workers):
    (tmp_path / "reads.py").write_text(READS)
    options = EngineOptions(workers=workers, timeout=60)
    evaluation = evaluate(f"{tmp_path / 'reads.py'}:Batches", numbered, output=tmp_path, engine=options)
    pids = {}
    for folder in evaluation.folders:
        for line in map(json.loads, (folder / "predictions.jsonl").open()):
            assert "again" not in line["events"]
            pids.setdefault(line["image_id"], []).append(line["events"]["pid"])
    assert [len(each) for each in pids.values()] == [3] * 12  # three tasks
    assert all(len(set(each)) == 1 for each in pids.values())


def test_the_tasks_of_an_image_stand_together_also_where_some_are_answered():
    one, two = "one", "two"
    first, second, third, fourth, _, sixth = every = [Tile(i) for i in range(6)]
    assert chunks([(one, every[:4]), (two, [second, fourth])], 2) == [
        [(one, (first, second)), (two, (second,))],
        [(one, (third, fourth)), (two, (fourth,))],
    ]
    assert chunks([(one, []), (two, [sixth])], 2) == [[(two, (sixth,))]]
    assert chunks([], 2) == []

    def sizes(tiles, size, **options):
        return [len(asked) for ((_, asked),) in chunks([(one, tiles)], size, **options)]

    assert sizes(every, 3, first=1) == [1, 3, 2]
    assert sizes(every[:3], 3, first=1) == [3]
    assert sizes(every, 5, workers=3) == [2, 2, 2]
    assert sizes([*every, Tile(6, (0, 0, 9, 9))], 3) == [1] * 7
    assert chunks([], 3, first=1, workers=2) == []


def test_a_method_that_draws_on_an_image_draws_on_its_own_copy(numbered, constant, tmp_path):
    seen = []

    def predict(image, instruction):
        seen.append(image.tobytes())
        image[:] = 255
        return Prediction()

    constant.predict = predict
    evaluate(constant, numbered, output=tmp_path)
    assert len(seen) == 36
    assert len(set(seen)) == 12


@pytest.mark.timeout(120)
def test_both_workers_work_and_are_gone_afterwards(numbered, faulty, tmp_path):
    parameters = {"faults": dict.fromkeys(map(str, range(12)), "meet"), "gate": str(tmp_path / "gate")}
    pids = processes(run(f"{faulty}:Faulty", numbered, tmp_path, engine=TWO, parameters=parameters))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    for pid in set(pids):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.mark.timeout(120)
def test_a_worker_killed_in_the_middle_loses_nothing_and_repeats_nothing(numbered, faulty, tmp_path):
    killed = []

    def kill_one(task, done, total, failed):
        if done == 3 and not killed:
            last = (tmp_path / "killed/set" / SETTING / "faulty/predictions.jsonl").read_text().splitlines()[-1]
            killed.append(int(json.loads(last)["seconds"]["pid"]))
            os.kill(killed[0], signal.SIGKILL)

    parameters = {"pause": 0.05}
    whole = run(f"{faulty}:Faulty", numbered, tmp_path / "whole", parameters=parameters)
    hurt = run(f"{faulty}:Faulty", numbered, tmp_path / "killed", engine=TWO, parameters=parameters, progress=kill_one)
    assert killed
    assert len(set(processes(hurt)) - set(killed)) >= 1
    assert answers(hurt) == answers(whole)


@pytest.mark.timeout(120)
def test_an_answer_is_in_time_although_this_process_looks_at_it_late(numbered, faulty, tmp_path, monkeypatch):
    def all_have_answered(pipes, timeout):
        """Where `wait` would say at once that no time is left."""
        for pipe in pipes:
            pipe.poll(None)
        return pipes[:1]

    monkeypatch.setattr(processes_engine, "wait", all_have_answered)
    options = EngineOptions(workers=2, timeout=1e-9)
    assert run(f"{faulty}:Faulty", numbered, tmp_path, engine=options).results[0].run.failed == {}


@pytest.mark.timeout(120)
def test_what_is_wrong_with_a_method_is_said_by_its_worker(numbered, faulty, tmp_path):
    with pytest.raises(EarthInstructError, match=r"unknown parameter of method .* 'puase'; did you mean 'pause'"):
        run(f"{faulty}:Faulty", numbered, tmp_path, engine=TWO, parameters={"puase": 1})


@pytest.mark.timeout(120)
def test_an_object_that_cannot_travel_is_refused_with_the_next_step(numbered, constant, tmp_path):
    constant.predict = lambda image, instruction: Prediction()
    with pytest.raises(EarthInstructError, match=r"cannot be sent to a process of its own.*give it by name"):
        run(constant, numbered, tmp_path, engine=TWO)


@pytest.mark.timeout(120)
def test_a_worker_that_ends_while_it_starts_is_reported(numbered, tmp_path):
    (tmp_path / "ends.py").write_text("import os\nos._exit(7)\n")
    with pytest.raises(EarthInstructError, match=r"while it made the method.*exit code 7"):
        run(f"{tmp_path / 'ends.py'}:Ends", numbered, tmp_path, engine=TWO)


def test_a_process_that_the_system_refuses_is_said(numbered, faulty, tmp_path, monkeypatch):
    def refuse(self):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    with pytest.raises(EarthInstructError, match=r"cannot be started: .*temporarily unavailable; give fewer --workers"):
        run(f"{faulty}:Faulty", numbered, tmp_path, engine=TWO)


def test_the_next_images_are_read_while_the_method_works_and_no_more_than_that(
    numbered, constant, tmp_path, monkeypatch
):
    read, enough = [], threading.Event()
    open_scene = Dataset.open_scene

    def counted(self, index, *options):
        read.append(index)
        if len(read) > READ_AHEAD:
            enough.set()
        return open_scene(self, index, *options)

    ahead = []

    def predict(image, instruction):
        assert enough.wait(100)
        ahead.append(len(read) - len(ahead) - 1)
        return Prediction()

    monkeypatch.setattr(Dataset, "open_scene", counted)
    constant.predict = predict
    run(constant, numbered, tmp_path)
    assert ahead[0] == READ_AHEAD
    assert max(ahead) <= READ_AHEAD
    assert sorted(read) == list(range(12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "rya"}, "unknown engine 'rya'; did you mean 'ray'"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"worker_memory": -1}, "worker memory must be above 0"),
        ({"gpus_per_worker": -0.5, "name": "ray"}, "GPUs per worker must be 0 or more"),
        ({"gpus_per_worker": 1}, "--gpus-per-worker belongs to the engine ray"),
        ({"address": "auto"}, "--address belongs to the engine ray"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(EarthInstructError, match=message):
        EngineOptions(**options)


def test_without_ray_the_line_that_installs_it_is_said_and_local_runs_as_ever(constant, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "earthinstruct.running.engines.ray", raising=False)
    assert run(constant, dataset, tmp_path).results[0].run.n_failed == 0
    with pytest.raises(EarthInstructError, match=r"needs Ray Data; install it: pip install 'earthinstruct\[ray\]'"):
        run(constant, dataset, tmp_path, engine=EngineOptions("ray"))
