import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from earthinstruct_instructsam.counters.lvlm import ANSWER_FORMAT, LvlmCounter
from earthinstruct_instructsam.parts import Answer
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.store import KeptLvlm
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct.contract import Instruction
from earthinstruct.datasets import dior_mini
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import DIOR, NWPU, instruction_text, tasks_of

IMAGE = np.zeros((4, 5, 3), dtype=np.uint8)
CATEGORIES = ("ship", "storage tank", "harbor")
VOCABULARY = Instruction("open_vocabulary", "Count. Answer in JSON.", CATEGORIES)
OPEN_ENDED = Instruction("open_ended", "Count. Answer in JSON.")


class Scripted:
    """A language model that says what it is told to, and remembers what it was asked."""

    def __init__(self, *texts, finish="complete"):
        self.texts = texts
        self.finish = finish
        self.asked = []
        self.closed = False

    def ask(self, image, text, schema=None):
        (outcome,) = self.ask_many([image], text, schema)
        if isinstance(outcome, LvlmError):
            raise outcome
        return outcome

    def ask_many(self, images, text, schema=None, *, arrived=None):
        outcomes = []
        for i, _ in enumerate(images):
            said = self.texts[len(self.asked) % len(self.texts)]
            self.asked.append((text, schema))
            outcomes.append(said if isinstance(said, LvlmError) else Reply(said, 100, 9, 0.5, self.finish))
            if arrived and isinstance(outcomes[-1], Reply):
                arrived(i, outcomes[-1])
        return outcomes

    def describe(self):
        return {"lvlm": "scripted", "model": "tiny"}

    def close(self):
        self.closed = True


def test_an_answer_has_counts_tokens_and_seconds():
    answer = LvlmCounter(Scripted('```json\n{"ship": 3, "harbor": 0}\n```')).count(IMAGE, VOCABULARY)
    assert answer == Answer({"ship": 3, "harbor": 0}, 100, 9, 0.5)


@pytest.mark.parametrize("vocabulary", [DIOR, NWPU])
@pytest.mark.parametrize(
    ("setting", "parent"), [("open_vocabulary", None), ("open_ended", None), ("open_subclass", "sports field")]
)
def test_our_texts_are_asked_as_they_are(vocabulary, setting, parent):
    lvlm = Scripted("{}")
    text = instruction_text(vocabulary, setting, parent)
    categories = vocabulary.categories if setting == "open_vocabulary" else ()
    LvlmCounter(lvlm).count(IMAGE, Instruction(setting, text, categories, parent))
    assert lvlm.asked[0][0] == text


def test_a_text_without_a_format_gets_one():
    lvlm = Scripted("{}")
    LvlmCounter(lvlm).count(IMAGE, Instruction("open_ended", "Count the ships."))
    assert lvlm.asked[0][0] == f"Count the ships.\n{ANSWER_FORMAT}"


def test_the_schema_names_the_categories_or_leaves_names_free():
    lvlm = Scripted("{}")
    LvlmCounter(lvlm).count(IMAGE, VOCABULARY)
    LvlmCounter(lvlm).count(IMAGE, OPEN_ENDED)
    closed, free = (schema for _, schema in lvlm.asked)
    assert list(closed["properties"]) == closed["required"] == list(CATEGORIES)
    assert closed["additionalProperties"] is False
    assert free == {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('{"Ships": 3, "storage_tank": 2, "HARBOR": 1}', {"ship": 3, "storage tank": 2, "harbor": 1}),
        ('{"ship": 3, "Ship": 3}', {"ship": 3}),
        ('{"ship": 3, "lighthouse": 1}', {"ship": 3, "lighthouse": 1}),
    ],
)
def test_categories_are_known_by_their_words(text, counts):
    assert LvlmCounter(Scripted(text)).count(IMAGE, VOCABULARY).counts == counts


def test_a_total_is_no_label_and_one_that_differs_is_an_event():
    answer = LvlmCounter(Scripted('{"ship": 3, "harbor": 1, "total": 5}')).count(IMAGE, OPEN_ENDED)
    assert answer.counts == {"ship": 3, "harbor": 1}
    assert answer.events == {"totals that differ": 1}


