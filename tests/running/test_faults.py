"""What goes wrong in a long run: it is said, nothing is lost, nothing is there twice, and the run can go on."""

import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earthinstruct import Prediction, evaluate, load_dataset, score
from earthinstruct.cli import main
from earthinstruct.errors import EarthInstructError
from earthinstruct.predictions.file import RecordWriter
from earthinstruct.predictions.lock import HOLDER, LOCK, folder_lock
from earthinstruct.results import print_blocks, read_result
from earthinstruct.running import EngineOptions

SETTING = "open_ended"
KILLS = int(os.environ.get("EARTHINSTRUCT_KILLS", "5"))
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
pytestmark = pytest.mark.timeout(300)


def run(method, dataset, output, **options):
    return evaluate(method, dataset, setting=SETTING, output=output, **options)


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


ROUGH = """
import atexit
import os
import sys
import threading
import time
from pathlib import Path

from earthinstruct import EarthInstructError, Prediction


class Panic(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


class Last(Exception):
    def __str__(self):
        sys.exit(0)


class LastOfOurs(EarthInstructError):
    def __str__(self):
        sys.exit(0)


class Odd:
    def __getattr__(self, name):
        raise LookupError(f"no {name}")


class Rough:
    name = "rough"

    def __init__(self, where="", what="raise"):
        self.where, self.what = where, what
        self.go_wrong("__init__")

    def go_wrong(self, where):
        if where == self.where:
            if self.what == "exit":
                sys.exit(0)
            if self.what == "hang":
                threading.Event().wait()
            if self.what == "words":
                raise LastOfOurs
            if self.what == "panic":
                raise Panic("at the disco")
            raise RuntimeError("that was wrong")

    def predict(self, image, instruction):
        number = int(image[0, 0, 0])
        if self.where == "predict":
            if number == 1:
                raise Panic("at the disco")
            if number == 2:
                raise Mute
            if number == 3:
                raise GeneratorExit
            if number == 4:
                return Prediction(counts={"ship": 10**30})
        if self.where == "interrupt" and number == 5:
            raise KeyboardInterrupt
        if self.where == "streams":
            sys.stdout.close()
        if self.where == "moves":
            os.chdir("/")
        if self.where == "loud":
            print("x" * 1_000_000)
        if self.where == "leaves":
            os._exit(0)
        if self.where == "thread" and number == 0:
            threading.Thread(target=time.sleep, args=(600,), name="endless").start()
        if self.where == "at exit" and number == 0:
            atexit.register(os._exit, 0)
        if self.where == "words" and number == 2:
            raise Last
        if self.where == "fork" and number in (2, 6) and os.fork() == 0:
            if number == 2:
                raise RuntimeError("in the child")
            time.sleep(0.1)
        if self.where == "outlived" and number == 2:
            child = os.fork()
            if child == 0:
                time.sleep(600)
                os._exit(0)
            Path(__file__).with_name(f"child.{child}").touch()
            os._exit(7)
        return Prediction(labels=["ship"], boxes=[[number, 1, 4, 4]])

    def describe(self):
        self.go_wrong("describe")
        values = {"json": {"of": object()}, "odd": Odd()}
        return {"parameters": values[self.where]} if self.where in values else {}

    def skip(self, task):
        self.go_wrong("skip")

    def close(self):
        self.go_wrong("close")
"""


@pytest.fixture
def rough(tmp_path):
    """A method that goes wrong in ways that are no exceptions of a usual kind, and in other places than predict."""
    (tmp_path / "rough.py").write_text(ROUGH)
    return f"{tmp_path / 'rough.py'}:Rough"


def test_whatever_an_image_makes_of_the_method_is_the_reason_of_that_image(numbered, rough, tmp_path):
    failed = run(rough, numbered, tmp_path, parameters={"where": "predict"}).results[0].run.failed
    assert failed.pop("104").startswith("ContractError: counts['ship'] must be an integer >= 0 and at most")
    assert failed == {"101": "Panic: at the disco", "102": "Mute", "103": "GeneratorExit: "}


