import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from earthinstruct_models.lvlm import Lvlm, LvlmError, Reply
from earthinstruct_models.store import KeptLvlm

from earthinstruct.errors import DataError


def image(n):
    return np.full((2, 3, 3), n, dtype=np.uint8)


class Scripted(Lvlm):
    """A language model that replies with the image's value, fails where told to, and counts how often it is asked."""

    def __init__(self, temperature=0.0, failing=(), device="cpu"):
        self.temperature = temperature
        self.device = device
        self.failing = set(failing)
        self.asked = []
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()

    def ask_many(self, images, text, schema=None, *, arrived=None):
        outcomes = []
        for i, one in enumerate(images):
            value = int(one.flat[0])
            self.asked.append(value)
            self.gate.wait(10)
            if value == 255:
                raise KeyboardInterrupt
            if value in self.failing:
                outcomes.append(LvlmError("no connection"))
                continue
            reply = Reply(f"{value} {text}", input_tokens=value, finish="refused" if value == 9 else "complete")
            if arrived:
                arrived(i, reply)
            outcomes.append(reply)
        return outcomes

    def describe(self):
        return {"lvlm": "scripted", "temperature": self.temperature, "device": self.device}

    def close(self):
        self.closed = True


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "replies.jsonl"


def test_without_a_file_the_last_replies_are_kept(monkeypatch):
    monkeypatch.setattr("earthinstruct_models.store.REPLIES_IN_MEMORY", 2)
    scripted = Scripted()
    lvlm = KeptLvlm(scripted)
    for n in (1, 2, 3, 3, 2, 1):
        assert lvlm.ask(image(n), "count").input_tokens == n
    assert scripted.asked == [1, 2, 3, 1]
    assert [reply.input_tokens for reply in lvlm.ask_many([image(n) for n in (4, 5, 6)], "count")] == [4, 5, 6]


def test_asked_once_and_also_after_a_restart(file):
    first = Scripted()
    lvlm = KeptLvlm(first, file)
    reply = lvlm.ask(image(3), "count")
    assert reply == Reply("3 count", input_tokens=3)
    assert lvlm.ask(image(3), "count") == reply
    assert first.asked == [3]
    again = Scripted(device="cuda")
    assert KeptLvlm(again, file).ask(image(3), "count") == reply
    assert again.asked == []
    assert lvlm.describe() == first.describe()
    lvlm.close()
    assert first.closed


def test_without_a_file():
    scripted = Scripted(failing=[7])
    lvlm = KeptLvlm(scripted)
    assert lvlm.ask(image(3), "count") == lvlm.ask(image(3), "count")
    assert scripted.asked == [3]


def test_anything_else_is_another_question(file):
    base = KeptLvlm(Scripted(), file)
    base.ask(image(3), "count")
    other = Scripted()
    lvlm = KeptLvlm(other, file)
    lvlm.ask(image(4), "count")
    lvlm.ask(image(3), "name")
    lvlm.ask(image(3), "count", {"type": "object"})
    lvlm.ask(image(3).reshape(3, 2, 3), "count")
    assert other.asked == [4, 3, 3, 3]
    warmer = Scripted(temperature=1.0)
    KeptLvlm(warmer, file).ask(image(3), "count")
    assert warmer.asked == [3]


def test_a_batch_asks_what_is_not_known_each_once(file):
    scripted = Scripted()
    lvlm = KeptLvlm(scripted, file)
    lvlm.ask(image(2), "count")
    arrived = {}
    outcomes = lvlm.ask_many([image(n) for n in (1, 2, 3, 1)], "count", arrived=arrived.__setitem__)
    assert [reply.input_tokens for reply in outcomes] == [1, 2, 3, 1]
    assert arrived == dict(enumerate(outcomes))
    assert scripted.asked == [2, 1, 3]
    assert lvlm.ask_many([], "count") == []


def test_a_request_under_way_is_not_made_twice(file):
    scripted = Scripted()
    scripted.gate.clear()
    lvlm = KeptLvlm(scripted, file)
    with ThreadPoolExecutor(6) as threads:
        waiting = [threads.submit(lvlm.ask, image(n), "count") for n in (5, 5, 5, 6, 5, 6)]
        scripted.gate.set()
        assert [future.result().input_tokens for future in waiting] == [5, 5, 5, 6, 5, 6]
    assert sorted(scripted.asked) == [5, 6]
    assert len(file.read_text().splitlines()) == 2


