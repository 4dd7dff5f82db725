"""The engine on Ray: a Ray of its own, of which workers are killed; and a cluster that all other tests share."""

import functools
import json
import os
import re
import signal
import threading
import time

import numpy as np
import pytest

from earthinstruct import evaluate
from earthinstruct.errors import EarthInstructError
from earthinstruct.running import EngineOptions

ray = pytest.importorskip("ray")
ray_engine = pytest.importorskip("earthinstruct.running.engines.ray")
pytestmark = pytest.mark.timeout(600)  # on a busy machine, Ray alone takes a minute to start
SETTING = "open_ended"
TWO = EngineOptions("ray", workers=2, timeout=5)
TWO_PATIENT = EngineOptions("ray", workers=2)


def run(method, dataset, output, **options):
    return evaluate(method, dataset, setting=SETTING, output=output, **options)


def lines(evaluation):
    return (evaluation.folders[0] / "predictions.jsonl").read_bytes().splitlines()


def answers(evaluation):
    """The lines of the predictions file without what differs from run to run."""
    return [re.sub(rb',"seconds":{[^}]*}', b"", line) for line in lines(evaluation)]


def processes(evaluation, kind="pid"):
    """The processes of the method, or their parents, the actors."""
    return {record["seconds"][kind] for record in map(json.loads, lines(evaluation)) if "error" not in record}


