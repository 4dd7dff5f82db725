"""The engine on Ray: a Ray of its own with two workers, one of which is killed in the middle."""

import json
import os
import re
import signal

import pytest

from earthinstruct import evaluate
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.engines.worker import MethodSource

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(300)  # on a busy machine, Ray alone takes a minute to start
SETTING = "open_ended"
TWO = EngineOptions("ray", workers=2, timeout=4)


def run(method, dataset, output, **options):
    return evaluate(method, dataset, setting=SETTING, output=output, resamples=0, **options)


def lines(evaluation):
    return (evaluation.folders[0] / "predictions.jsonl").read_bytes().splitlines()


def answers(evaluation):
    """The lines of the predictions file without what differs from run to run."""
    return [re.sub(rb',"seconds":{[^}]*}', b"", line) for line in lines(evaluation)]


def test_ray_gives_the_bytes_and_scores_of_one_process_although_workers_are_lost(numbered, faulty, tmp_path):
    killed = []

    def kill_one(task, done, total, failed):
        if done == 1 and not killed:
            record = json.loads((tmp_path / "ray/set" / SETTING / "faulty/predictions.jsonl").read_text())
            killed.append(int(record["seconds"]["pid"]))
            os.kill(killed[0], signal.SIGKILL)

    parameters = {"pause": 0.1, "faults": {"2": "raise", "5": "garbage", "8": "hang"}}
    on_ray = run(f"{faulty}:Faulty", numbered, tmp_path / "ray", parameters=parameters, engine=TWO, progress=kill_one)
    assert not ray.is_initialized()
    assert killed
    assert {json.loads(line).get("seconds", {}).get("pid") for line in lines(on_ray)} - {None, *killed}
    # in one process nothing ends a hanging image: there, it raises
    parameters["faults"]["8"] = "raise"
    local = run(f"{faulty}:Faulty", numbered, tmp_path / "local", parameters=parameters)
    hung = answers(on_ray).pop(8)
    assert json.loads(hung) == {"image_id": 108, "error": "no answer within 4 s"}
    assert [line for line in answers(on_ray) if line != hung] == answers(local)[:8] + answers(local)[9:]
    assert on_ray.results[0].metrics == local.results[0].metrics


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "auto"}, r"there is no Ray cluster at 'auto'.*`ray start --head`"),
        ({"gpus_per_worker": 64}, r"--gpus-per-worker 64: this machine has \d GPUs"),
    ],
)
def test_a_cluster_that_cannot_do_it_is_an_error_and_not_a_wait(numbered, faulty, tmp_path, options, message):
    with pytest.raises(EarthInstructError, match=message):
        run(f"{faulty}:Faulty", numbered, tmp_path, engine=EngineOptions("ray", **options))
    assert not ray.is_initialized()


def half(number):
    if number % 2:
        raise DataError(f"{number} is odd")
    return number // 2


def test_scoring_tasks_keep_the_order_and_raise_what_the_work_raised(numbered, faulty):
    from earthinstruct.running.engines.ray import RayPool

    with RayPool(TWO, MethodSource(f"{faulty}:Faulty"), numbered) as pool, pool.spread() as each:
        assert list(each(half, range(0, 20, 2))) == list(range(10))
        with pytest.raises(DataError, match=r"^3 is odd$"):
            list(each(half, [2, 3]))
