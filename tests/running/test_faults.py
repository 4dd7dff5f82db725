"""What goes wrong in a long run: it is said, nothing is lost, nothing is there twice, and the run can go on."""

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from earthinstruct import evaluate
from earthinstruct.errors import EarthInstructError
from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.lock import LOCK, folder_lock
from earthinstruct.running.predictions import RecordWriter

SETTING = "open_ended"
KILLS = int(os.environ.get("EARTHINSTRUCT_KILLS", "5"))
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
pytestmark = pytest.mark.timeout(120)


def run(method, dataset, output, **options):
    return evaluate(method, dataset, setting=SETTING, output=output, resamples=0, **options)


def answers(file):
    """The predictions without what differs from run to run."""
    return re.sub(rb',"seconds":{[^}]*}', b"", file.read_bytes())


def predictions_file(output, method="faulty"):
    return output / "set" / SETTING / method / "predictions.jsonl"


# ---------------------------------------------------------------- a method that misbehaves


def test_images_that_raise_exit_or_give_garbage_are_named_and_the_run_ends(numbered, faulty, tmp_path):
    faults = {"1": "raise", "4": "exit", "11": "garbage"}
    result = run(f"{faulty}:Faulty", numbered, tmp_path, parameters={"faults": faults}).results[0]
    assert result.run.failed == {
        "101": "RuntimeError: out of memory",
        "104": "SystemExit: 3",
        "111": "ContractError: predict must return a Prediction, got dict",
    }
    assert (result.run.n_done, result.run.n_failed) == (9, 3)
    # ships: one in each of 100, 101 and 105; 101 counts as answered with none, the others have at least one
    assert result.metrics.counting.tally["ship"].fn == 1


@POSIX
@pytest.mark.parametrize("name", ["Faulty", "Batched"])
def test_images_that_hang_or_kill_the_process_are_named_and_the_run_ends(numbered, faulty, tmp_path, name):
    options = EngineOptions(workers=2, timeout=2)
    faults = {"7": "die", "9": "hang"}
    result = run(f"{faulty}:{name}", numbered, tmp_path, engine=options, parameters={"faults": faults}).results[0]
    assert result.run.failed == {
        "107": "the worker process was killed by SIGKILL",
        "109": "no answer within 2 s",
    }
    assert result.run.n_done == 10


@POSIX
def test_a_worker_that_leaks_is_replaced(numbered, faulty, tmp_path):
    options = EngineOptions(worker_memory=1e9)
    faults = {str(i): "leak" for i in range(8)}  # 0.3 GB each
    result = run(f"{faulty}:Faulty", numbered, tmp_path, engine=options, parameters={"faults": faults}).results[0]
    assert result.run.n_failed == 0
    lines = predictions_file(tmp_path).read_text().splitlines()
    pids = [json.loads(line)["seconds"]["pid"] for line in lines]
    # four of them hold 1.2 GB: no process can have gone on after the fourth, whatever else it holds
    assert max(pids[:8].count(pid) for pid in pids) <= 4


# ---------------------------------------------------------------- images


def test_truncated_corrupt_and_mislabelled_images_are_named(numbered, faulty, tmp_path):
    images = numbered.image_root
    (images / "2.png").write_bytes((images / "2.png").read_bytes()[:-400])
    (images / "5.png").write_bytes(b"not an image")
    (images / "6.png").write_bytes(b"")
    damaged = bytearray((images / "9.png").read_bytes())
    damaged[16:20] = b"\xff\xff\xff\xff"  # the width in the header
    (images / "9.png").write_bytes(damaged)
    failed = run(f"{faulty}:Faulty", numbered, tmp_path).results[0].run.failed
    assert list(failed) == ["102", "105", "106", "109"]
    assert all("cannot be read" in reason for reason in failed.values())
    assert "truncated" in failed["102"]