REASONS = {"raise": "RuntimeError: that was wrong", "exit": "SystemExit: 0", "panic": "Panic: at the disco"}


@pytest.mark.parametrize(("what", "workers"), [("raise", 1), ("exit", 1), ("panic", 1), ("exit", 2), ("panic", 2)])
@pytest.mark.parametrize("where", ["__init__", "describe", "skip"])
def test_a_method_that_fails_before_the_first_image_is_an_error(numbered, rough, tmp_path, where, what, workers):
    reason = REASONS[what]
    step = "cannot be made" if where == "__init__" else rf"{where}\(\)"
    with pytest.raises(EarthInstructError, match=rf"method.* {step}.*{reason}|{step} of the method .*{reason}"):
        run(rough, numbered, tmp_path, parameters={"where": where, "what": what}, engine=EngineOptions(workers=workers))


def test_a_method_whose_name_cannot_be_read_is_an_error(numbered, tmp_path):
    code = (
        "class Nameless:\n    predict = print\n    @property\n    def name(self):\n        raise LookupError('lost')\n"
    )
    (tmp_path / "nameless.py").write_text(code)
    with pytest.raises(EarthInstructError, match="Nameless' cannot be made: LookupError: lost"):
        run(f"{tmp_path / 'nameless.py'}:Nameless", numbered, tmp_path)


def test_a_module_that_ends_the_program_is_an_error(numbered, tmp_path):
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(EarthInstructError, match="cannot be loaded: SystemExit: 0"):
        run(f"{tmp_path / 'ends.py'}:Ends", numbered, tmp_path)


def test_what_no_file_can_hold_of_a_method_is_said_before_the_first_image(numbered, rough, tmp_path):
    for where, why in (("json", "object"), ("odd", "no items")):
        with pytest.raises(EarthInstructError, match=rf"'rough': describe\(\) is malformed: .*{why}"):
            run(rough, numbered, tmp_path, parameters={"where": where})


ENDS = """
import sys
from earthinstruct import Prediction

class Ends:
    name = "ends"

    def predict(self, image, instruction):
        if image[0, 0, 0] == 0:
            sys.exit(0)
        if image[0, 0, 0] == 1:
            raise GeneratorExit("no Exception")
        return Prediction(labels=["ship"], boxes=[[1, 1, 4, 4]])

    def explain(self, image, instruction):
        sys.exit(0)
"""


def test_what_ends_the_program_fails_an_image_of_predict_too(numbered, tmp_path, capsys):
    (tmp_path / "ends.py").write_text(ENDS)
    images = [str(numbered.annotation_file.parent / "images" / f"{i}.png") for i in range(3)]

    def predicted(paths, *options):
        words = [
            "predict",
            "--method",
            f"{tmp_path / 'ends.py'}:Ends",
            *paths,
            "--open-ended",
            "--output",
            str(tmp_path / "runs"),
        ]
        code = main([*words, *options])
        return code, "".join(capsys.readouterr())

    code, said = predicted(images)
    assert code == 1
    assert f"failed: {images[0]}: SystemExit: 0" in said
    assert f"failed: {images[1]}: GeneratorExit: no Exception" in said
    assert f"{images[2]}: ship 1" in said
    for path, options in ((images[0], ()), (images[2], ("--explain", str(tmp_path / "why.png")))):
        code, said = predicted([path], *options)
        assert code == 2
        assert f"error: image {path}: SystemExit: 0" in said


@pytest.mark.parametrize("what", ["raise", "exit"])
def test_a_method_that_fails_at_its_end_keeps_its_answers(numbered, rough, tmp_path, caplog, what):
    result = run(rough, numbered, tmp_path, parameters={"where": "close", "what": what}).results[0]
    assert result.run.n_done == 12
    assert "close() of the method failed" in caplog.text


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=POSIX)])
def test_a_close_that_never_returns_is_said_and_not_waited_for(numbered, rough, tmp_path, caplog, monkeypatch, workers):
    for module in ("worker", "processes"):
        monkeypatch.setattr(f"earthinstruct.running.engines.{module}.SECONDS_TO_CLOSE", 0.1)
    parameters, options = {"where": "close", "what": "hang"}, EngineOptions(workers=workers)
    result = run(rough, numbered, tmp_path, parameters=parameters, engine=options).results[0]
    assert result.run.n_done == 12
    said = "close() of the method has not returned" if workers == 1 else "a worker has not ended after"
    assert said in caplog.text