def test_free_names_are_kept():
    assert LvlmCounter(Scripted('{"Ships": 3}')).count(IMAGE, OPEN_ENDED).counts == {"Ships": 3}


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("I cannot see any.", "complete", "no JSON"),
        ('{"ship": 3, "Ship": 4}', "complete", "'ship' two different values"),
        ('{"ship": 3, "har', "truncated", "cut off after 9 tokens"),
        ("I must not.", "refused", "refused"),
    ],
)
def test_a_failure_keeps_the_words_and_the_tokens(text, finish, reason):
    counter = LvlmCounter(Scripted(text, finish=finish))
    with pytest.raises(EarthInstructError, match=reason) as caught:
        counter.count(IMAGE, VOCABULARY)
    assert repr(text) in str(caught.value)
    assert (caught.value.reply.text, caught.value.reply.input_tokens) == (text, 100)


def test_a_batch_fails_image_by_image():
    counter = LvlmCounter(Scripted('{"ship": 1}', "none", LvlmError("no connection"), '{"ship": 4}'))
    answers = counter.count_batch([np.full_like(IMAGE, i) for i in range(4)], VOCABULARY)
    assert [answer.counts for answer in (answers[0], answers[3])] == [{"ship": 1}, {"ship": 4}]
    assert ["no JSON" in str(answers[1]), str(answers[2])] == [True, "no connection"]


def test_nothing_is_asked_twice(tmp_path):
    lvlm = Scripted('{"ship": 1}', "unreadable")
    images = [IMAGE, IMAGE + 1]
    first = LvlmCounter(KeptLvlm(lvlm, tmp_path / "replies.jsonl")).count_batch(images, VOCABULARY)
    again = LvlmCounter(KeptLvlm(lvlm, tmp_path / "replies.jsonl"))
    assert again.count(IMAGE, VOCABULARY) == first[0] == Answer({"ship": 1}, 100, 9, 0.5)
    with pytest.raises(LvlmError, match="unreadable"):
        again.count(IMAGE + 1, VOCABULARY)
    assert len(lvlm.asked) == 2
    again.count(IMAGE, OPEN_ENDED)
    assert len(lvlm.asked) == 3


def test_a_failure_is_not_asked_for_again_either():
    lvlm = Scripted("unreadable")
    counter = LvlmCounter(lvlm)
    for _ in range(2):
        with pytest.raises(LvlmError, match="unreadable"):
            counter.count(IMAGE, VOCABULARY)
    assert len(lvlm.asked) == 1


def test_threads_share_one_request(tmp_path):
    class Slow(Scripted):
        def ask_many(self, images, text, schema=None, *, arrived=None):
            time.sleep(0.05)
            return super().ask_many(images, text, schema, arrived=arrived)

    lvlm = Slow('{"ship": 1}')
    counter = LvlmCounter(KeptLvlm(lvlm, tmp_path / "replies.jsonl"))
    together = threading.Barrier(6)

    def count(_):
        together.wait()
        return counter.count(IMAGE, VOCABULARY).counts

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(count, range(6))) == [{"ship": 1}] * 6
    assert len(lvlm.asked) == 1


def test_description_and_end(tmp_path):
    lvlm = Scripted("{}")
    counter = LvlmCounter(KeptLvlm(lvlm, tmp_path / "replies.jsonl"))
    assert counter.describe() == {"counter": "lvlm", "lvlm": "scripted", "model": "tiny"}
    assert [counter.skip(task) for task in tasks_of("any", DIOR)] == [None] * 4
    counter.close()
    assert lvlm.closed


def test_what_gpt_4o_answered_is_read(reference):
    """The authors' stored answers, put back into the words of a model."""
    files = [name for name in dior_mini.FILES if name.startswith("counts/")]
    assert files
    for name in files:
        counts = json.loads((reference / "dior_mini" / name).read_text())
        counter = LvlmCounter(Scripted(f"Here you are:\n```json\n{json.dumps(counts, indent=4)}\n```"))
        assert counter.count(IMAGE, OPEN_ENDED).counts == counts


def test_a_counter_needs_the_memory_of_its_language_model():
    class Silent(ScriptedLvlm):
        def answer(self, image):
            return Reply("{}")

    lvlm = Silent()
    assert dict(LvlmCounter(lvlm).working_memory) == {}
    lvlm.working_memory = {"cuda:0": 5}
    assert LvlmCounter(lvlm).working_memory == {"cuda:0": 5}