def test_nothing_is_written_to_the_data(numbered, faulty, tmp_path):
    folder = numbered.image_root.parent
    paths = [folder, *sorted(folder.rglob("*"))]
    before = [path.stat().st_mtime_ns for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        result = run(f"{faulty}:Faulty", numbered, tmp_path / "runs").results[0]
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert result.run.n_failed == 0
    assert [folder, *sorted(folder.rglob("*"))] == paths
    assert [path.stat().st_mtime_ns for path in paths] == before


# ---------------------------------------------------------------- a disk that is full, a clock that goes back


def test_a_full_disk_is_said_and_the_run_goes_on_later(numbered, faulty, tmp_path, monkeypatch):
    write = RecordWriter.write
    written = []

    def full(self, record):
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(record.image_id)
        write(self, record)

    whole = run(f"{faulty}:Faulty", numbered, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", full)
        with pytest.raises(EarthInstructError, match=r"cannot be written: No space left on device; .*is kept"):
            run(f"{faulty}:Faulty", numbered, tmp_path / "full")
    assert predictions_file(tmp_path / "full").read_bytes().count(b"\n") == 4
    resumed = run(f"{faulty}:Faulty", numbered, tmp_path / "full")
    assert answers(predictions_file(tmp_path / "full")) == answers(predictions_file(tmp_path / "whole"))
    assert resumed.results[0].metrics == whole.results[0].metrics


@POSIX
@pytest.mark.parametrize("limit", [10, 700, 1300])
def test_a_write_that_the_system_cuts_short_leaves_a_run_that_goes_on(numbered, faulty, tmp_path, limit):
    import resource

    whole = run(f"{faulty}:Faulty", numbered, tmp_path / "whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # no file may be longer: the next write is torn
    try:
        with pytest.raises(EarthInstructError, match="cannot be written: File too large"):
            run(f"{faulty}:Faulty", numbered, tmp_path / "cut")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resumed = run(f"{faulty}:Faulty", numbered, tmp_path / "cut")
    assert answers(predictions_file(tmp_path / "cut")) == answers(predictions_file(tmp_path / "whole"))
    assert resumed.results[0].metrics == whole.results[0].metrics


def test_an_output_that_cannot_be_made_is_said(numbered, faulty, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EarthInstructError, match="cannot be written: Not a directory; give another --output"):
        run(f"{faulty}:Faulty", numbered, tmp_path / "file")


def test_seconds_do_not_come_from_a_clock_that_can_go_back(numbered, faulty, tmp_path, monkeypatch):
    now = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    run(f"{faulty}:Faulty", numbered, tmp_path, limit=4)
    for line in predictions_file(tmp_path).read_text().splitlines():
        assert 0 <= json.loads(line)["seconds"]["total"] < 10


# ---------------------------------------------------------------- two runs in one folder


def test_a_folder_in_use_is_refused(numbered, faulty, tmp_path):
    folder = predictions_file(tmp_path).parent
    with (
        folder_lock(folder),
        pytest.raises(EarthInstructError, match=rf"in use by another run \(process {os.getpid()}\)"),
    ):
        run(f"{faulty}:Faulty", numbered, tmp_path, overwrite=True)
    assert not (folder / LOCK).exists()
    assert run(f"{faulty}:Faulty", numbered, tmp_path).results[0].run.n_failed == 0


@POSIX
def test_the_lock_of_a_dead_process_is_no_obstacle(numbered, faulty, tmp_path):
    folder = predictions_file(tmp_path).parent
    code = f"""
import time
from pathlib import Path
from earthinstruct.running.lock import folder_lock
with folder_lock(Path({str(folder)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(EarthInstructError, match=f"process {process.pid}"):
        run(f"{faulty}:Faulty", numbered, tmp_path)
    process.kill()
    process.wait()
    process.stdout.close()
    assert (folder / LOCK).exists()
    assert run(f"{faulty}:Faulty", numbered, tmp_path).results[0].run.n_failed == 0
    assert not (folder / LOCK).exists()


# ---------------------------------------------------------------- interrupts and kills


def heed_interrupts():
    """A process that a shell started in the background ignores interrupts, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(numbered, faulty, output, *more):
    """The command line at work; it has answered two images."""
    command = [sys.executable, "-m", "earthinstruct", "evaluate", "--method", f"{faulty}:Faulty", "-M", "pause=0.3"]
    command += ["--dataset", str(numbered.image_root.parent / "annotations.json"), "--setting", SETTING]
    command += ["--output", str(output), "--resamples", "0", *more]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed_interrupts if os.name == "posix" else None,
    )
    file = predictions_file(output)
    deadline = time.monotonic() + 40
    while not (file.exists() and file.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process, file


@POSIX
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_finishes_the_images_in_hand_and_says_how_to_go_on(numbered, faulty, tmp_path, workers):
    process, file = start(numbered, faulty, tmp_path / "runs", "--workers", workers)
    before = file.read_bytes()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"finishing the images in hand" in said
    assert b"the same command goes on from there" in said
    assert b"Traceback" not in said
    after = file.read_bytes()
    assert after.startswith(before)
    assert after.endswith(b"\n")
    in_hand = after.count(b"\n") - before.count(b"\n")
    assert 1 <= in_hand <= 2 * int(workers)
    assert b'"error"' not in after
    run(f"{faulty}:Faulty", numbered, tmp_path / "runs", parameters={"pause": 0.3})
    run(f"{faulty}:Faulty", numbered, tmp_path / "whole", parameters={"pause": 0.0})
    assert answers(file) == answers(predictions_file(tmp_path / "whole"))


@POSIX
def test_a_second_interrupt_stops_at_once(numbered, faulty, tmp_path):
    faults = json.dumps({str(i): "hang" for i in range(2, 12)})
    process, _ = start(numbered, faulty, tmp_path, "-M", f"faults={faults}", "--overwrite")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command without --overwrite goes on from there" in said


KILLED = """
import json, os, random, re, signal, sys, time
from pathlib import Path
from earthinstruct import evaluate, load_dataset

method, annotations, output, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
dataset = load_dataset(annotations)
options = dict(setting="open_ended", resamples=0, parameters={"pause": 0.01})

def state(evaluation):
    folder = evaluation.folders[0]
    text = re.sub(r',"seconds":{[^}]*}', "", (folder / "predictions.jsonl").read_text())
    return text, evaluation.results[0].metrics, sorted(path.name for path in folder.iterdir())

evaluate(method, dataset, output=output / "warm", **options)
started = time.monotonic()
expected = state(evaluate(method, dataset, output=output / "whole", **options))
seconds = time.monotonic() - started
generator = random.Random(20)
found = {"kills": 0, "in the middle": 0, "same": 0}
while found["kills"] < kills:
    folder = output / str(found["kills"])
    child = os.fork()
    if child == 0:
        evaluate(method, dataset, output=folder, **options)
        os._exit(0)
    time.sleep(generator.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    file = folder / "set/open_ended/faulty/predictions.jsonl"
    lines = file.read_bytes().count(b"\\n") if file.exists() else 0
    found["kills"] += 1
    found["in the middle"] += killed and 0 < lines < 12
    found["same"] += state(evaluate(method, dataset, output=folder, **options)) == expected
print(json.dumps(found))
"""


@POSIX
@pytest.mark.timeout(600)
def test_killed_at_random_moments_a_run_gives_what_it_would_have_given(numbered, faulty, tmp_path):
    annotations = numbered.image_root.parent / "annotations.json"
    command = [sys.executable, "-c", KILLED, f"{faulty}:Faulty", str(annotations), str(tmp_path / "runs"), str(KILLS)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    logging.getLogger(__name__).info(found)  # see docs/reliability.md
    assert found["kills"] == found["same"] == KILLS