@pytest.fixture(scope="module", autouse=True)
def as_urgent_as_other_tests():
    """Ray's workers would run at niceness 15, and wait for all other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


NODE = {"object_store_memory": 150_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def clusters():
    """The cluster that tests share, once one has asked for it."""
    started = []
    yield started
    end(started)


def end(clusters):
    ray.shutdown()
    while clusters:
        clusters.pop().shutdown()


@pytest.fixture
def cluster(clusters):
    """A cluster that a run finds there and leaves, and this process connected to it: one node with two CPUs."""
    from ray.cluster_utils import Cluster

    if not clusters:
        clusters.append(Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **NODE}))
    if not ray.is_initialized():
        ray.init(address=clusters[0].address, logging_level="error")
    return clusters[0]


@pytest.fixture
def no_ray(clusters, monkeypatch):
    """This process has no Ray, whatever test came before, and is told of none."""
    end(clusters)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_ray_gives_the_bytes_and_scores_of_one_process_although_workers_are_lost(no_ray, numbered, faulty, tmp_path):
    killed = {}

    def kill(task, done, total, failed):
        """First the process of a method, then an actor."""
        kind = {1: "pid", 4: "parent"}.get(done - failed)
        if kind is not None and kind not in killed:
            last = (tmp_path / "ray/set" / SETTING / "faulty/predictions.jsonl").read_text().splitlines()[-1]
            killed[kind] = int(json.loads(last)["seconds"][kind])
            os.kill(killed[kind], signal.SIGKILL)

    parameters = {"pause": 0.2, "faults": {"2": "raise", "5": "garbage", "8": "hang"}}
    on_ray = run(f"{faulty}:Faulty", numbered, tmp_path / "ray", parameters=parameters, engine=TWO, progress=kill)
    assert not ray.is_initialized()
    assert set(killed) == {"pid", "parent"}
    assert processes(on_ray) - {killed["pid"]}
    assert processes(on_ray, "parent") - {killed["parent"]}
    # in one process nothing ends a hanging image: there, it raises
    parameters["faults"]["8"] = "raise"
    local = run(f"{faulty}:Faulty", numbered, tmp_path / "local", parameters=parameters)
    hung = answers(on_ray).pop(8)
    assert json.loads(hung) == {"image_id": 108, "error": "no answer within 5 s"}
    assert [line for line in answers(on_ray) if line != hung] == answers(local)[:8] + answers(local)[9:]
    assert on_ray.results[0].metrics == local.results[0].metrics


def test_a_cluster_that_is_not_there_is_an_error(no_ray, numbered, faulty, tmp_path, monkeypatch):
    # Ray looks for one among all processes of the machine, and in a folder of all users
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", functools.cache(set))
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda temp_dir: None)
    with pytest.raises(EarthInstructError, match=r"there is no Ray cluster at 'auto'.*`ray start --head`"):
        run(f"{faulty}:Faulty", numbered, tmp_path, engine=EngineOptions("ray", address="auto"))
    assert not ray.is_initialized()


def test_gpus_that_are_not_there_are_an_error_and_not_a_wait(no_ray, numbered, faulty, tmp_path):
    with pytest.raises(EarthInstructError, match=r"--gpus-per-worker 64: this machine has \d+ GPUs"):
        run(f"{faulty}:Faulty", numbered, tmp_path, engine=EngineOptions("ray", gpus_per_worker=64))
    assert not ray.is_initialized()


def test_a_ray_that_is_there_is_used_and_left_and_an_actor_makes_the_method_once_for_all_tasks(
    cluster, numbered, faulty, tmp_path
):
    # each image waits until two processes have one in hand
    parameters = {"faults": dict.fromkeys(map(str, range(12)), "meet"), "gate": str(tmp_path / "gate")}
    more_than_cpus = EngineOptions("ray", workers=3)
    options = {"progress": None}
    on_ray = evaluate(
        f"{faulty}:Batched", numbered, output=tmp_path / "ray", parameters=parameters, engine=more_than_cpus, **options
    )
    assert ray.is_initialized()
    local = evaluate(f"{faulty}:Batched", numbered, output=tmp_path / "local", **options)
    assert len(local.folders) == 3
    pids = set()
    for ours, theirs in zip(on_ray.folders, local.folders, strict=True):
        ours, theirs = ((folder / "predictions.jsonl").read_text().splitlines() for folder in (ours, theirs))
        pids |= {json.loads(line)["seconds"]["pid"] for line in ours}
        assert [re.sub(r',"seconds":{[^}]*}', "", line) for line in ours] == [
            re.sub(r',"seconds":{[^}]*}', "", line) for line in theirs
        ]
    assert len(pids) == 2  # one an actor, and one actor a CPU
    assert [result.metrics for result in on_ray.results] == [result.metrics for result in local.results]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_control_is_given_the_truth(cluster, numbered, faulty, tmp_path):
    control = run(f"{faulty}:Control", numbered, tmp_path, engine=TWO)
    assert control.results[0].metrics.box.f1.value == 1


def test_a_run_that_is_stopped_keeps_what_was_in_hand_and_goes_on(cluster, numbered, faulty, tmp_path, monkeypatch):
    seen, desks = [], []
    gate = tmp_path / "gate"
    parameters = {"faults": dict.fromkeys(map(str, range(4, 12)), "wait"), "gate": str(gate)}
    told = ray_engine._told

    def noted(desk, stopping):
        desks.append(desk)
        return told(desk, stopping)

    def open_when_stopped():
        while not desks or ray.get(desks[0].begin.remote(-1)) is not None:
            time.sleep(0.05)
        gate.touch()

    monkeypatch.setattr(ray_engine, "_told", noted)
    opener = threading.Thread(target=open_when_stopped, daemon=True)
    opener.start()
    options = {"parameters": parameters, "engine": TWO_PATIENT}
    with pytest.raises(KeyboardInterrupt):
        run(
            f"{faulty}:Faulty",
            numbered,
            tmp_path,
            progress=lambda task, done, total, failed: seen.append(done),
            stopping=lambda: seen[-1:] >= [2],
            **options,
        )
    opener.join()
    assert 2 <= seen[-1] <= 6  # four that waited for nothing, and one in the hand of each actor
    whole = run(f"{faulty}:Faulty", numbered, tmp_path / "whole")
    assert answers(run(f"{faulty}:Faulty", numbered, tmp_path, **options)) == answers(whole)


def test_a_node_of_the_cluster_that_is_lost_in_the_middle_takes_no_image_with_it(cluster, numbered, faulty, tmp_path):
    second = cluster.add_node(num_cpus=1, **NODE)
    lost = []

    def lose(task, done, total, failed):
        if done == 4 and not lost:
            lost.append(second)
            cluster.remove_node(second, allow_graceful=False)

    three = EngineOptions("ray", workers=3)
    try:
        on_ray = run(f"{faulty}:Faulty", numbered, tmp_path, parameters={"pause": 0.3}, engine=three, progress=lose)
    finally:
        if not lost:
            cluster.remove_node(second)
    assert lost
    assert len(processes(on_ray, "parent")) >= 2
    assert answers(on_ray) == answers(run(f"{faulty}:Faulty", numbered, tmp_path / "local"))


TWICE = """
import os