def test_an_interrupt_that_the_method_makes_itself_stops_the_run_and_keeps_what_is_there(numbered, rough, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(rough, numbered, tmp_path, parameters={"where": "interrupt"})
    assert predictions_file(tmp_path, "rough").read_bytes().count(b"\n") == 5


@POSIX
def test_in_a_worker_an_interrupt_that_the_method_makes_itself_fails_its_image_alone(numbered, rough, tmp_path):
    options = EngineOptions(workers=2)
    result = run(rough, numbered, tmp_path, parameters={"where": "interrupt"}, engine=options).results[0]
    assert list(result.run.failed) == ["105"]
    assert "the worker process ended with exit code 1" in result.run.failed["105"]


def test_a_method_that_changes_the_working_directory_changes_nothing_else(numbered, rough, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset("set/annotations.json")
    result = run(rough, dataset, "runs", parameters={"where": "moves"}).results[0]
    assert (result.run.n_done, result.run.n_failed) == (12, 0)


@POSIX
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of Python, on forks beside threads
def test_a_copy_of_the_process_that_a_method_makes_answers_nothing(numbered, rough, tmp_path):
    result = run(rough, numbered, tmp_path, parameters={"where": "fork"}).results[0]
    assert (result.run.n_done, result.run.n_failed) == (12, 0)
    lines = predictions_file(tmp_path, "rough").read_text().splitlines()
    assert [json.loads(line)["image_id"] for line in lines] == list(range(100, 112))


@POSIX
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_worker_that_a_child_of_its_method_outlives_is_lost_at_once(numbered, rough, tmp_path):
    options = EngineOptions(workers=2)
    result = run(rough, numbered, tmp_path, parameters={"where": "outlived"}, engine=options).results[0]
    children = [int(file.suffix[1:]) for file in tmp_path.glob("child.*")]
    assert children
    for child in children:
        os.kill(child, signal.SIGKILL)  # all of them are still there
    assert list(result.run.failed) == ["102"]
    assert "exit code 7" in result.run.failed["102"]


def command(method, numbered, output, *more):
    words = [sys.executable, "-m", "earthinstruct", "evaluate", "--method", method, "--setting", SETTING]
    words += ["--dataset", str(numbered.image_root.parent / "annotations.json")]
    return [*words, "--output", str(output), *more]


def program(rough, numbered, tmp_path, where, what="raise"):
    """The command line in a process of its own, which ends soon whatever a method left."""
    code = "import sys; from earthinstruct import cli; cli.SECONDS_TO_END = 0.2; sys.exit(cli.main())"
    words = command(rough, numbered, tmp_path, "-M", f"where={where}", "-M", f"what={what}")
    words[1:3] = ["-c", code]
    return subprocess.run(words, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(
    ("where", "what", "code", "words"),
    [
        ("thread", "raise", 0, "warning: something keeps the program from ending (threads of the method: endless)"),
        ("at exit", "raise", 0, ""),
        ("leaves", "raise", 2, "error: the method ended the program; what went into files is there"),
        ("words", "raise", 1, ""),
        ("__init__", "words", 2, "error: LastOfOurs"),
    ],
)
def test_a_program_ends_and_only_a_whole_run_is_a_success(numbered, rough, tmp_path, where, what, code, words):
    done = program(rough, numbered, tmp_path, where, what)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert ("open_ended" in done.stdout) == (code < 2)
    if where == "words":
        assert "image 102: Last" in done.stdout


def test_the_end_of_the_program_in_the_middle_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("earthinstruct.cli.check.run", lambda arguments: sys.exit(0))
    assert main(["check", "runs", "--against", "guarded"]) == 2
    assert "error: sys.exit(0) ended the command" in capsys.readouterr().err


def test_a_standard_output_that_is_taken_away_is_an_error(monkeypatch, capsys):
    def taken_away(arguments):
        sys.stdout = None
        print_blocks(["a line"])

    monkeypatch.setattr("earthinstruct.cli.check.run", taken_away)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # and given back
    assert main(["check", "runs", "--against", "guarded"]) == 2
    assert "error: standard output cannot be written" in capsys.readouterr().err


def test_a_method_that_prints_much_leaves_the_json_alone(numbered, rough, tmp_path):
    words = command(rough, numbered, tmp_path, "--json", "-", "-M", "where=loud")
    done = subprocess.run(words, capture_output=True, check=True, timeout=200)
    assert json.loads(done.stdout)[0]["run"]["n_done"] == 12
    assert done.stderr.count(b"x") > 12_000_000


@POSIX
@pytest.mark.parametrize("where", ["streams", "full"])
def test_a_standard_output_that_takes_nothing_is_one_error_and_the_run_is_kept(numbered, rough, tmp_path, where):
    with Path("/dev/full" if where == "full" else os.devnull).open("wb") as output:
        words = command(rough, numbered, tmp_path, "-M", f"where={where}")
        done = subprocess.run(words, stdout=output, stderr=subprocess.PIPE, timeout=200)
    assert done.returncode == 2
    assert b"error: standard output cannot be written" in done.stderr
    assert b"Traceback" not in done.stderr
    assert predictions_file(tmp_path, "rough").with_name("result.json").exists()


@POSIX
@pytest.mark.parametrize("name", ["Faulty", "Batched"])
def test_images_that_hang_or_kill_the_process_are_named_and_the_run_ends(numbered, faulty, tmp_path, name):
    options = EngineOptions(workers=2, timeout=5)
    faults = {"7": "die", "9": "hang"}
    whole = {"engine": options, "parameters": {"faults": faults}, "limit": 10}
    result = run(f"{faulty}:{name}", numbered, tmp_path, **whole).results[0]
    assert result.run.failed == {
        "107": "the worker process was killed by SIGKILL",
        "109": "no answer within 5 s",
    }
    assert result.run.n_done == 8


@POSIX
def test_a_worker_that_leaks_is_replaced(numbered, faulty, tmp_path):
    options = EngineOptions(worker_memory=0.4)
    faults = {str(i): "leak" for i in range(8)}  # 0.1 GB each
    result = run(f"{faulty}:Faulty", numbered, tmp_path, engine=options, parameters={"faults": faults}).results[0]
    assert result.run.n_failed == 0
    lines = predictions_file(tmp_path).read_text().splitlines()
    pids = [json.loads(line)["seconds"]["pid"] for line in lines]
    # four of them hold 0.4 GB: no process can have gone on after the fourth, whatever else it holds
    assert max(pids[:8].count(pid) for pid in pids) <= 4


GREEDY = """
from earthinstruct import Prediction, PredictionError, Usage


class Greedy:
    name = "greedy"

    def predict(self, image, instruction):
        number = int(image[0, 0, 0])
        if number == 1:
            return Prediction(labels=["s" * 3000], boxes=[[1, 1, 4, 4]])
        if number == 2:
            return Prediction(counts={f"ship {i}": 1 for i in range(300)})
        if number == 3:
            raise ValueError("long " * 1_000_000)
        if number == 4:
            return Prediction(usage=Usage(seconds={"counter": 1e308}))
        if number == 5:
            raise PredictionError("overdrawn", Usage(input_tokens=2**63 - 1))
        if number == 6:
            return Prediction(usage=Usage(input_tokens=2**63 - 1, events={"calls": 2**63 - 1}))
        if number == 7:
            return Prediction(usage=Usage(seconds={"counter": 1e9}, events={"calls": 5}))
        return Prediction(labels=["ship"], boxes=[[number, 1, 4, 4]])
"""


def test_no_answer_makes_a_run_unscorable(numbered, tmp_path, monkeypatch, capsys):
    """Answers that no reader would accept fail their image; what is kept adds up."""
    monkeypatch.setattr("earthinstruct.predictions.file._LONGEST_LINE", 2048)
    (tmp_path / "greedy.py").write_text(GREEDY)
    for _ in range(2):  # failed images are tried again, and their cost is added up
        evaluation = run(f"{tmp_path / 'greedy.py'}:Greedy", numbered, tmp_path)
    result = evaluation.results[0]
    reasons = result.run.failed
    assert list(reasons) == ["101", "102", "103", "104", "105"]
    for image in ("101", "102"):
        assert reasons[image].startswith("the prediction cannot be kept: it takes 0 MiB, and a line may take")
    assert reasons["103"].endswith("... (shortened)")
    assert len(reasons["103"]) == 1000
    assert reasons["104"].startswith("ContractError: usage.seconds['counter'] must be a number from 0 to 1e+09")
    assert reasons["105"] == "PredictionError: overdrawn"
    assert result.run.input_tokens == result.run.events["calls"] == 2**63 - 1
    assert result.run.seconds["counter"] == 1e9
    assert score(evaluation.folders[0], numbered, SETTING).metrics == result.metrics
    assert read_result(evaluation.folders[0] / "result.json") == result
    assert len(str(evaluation)) < 10_000


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
        with pytest.raises(EarthInstructError, match=r"cannot be written: No space left on device; .*are kept"):
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


@POSIX
@pytest.mark.parametrize("image", [4, 11], ids=["in the middle", "at the last image"])
@pytest.mark.parametrize("what", ["folder", "file", "moved"])
def test_a_run_whose_folder_is_removed_ends_at_once_and_says_what_is_lost(numbered, tmp_path, image, what):
    file = predictions_file(tmp_path, "cleaner")
    asked = []

    class Cleaner:
        name = "cleaner"

        def predict(self, pixels, instruction):
            asked.append(int(pixels[0, 0, 0]))
            if asked[-1] == image and what == "folder":
                shutil.rmtree(file.parent)
            elif asked[-1] == image:
                file.rename(tmp_path / "elsewhere") if what == "moved" else file.unlink()
            return Prediction()

    with pytest.raises(EarthInstructError) as refused:
        run(Cleaner(), numbered, tmp_path)
    assert f"{file} was removed or moved while the run wrote to it, with the predictions so far" in str(refused.value)
    assert "kept" not in str(refused.value)
    assert len(asked) == image + 1


def test_an_output_that_cannot_be_made_is_said(numbered, faulty, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EarthInstructError, match="cannot be written: Not a directory; give another --output"):
        run(f"{faulty}:Faulty", numbered, tmp_path / "file")


def test_seconds_do_not_come_from_a_clock_that_can_go_back(numbered, faulty, tmp_path, monkeypatch):
    now = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    run(f"{faulty}:Faulty", numbered, tmp_path, limit=4)
    for line in predictions_file(tmp_path, "faulty-limit-4").read_text().splitlines():
        assert json.loads(line)["seconds"]["total"] >= 0


@POSIX
def test_a_clock_that_jumps_is_no_time_out(numbered, faulty, tmp_path, monkeypatch):
    now = iter(range(10**6, 10**9, 10_000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    options = EngineOptions(timeout=100)
    assert run(f"{faulty}:Faulty", numbered, tmp_path, engine=options, limit=4).results[0].run.n_failed == 0


# ---------------------------------------------------------------- two runs in one folder


def test_a_folder_in_use_is_refused(numbered, faulty, tmp_path):
    folder = predictions_file(tmp_path).parent
    with (
        folder_lock(folder),
        pytest.raises(EarthInstructError, match=rf"in use by another run \(process {os.getpid()}\)"),
    ):
        run(f"{faulty}:Faulty", numbered, tmp_path, overwrite=True)
    assert not (folder / LOCK).exists()
    assert not (folder / HOLDER).exists()
    assert run(f"{faulty}:Faulty", numbered, tmp_path).results[0].run.n_failed == 0


@POSIX
def test_the_lock_of_a_dead_process_is_no_obstacle(numbered, faulty, tmp_path):
    folder = predictions_file(tmp_path).parent
    code = f"""
import time
from pathlib import Path
from earthinstruct.predictions.lock import folder_lock
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
    assert (folder / HOLDER).exists()
    assert run(f"{faulty}:Faulty", numbered, tmp_path).results[0].run.n_failed == 0
    assert not (folder / LOCK).exists()
    assert not (folder / HOLDER).exists()


# ---------------------------------------------------------------- interrupts and kills


def heed_interrupts():
    """A process that a shell started in the background ignores interrupts, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def eventually(condition):
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waits(folder):
    """The parameters of a method whose images from the third on wait for the file `gate`."""
    return {"faults": dict.fromkeys(map(str, range(2, 12)), "wait"), "gate": str(folder / "gate")}


@pytest.fixture
def start(numbered, faulty):
    """Starts the command line; returns it at work: two images are answered, and some wait."""
    started = []

    def start(output, parameters, *more, waiting=1):
        options = [f"-M={name}={json.dumps(value)}" for name, value in parameters.items()]
        process = subprocess.Popen(
            command(f"{faulty}:Faulty", numbered, output, *options, *more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=heed_interrupts if os.name == "posix" else None,
        )
        started.append(process)
        file = predictions_file(output)
        gate = Path(parameters["gate"])
        eventually(lambda: len(list(gate.parent.glob("gate.*"))) >= waiting)
        eventually(lambda: file.exists() and file.read_bytes().count(b"\n") == 2)
        return process, file

    yield start
    for process in started:
        if process.poll() is None:  # the test failed
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@POSIX
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_finishes_the_images_in_hand_and_says_how_to_go_on(start, numbered, faulty, tmp_path, workers):
    parameters = waits(tmp_path)
    process, file = start(tmp_path / "runs", parameters, "--workers", workers, waiting=int(workers))
    before = file.read_bytes()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    assert any(b"finishing the current images" in line for line in process.stderr)  # read no further than that
    (tmp_path / "gate").touch()
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130
    assert b"continue with the same command" in said
    assert b"Traceback" not in said
    after = file.read_bytes()
    assert after.startswith(before)
    assert after.endswith(b"\n")
    assert after.count(b"\n") - before.count(b"\n") == int(workers)
    assert b'"error"' not in after
    run(f"{faulty}:Faulty", numbered, tmp_path / "runs", parameters=parameters)
    run(f"{faulty}:Faulty", numbered, tmp_path / "whole")
    assert answers(file) == answers(predictions_file(tmp_path / "whole"))


@POSIX
def test_a_second_interrupt_stops_at_once(start, tmp_path):
    process, _ = start(tmp_path, waits(tmp_path), "--overwrite")
    process.send_signal(signal.SIGINT)
    assert any(b"finishing the current images" in line for line in process.stderr)  # read no further than that
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130
    assert b"continue with the same command without --overwrite" in said


def wait_for_the_end_of_group(group):
    """The workers of a run are of its process group."""

    def ended():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    eventually(ended)


@POSIX
def test_a_worker_that_hangs_ends_with_a_run_that_is_killed(start, tmp_path):
    process, _ = start(tmp_path, waits(tmp_path), "--workers", "2", waiting=2)
    process.kill()
    process.communicate(timeout=100)
    wait_for_the_end_of_group(process.pid)


@POSIX
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_terminated_run_leaves_no_process_and_goes_on_later(start, numbered, faulty, tmp_path, workers):
    parameters = waits(tmp_path)
    process, file = start(tmp_path / "runs", parameters, "--workers", workers, waiting=int(workers))
    before = file.read_bytes()
    process.terminate()
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGTERM
    wait_for_the_end_of_group(process.pid)
    assert file.read_bytes().startswith(before)
    (tmp_path / "gate").touch()
    run(f"{faulty}:Faulty", numbered, tmp_path / "runs", parameters=parameters)
    run(f"{faulty}:Faulty", numbered, tmp_path / "whole")
    assert answers(file) == answers(predictions_file(tmp_path / "whole"))


KILLED_WHILE_WRITING = """
import os, sys
from earthinstruct import evaluate, load_dataset

os.fsync = lambda number: os.kill(os.getpid(), 9)  # the first file that is replaced
evaluate(sys.argv[1], load_dataset(sys.argv[2]), setting="open_ended", output=sys.argv[3])
"""


@POSIX
def test_of_a_run_killed_while_it_writes_a_file_nothing_is_left_over(numbered, faulty, tmp_path):
    annotations = numbered.image_root.parent / "annotations.json"
    words = [sys.executable, "-c", KILLED_WHILE_WRITING, f"{faulty}:Faulty", str(annotations), str(tmp_path / "runs")]
    assert subprocess.run(words, timeout=200).returncode == -signal.SIGKILL
    folder = predictions_file(tmp_path / "runs").parent
    assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"]
    run(f"{faulty}:Faulty", numbered, tmp_path / "runs")
    assert sorted(path.name for path in folder.iterdir()) == [
        "predictions.jsonl", "result.json", "run.json", "suspects.json", "tallies.npz",
    ]  # fmt: skip


KILLED = """
import json, os, random, re, signal, sys, time
from pathlib import Path
from earthinstruct import evaluate, load_dataset
from earthinstruct.running.engines import EngineOptions

method, annotations, output, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
workers = int(sys.argv[5])
spread = EngineOptions(workers=workers)
pause = 0.01 if workers == 1 else 0.1
dataset = load_dataset(annotations)
options = dict(setting="open_ended", parameters={"pause": pause})

def lines(file):
    return file.read_bytes().count(b"\\n") if file.exists() else 0

def state(evaluation):
    folder = evaluation.folders[0]
    text = re.sub(r',"seconds":{[^}]*}', "", (folder / "predictions.jsonl").read_text())
    return text, evaluation.results[0].metrics, sorted(path.name for path in folder.iterdir())

evaluate(method, dataset, output=output / "warm", **options)
started = time.monotonic()
expected = state(evaluate(method, dataset, output=output / "whole", engine=spread, **options))
seconds = time.monotonic() - started
generator = random.Random(20)
found = {"kills": 0, "in the middle": 0, "same": 0}
while found["kills"] < kills:
    folder = output / str(found["kills"])
    file = folder / "set/open_ended/faulty/predictions.jsonl"
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        evaluate(method, dataset, output=folder, engine=spread, **options)
        os._exit(0)
    if workers > 1:  # they take longer to start than to answer
        while not lines(file):
            time.sleep(0.01)
        seconds = 12 * pause / workers
    time.sleep(generator.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        try:
            os.killpg(child, 0)  # its workers are of its group
            time.sleep(0.02)
        except ProcessLookupError:
            break
    else:
        raise RuntimeError("a process is left over")
    found["kills"] += 1
    found["in the middle"] += killed and 0 < lines(file) < 12
    found["same"] += state(evaluate(method, dataset, output=folder, **options)) == expected
print(json.dumps(found))
"""


@POSIX
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("workers", "kills"), [(1, KILLS), (2, (KILLS + 3) // 4)])
def test_killed_at_random_moments_a_run_gives_what_it_would_have_given(numbered, faulty, tmp_path, workers, kills):
    annotations = numbered.image_root.parent / "annotations.json"
    words = [sys.executable, "-c", KILLED, f"{faulty}:Faulty", str(annotations), str(tmp_path / "runs"), str(kills)]
    found = json.loads(subprocess.run([*words, str(workers)], check=True, capture_output=True, text=True).stdout)
    logging.getLogger(__name__).info(found)  # see docs/reliability.md
    assert found["kills"] == found["same"] == kills


def test_overwriting_removes_nothing_where_one_folder_is_in_use(numbered, faulty, tmp_path):
    evaluation = evaluate(f"{faulty}:Faulty", numbered, output=tmp_path)
    first, *_, last = evaluation.folders
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    with folder_lock(last), pytest.raises(EarthInstructError, match="in use by another run"):
        evaluate(f"{faulty}:Faulty", numbered, output=tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