def test_a_failure_is_not_kept_a_refusal_is(file):
    scripted = Scripted(failing=[7])
    lvlm = KeptLvlm(scripted, file)
    outcomes = lvlm.ask_many([image(7), image(8), image(9)], "count")
    assert [type(outcome) for outcome in outcomes] == [LvlmError, Reply, Reply]
    with pytest.raises(LvlmError, match="no connection"):
        lvlm.ask(image(7), "count")
    scripted.failing.clear()
    assert lvlm.ask(image(7), "count").input_tokens == 7
    assert KeptLvlm(scripted, file).ask(image(9), "count").finish == "refused"
    assert scripted.asked == [7, 8, 9, 7, 7]


def test_an_interruption_keeps_what_arrived(file):
    scripted = Scripted()
    lvlm = KeptLvlm(scripted, file)
    with pytest.raises(KeyboardInterrupt):
        lvlm.ask_many([image(1), image(255), image(2)], "count")
    assert lvlm.ask(image(2), "count").input_tokens == 2  # nobody waits for what was never asked
    assert KeptLvlm(Scripted(), file).ask(image(1), "count").input_tokens == 1
    assert scripted.asked == [1, 255, 2]


@pytest.mark.parametrize("torn", [b'{"key": "ab', b'{"key":"x","reply":{"text":"\xc3', b"\xff"])
def test_a_torn_last_line_is_removed(file, torn):
    KeptLvlm(Scripted(), file).ask(image(1), "count")
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    scripted = Scripted()
    lvlm = KeptLvlm(scripted, file)
    assert file.read_bytes() == whole
    lvlm.ask(image(1), "count")
    lvlm.ask(image(2), "count")
    assert scripted.asked == [2]
    assert [json.loads(line)["reply"]["input_tokens"] for line in file.read_text().splitlines()] == [1, 2]


def test_a_line_that_another_process_tore_meanwhile_is_removed_before_the_next(file):
    lvlm = KeptLvlm(Scripted(), file)
    lvlm.ask(image(1), "count")
    with file.open("ab") as other:
        other.write(b'{"key":"x","reply":{"text":"tor')  # and is killed
    lvlm.ask(image(2), "count")
    assert [json.loads(line)["reply"]["input_tokens"] for line in file.read_text().splitlines()] == [1, 2]


def test_a_last_line_that_lacks_no_more_than_its_end_is_kept(file):
    KeptLvlm(Scripted(), file).ask_many([image(1), image(2)], "count")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    scripted = Scripted()
    KeptLvlm(scripted, file).ask(image(2), "count")
    assert scripted.asked == []
    assert file.read_bytes() == whole


def test_a_line_of_the_first_version_is_found(file):
    """Keys and lines as they were written from the first version on: replies that are paid for stay readable."""
    file.parent.mkdir()
    key = "b44f9d2af562279d9cb52f34ff727bc696709dad7ad536f07e72de88e9e12eec"
    file.write_text(f'{{"key":"{key}","reply":{{"text":"kept","input_tokens":5}}}}\n')
    scripted = Scripted()
    assert KeptLvlm(scripted, file).ask(image(3), "count", {"type": "object"}).text == "kept"
    assert scripted.asked == []