class Twice:
    name = "twice"

    def __init__(self, flag):
        if os.path.exists(flag):
            raise RuntimeError("no second time")
        open(flag, "w").close()

    def predict(self, image, instruction):
        return None
"""


def test_a_method_that_an_actor_cannot_make_is_one_error(cluster, numbered, tmp_path):
    (tmp_path / "twice.py").write_text(TWICE)
    parameters = {"flag": str(tmp_path / "flag")}
    with pytest.raises(EarthInstructError, match=r"^method '.*:Twice' cannot be made.*no second time$"):
        run(f"{tmp_path / 'twice.py'}:Twice", numbered, tmp_path, parameters=parameters, engine=TWO)


def test_what_a_method_misses_where_an_actor_is_is_one_error(cluster, numbered, tmp_path):
    path = tmp_path / "needy.py"
    path.write_text(
        "class Needy:\n    name = 'needy'\n    missing = staticmethod(lambda: ['package a: pip install a'])\n"
        "    def predict(self, image, instruction): ...\n"
    )
    with pytest.raises(EarthInstructError, match=r"Nothing was run. Missing:\n  package a: pip install a$"):
        run(f"{path}:Needy", numbered, tmp_path / "runs", engine=TWO)
    assert not (tmp_path / "runs").exists()


def test_images_over_which_actors_are_lost_again_and_again_are_listed(cluster, numbered, faulty, tmp_path):
    one = EngineOptions("ray")
    result = run(f"{faulty}:Faulty", numbered, tmp_path, parameters={"faults": {"7": "orphan"}}, engine=one).results[0]
    assert result.run.failed == {"107": "the Ray actor that had it was lost 3 times"}
    assert result.run.n_done == 11


def test_the_tiles_of_one_scene_go_to_several_actors(cluster, faulty, tmp_path):
    from PIL import Image

    from earthinstruct import predict

    pixels = np.zeros((20, 80, 3), dtype=np.uint8)
    pixels[0, ::20] = np.arange(4)[:, None]  # the method finds a ship at the column that the first pixel says
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    asked = {"method": f"{faulty}:Faulty", "images": tmp_path / "scene.png", "categories": "ship"}
    asked |= {"tile": 20, "overlap": 0}
    parameters = {"gate": str(tmp_path / "gate"), "faults": dict.fromkeys("0123", "meet")}
    on_ray = predict(**asked, output=tmp_path / "ray", parameters=parameters, engine=TWO_PATIENT)
    here = predict(**asked, output=tmp_path / "here")
    assert on_ray[0].prediction.boxes.tolist() == [[column, 1, 4, 4] for column in (0, 21, 42, 63)]
    stored = [
        re.sub(rb',"seconds":{[^}]*}', b"", (run.folder / "predictions.jsonl").read_bytes()) for run in (here, on_ray)
    ]
    assert stored[0] == stored[1]
    assert len(list(tmp_path.glob("gate.*"))) == 2  # processes of the method


def test_tiles_travel_in_the_rows_of_a_table():
    import pyarrow
    from ray.data.block import BlockAccessor

    from earthinstruct.running.reading import Tile

    tiles = [Tile(3, (1, 2, 3, 4)), Tile(4), Tile(5, (0, 0, 9, 9))]
    table = pyarrow.Table.from_pylist([{"tiles": ray_engine._numbers_of(tiles)}])
    (row,) = BlockAccessor.for_block(table).iter_rows(public_row_format=True)
    assert ray_engine._tiles_of(row["tiles"]) == tiles
