import numpy as np
import pytest
from earthinstruct_instructsam.counters.small import SmallCounter

from earthinstruct.contract import Instruction
from earthinstruct.datasets import generate_scene
from earthinstruct.datasets.scenes.generate import CATEGORIES
from earthinstruct.errors import DataError
from earthinstruct.tasks import DIOR, NWPU, tasks_of

FLAT = np.full((100, 130, 3), 120, dtype=np.uint8)


@pytest.fixture(scope="module")
def counter():
    return SmallCounter()


def ask(setting, **fields):
    return Instruction(setting=setting, text="count", **fields)


def test_open_vocabulary_answers_each_category(counter):
    scene = generate_scene("val", 0)
    counts = counter.count(scene.image, ask("open_vocabulary", categories=CATEGORIES)).counts
    assert tuple(counts) == CATEGORIES
    assert abs(sum(counts.values()) - len(scene.labels)) <= max(3, 0.3 * len(scene.labels))
    dior = counter.count(scene.image, ask("open_vocabulary", categories=DIOR.categories)).counts
    assert tuple(dior) == DIOR.categories
    assert dior["windmill"] == 0
    assert dior["ground track field"] == counts["track_field"]


def test_words_that_it_does_not_know_are_events(counter):
    answer = counter.count(FLAT, ask("open_vocabulary", categories=("boats", "spaceship", "car", "windmill")))
    unknown = "answers without {!r} (unknown to the small counter)"
    assert answer.events == {unknown.format("spaceship"): 1, unknown.format("windmill"): 1}
    assert counter.count(FLAT, ask("open_subclass", parent="furniture")).events == {unknown.format("furniture"): 1}
    assert not counter.count(FLAT, ask("open_subclass", parent="sports field")).events
    assert not counter.count(FLAT, ask("open_ended")).events


def test_words_that_it_does_not_know_are_said_beforehand(counter):
    words = ask("open_vocabulary", categories=("boats", "spaceship", "car", "windmill"))
    assert counter.unknown_words(words) == ["spaceship", "windmill"]
    assert counter.unknown_words(ask("open_subclass", parent="furniture")) == ["furniture"]
    assert counter.unknown_words(ask("open_subclass", parent="sports field")) == []
    assert counter.unknown_words(ask("open_ended")) == []


def test_open_ended_answers_what_there_is(counter):
    answers = [counter.count(generate_scene("val", i).image, ask("open_ended")).counts for i in range(3)]
    named = set().union(*answers)
    assert named
    assert named <= {
        *("plane", "boat", "tank", "baseball diamond", "tennis court", "basketball court", "football track"),
        *("pier", "bridge", "car"),
    }
    assert all(count > 0 for answer in answers for count in answer.values())


def test_open_subclass_answers_members_only(counter):
    image = generate_scene("val", 0).image
    transport = counter.count(image, ask("open_subclass", parent="means of transport")).counts
    assert set(transport) <= {"plane", "boat", "car"}
    sports = counter.count(image, ask("open_subclass", parent="sports field")).counts
    assert not set(sports) & set(transport)
    assert counter.count(image, ask("open_subclass", parent="furniture")).counts == {}


@pytest.mark.parametrize("vocabulary", [DIOR, NWPU])
def test_no_task_is_skipped(counter, vocabulary):
    assert [counter.skip(task) for task in tasks_of("any", vocabulary)] == [None] * 4


def test_a_flat_image_has_nothing(counter):
    assert sum(counter.count(FLAT, ask("open_ended")).counts.values()) <= 1
    assert sum(counter.count(FLAT[:1, :1], ask("open_ended")).counts.values()) <= 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="do not exist"):
        SmallCounter(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="do not load"):
        SmallCounter(tmp_path / "bad.safetensors")


def test_description(counter):
    (weights,) = counter.describe()["weights"]
    assert weights["name"] == "counter-scenes.safetensors"
    assert len(weights["sha256"]) == 64