def test_two_processes_that_write_at_once_lose_no_line(file):
    code = (
        "import sys, numpy as np\n"
        "from earthinstruct_models.lvlm import Reply\n"
        "from earthinstruct_models.store import Replies\n"
        "for i in range(50):\n"
        "    Replies(sys.argv[1]).write(sys.argv[2] + str(i), Reply('x' * 9000))\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in "ab"]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len({json.loads(line)["key"] for line in file.read_text().splitlines()}) == 100


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
import numpy as np
from earthinstruct_models.lvlm import Lvlm, Reply
from earthinstruct_models.store import KeptLvlm

class Says(Lvlm):
    def ask_many(self, images, text, schema=None, *, arrived=None):
        return [Reply(str(image[0, 0, 0]) + "x" * 300) for image in images]

    def describe(self):
        return {}

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def ask(number):
    return lvlm.ask(np.full((2, 2, 3), number, dtype=np.uint8), "count").text.rstrip("x")

logging.basicConfig(stream=sys.stdout, format="%(message)s")
for disk in ("freed", "freed at the end", "full"):
    file = Path(sys.argv[1], disk)
    lvlm = KeptLvlm(Says(), file)
    limit(5000)
    assert [ask(n) for n in (*range(30), *range(30))] == [str(n) for n in (*range(30), *range(30))]
    if disk == "freed":
        limit(-1)
        ask(30)
        assert len(file.read_bytes().splitlines()) == 31
    if disk == "freed at the end":
        limit(-1)
    lvlm.close()
"""


def test_replies_wait_in_memory_while_the_disk_is_full(tmp_path):
    words = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    kept = {}
    for disk in ("freed", "freed at the end", "full"):
        content = (tmp_path / disk).read_text()
        assert content.endswith("\n")
        kept[disk] = [json.loads(line)["reply"]["text"].rstrip("x") for line in content.splitlines()]
        assert kept[disk] == [str(n) for n in range(len(kept[disk]))]
    assert [len(replies) for replies in kept.values()][:2] == [31, 30]
    assert len(content) <= 5000 < len(content) + len(content.splitlines()[-1]) + 1  # all that had room
    waits = "cannot be written: File too large; new ones are used, and written as soon as that is possible"
    lost = f"{30 - len(kept['full'])} replies are not in {tmp_path / 'full'}, and would be asked for again: "
    assert said == [*(f"replies {tmp_path / disk} {waits}" for disk in kept), f"{lost}File too large"]


def test_replies_that_name_different_models_are_said(file, caplog):
    class Named(Scripted):
        served = "tiny-2025"

        def ask_many(self, images, text, schema=None, *, arrived=None):
            return [Reply(text, model=self.served) for _ in images]

    first = KeptLvlm(Named(), file)
    first.ask_many([image(1), image(2)], "count")
    assert not caplog.records
    KeptLvlm(Named(temperature=1.0), file).ask(image(3), "count")
    again = KeptLvlm(Named(), file)
    again.part.served = "other"  # the server was changed
    again.ask_many([image(3), image(4)], "count")
    (record,) = caplog.records
    assert "different models, and all are used: 'tiny-2025' and 'other'; with a new file" in record.getMessage()
    other = KeptLvlm(Named(temperature=2.0), file)
    other.part.served = "other"
    other.ask(image(5), "count")  # asked otherwise: a run of its own
    assert len(caplog.records) == 1


def test_replies_lie_in_the_cache_where_no_file_is_named(tmp_path):
    scripted = Scripted()
    KeptLvlm(scripted, cache=tmp_path).ask(image(3), "count")
    assert KeptLvlm(Scripted(), tmp_path / "replies.jsonl").ask(image(3), "count").input_tokens == 3
    KeptLvlm(scripted, tmp_path / "own.jsonl", cache=tmp_path).ask(image(3), "count")
    assert scripted.asked == [3, 3]


def test_a_malformed_line_is_named(file):
    file.parent.mkdir()
    for line in ("nonsense", '{"key": 3}', ""):
        file.write_text(f'{{"key":"x","reply":{{"text":"a"}}}}\n{line}\n')
        with pytest.raises(DataError, match=r"replies\.jsonl, line 2: .*delete the line"):
            KeptLvlm(Scripted(), file)


def test_a_file_that_cannot_be_written(file):
    file.mkdir(parents=True)
    with pytest.raises(DataError, match="cannot be read or written"):
        KeptLvlm(Scripted(), file)
    file.rmdir()


def test_a_file_that_cannot_be_written_for_a_while(file, caplog):
    lvlm = KeptLvlm(Scripted(), file)
    file.mkdir()
    assert [lvlm.ask(image(n), "count").input_tokens for n in (1, 2, 1)] == [1, 2, 1]
    assert [record.message.partition(":")[0] for record in caplog.records] == [f"replies {file} cannot be written"]
    file.rmdir()
    lvlm.close()
    lvlm.close()
    assert lvlm.part.closed
    assert [json.loads(line)["reply"]["input_tokens"] for line in file.read_text().splitlines()] == [1, 2]
