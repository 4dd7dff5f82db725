import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from earthinstruct_instructsam.counters.lvlm import ANSWER_FORMAT, LvlmCounter
from earthinstruct_instructsam.method import InstructSAM
from earthinstruct_instructsam.parts import Answer
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.store import KeptLvlm
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct.contract import Estimate, Instruction
from earthinstruct.datasets import dior_mini, load_dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import protocol_named
from earthinstruct.predictions import Record
from earthinstruct.scoring import score_records
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


def test_what_a_request_lacked_is_an_event():
    class Lacking(ScriptedLvlm):
        def answer(self, image):
            return Reply('{"ship": 3, "total": 4}', without=("temperature",))

    answer = LvlmCounter(Lacking()).count(IMAGE, VOCABULARY)
    assert answer.events == {"requests without temperature": 1, "totals that differ": 1}


class Priced(Scripted):
    def estimate(self, image, text, schema=None):
        return Estimate(1, len(text), 50 if schema else 0)


def test_what_the_counter_costs_is_what_is_not_kept_yet():
    lvlm = Priced('{"ship": 3}')
    method = InstructSAM(counter=LvlmCounter(lvlm), proposer="segments")
    assert method.estimate(IMAGE, VOCABULARY) == Estimate(1, len(VOCABULARY.text), 50)
    assert lvlm.asked == []
    method.counter.count(IMAGE, VOCABULARY)
    assert method.estimate(IMAGE, VOCABULARY) == Estimate()
    assert method.estimate(IMAGE, OPEN_ENDED).requests == 1
    without = InstructSAM(counter=LvlmCounter(lvlm), assignment="nearest")
    assert without.estimate(IMAGE, VOCABULARY) == Estimate()  # the counter is not called
    assert InstructSAM().estimate(IMAGE, VOCABULARY) == Estimate()


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


def test_a_name_that_is_no_category_may_stand_before_the_counts():
    text = '{"Port of Rotterdam": {"ship": 3, "storage tank": 1, "harbor": 0}}'
    counts = {"ship": 3, "storage tank": 1, "harbor": 0}
    assert LvlmCounter(Scripted(text)).count(IMAGE, VOCABULARY).counts == counts
    with pytest.raises(LvlmError, match="not a number"):  # it may be a label, and the others its parts
        LvlmCounter(Scripted(text)).count(IMAGE, OPEN_ENDED)


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


def counting_of_qwen(reference, setting, protocol):
    """The counting scores of the replies of Qwen2.5-VL-7B that the authors recorded for four DIOR images."""
    dataset = load_dataset("dior-mini", reference)
    (task,) = tasks_of("dior-mini", dataset.vocabulary, setting)
    lines = (reference / "dior_mini_replies_qwen2.5-vl" / f"{setting}.jsonl").read_text().splitlines()
    replies = {recorded["image"]: recorded["text"] for recorded in map(json.loads, lines)}
    records = {}
    for image in dataset.images:
        counter = LvlmCounter(Scripted(replies[image.file_name]))
        records[image.id] = Record(image.id, counts=counter.count(IMAGE, task.instruction).counts)
    return score_records(task, dataset, records, protocol=protocol_named(protocol)).metrics.counting


def test_what_qwen_counted_on_dior_mini_scores_as_by_hand(reference):
    """The second golden of counting.

    | ground truth / counted | 06486 | 06796 | 09100 | 09938   | tp, fp, fn | precision | recall | F1             |
    |------------------------|-------|-------|-------|---------|------------|-----------|--------|----------------|
    | basketball court       |       | 1 / 1 |       | 1 / 1   | 2, 0, 0    | 1         | 1      | 1              |
    | bridge                 |       |       | 1 / 1 |         | 1, 0, 0    | 1         | 1      | 1              |
    | storage tank           | 3 / 4 |       |       |         | 3, 1, 0    | 3/4       | 1      | 6/7            |
    | tennis court           |       | 2 / 2 |       | 1 / 0   | 2, 0, 1    | 1         | 2/3    | 4/5            |
    | vehicle                | 3 / 5 | 2 / 1 |       | 20 / 14 | 18, 2, 7   | 18/20     | 18/25  | 36/45 = 4/5    |

    precision (1 + 1 + 0.75 + 1 + 0.9) / 5 = 0.93; recall (1 + 1 + 1 + 2/3 + 0.72) / 5 = 0.8773;
    F1 (1 + 1 + 6/7 + 0.8 + 0.8) / 5 = 4.457143 / 5 = 0.891429. `paper` divides by the 20 categories of the replies.
    """
    standard = counting_of_qwen(reference, "open_vocabulary", "standard")
    found = {name: (row.tp, row.fp, row.fn) for name, row in standard.tally.items() if row.tp}
    assert found == {
        "basketball court": (2, 0, 0),
        "bridge": (1, 0, 0),
        "storage tank": (3, 1, 0),
        "tennis court": (2, 0, 1),
        "vehicle": (18, 2, 7),
    }
    sums = (0.93 * 5, 1 + 1 + 1 + 2 / 3 + 0.72, 1 + 1 + 6 / 7 + 0.8 + 0.8)
    means = [value.value for value in (standard.precision, standard.recall, standard.f1)]
    assert means == pytest.approx([total / 5 for total in sums])
    of_paper = counting_of_qwen(reference, "open_vocabulary", "paper")
    means = [value.value for value in (of_paper.precision, of_paper.recall, of_paper.f1)]
    assert means == pytest.approx([total / 20 for total in sums])
