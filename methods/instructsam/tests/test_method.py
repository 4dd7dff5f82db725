"""The method from parts to table: with parts made for the test, and with recorded answers."""

import hashlib
import json
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
from earthinstruct_instructsam.method import InstructSAM
from earthinstruct_instructsam.parts import Answer, KeptCounter
from earthinstruct_instructsam.pictures import draw_similarities
from earthinstruct_models import devices
from PIL import Image

from earthinstruct import Instruction, Proposals, evaluate
from earthinstruct.datasets import draw_scenes, generate_scene
from earthinstruct.errors import EarthInstructError, UnknownNameError

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)
ASK = Instruction("open_vocabulary", "Count.", ("ship", "harbor"))


class Counts:
    def __init__(self, counts):
        self.counts = counts

    def count(self, image, instruction):
        return Answer(self.counts, input_tokens=7, output_tokens=3)

    def skip(self, task):
        return None

    def describe(self):
        return {"counter": "test"}


class Regions:
    def __init__(self, boxes):
        self.boxes = boxes

    def propose(self, image):
        return Proposals(self.boxes)

    def describe(self):
        return {"proposer": "test"}


class Table:
    """Embeddings whose products are the rows of a table: a box's x picks the row, a label its column."""

    def __init__(self, rows, labels):
        self.rows, self.labels = np.array(rows, dtype=np.float32), labels

    def embed_crops(self, image, boxes):
        return self.rows[boxes[:, 0].astype(int)]

    def embed_labels(self, labels):
        return np.eye(len(self.labels), dtype=np.float32)[[self.labels.index(label) for label in labels]]

    def describe(self):
        return {"encoder": "test", "weights": [{"name": "w", "sha256": "0" * 64}]}


def method(counts, rows, **options):
    boxes = [[i, 0, 2, 2] for i in range(len(rows))]
    return InstructSAM(
        counter=Counts(counts), proposer=Regions(boxes), encoder=Table(rows, ["harbor", "ship"]), **options
    )


ROWS = [[0.1, 0.9], [0.8, 0.7], [0.2, 0.3]]


def test_labels_are_given_under_the_counts():
    prediction = method({"ship": 2, "harbor": 0}, ROWS).predict(IMAGE, ASK)
    assert prediction.labels == ("ship", "ship")
    assert prediction.boxes[:, 0].tolist() == [0, 1]
    assert prediction.scores == pytest.approx([0.9, 0.7])
    assert dict(prediction.counts) == {"ship": 2, "harbor": 0}
    assert len(prediction.proposals) == 3
    assert prediction.usage.input_tokens == 7
    assert set(prediction.usage.seconds) == {"counter", "proposer", "encoder", "assignment", "total"}


@pytest.mark.parametrize("options", [{}, {"assignment": "nearest"}, {"assignment": "threshold", "threshold": 0.2}])
def test_a_similarity_that_is_no_number_is_refused(options):
    broken = method({"ship": 1, "harbor": 1}, [ROWS[0], [0.5, float("nan")]], **options)
    with pytest.raises(EarthInstructError, match="encoder: 1 of 2 proposals have similarities that are not"):
        broken.predict(IMAGE, ASK)


def test_what_was_not_asked_for_is_left_out():
    prediction = method({"ship": 1, "tree": 4}, ROWS).predict(IMAGE, ASK)
    assert dict(prediction.counts) == {"ship": 1}
    assert dict(prediction.usage.events) == {"labels not asked for": 1}


def test_events_of_the_answer_are_those_of_the_prediction():
    small, asked = InstructSAM(), Instruction("open_vocabulary", "count", ("ship", "spaceship"))
    assert small.unknown_words(asked) == ["spaceship"]
    assert InstructSAM(assignment="nearest").unknown_words(asked) == ()  # the counter is not asked
    prediction = small.predict(IMAGE, asked)
    assert dict(prediction.usage.events) == {"answers without 'spaceship' (unknown to the small counter)": 1}


@pytest.mark.parametrize(("counts", "rows"), [({}, ROWS), ({"ship": 0}, ROWS), ({"ship": 2}, [])])
def test_nothing_counted_or_nothing_proposed_is_an_answer(counts, rows):
    assert len(method(counts, rows).predict(IMAGE, ASK)) == 0


def test_nearest_labels_every_proposal_whatever_the_counts():
    prediction = method({"ship": 1}, ROWS, assignment="nearest").predict(IMAGE, ASK)
    assert prediction.labels == ("ship", "harbor", "ship")
    assert prediction.counts is None


def test_a_threshold_takes_the_place_of_the_counts_and_the_counter_is_not_asked():
    found = method(None, ROWS, assignment="threshold", threshold=0.75)
    prediction = found.predict(IMAGE, ASK)
    assert found.name == "instructsam-threshold"
    assert prediction.labels == ("ship", "harbor")
    assert prediction.scores == pytest.approx([0.9, 0.8])
    assert prediction.counts is None
    assert "counter" not in prediction.usage.seconds


def test_under_free_labels_the_counter_names_them_even_without_counts():
    ask = Instruction("open_ended", "Count.")
    prediction = method({"ship": 1, "harbor": 0}, ROWS, assignment="threshold", threshold=0.5).predict(IMAGE, ask)
    assert prediction.labels == ("ship", "ship")


def test_the_score_is_that_of_the_label_given_or_the_largest():
    rows = [[0.9, 0.7], [0.8, 0.1]]  # harbor, ship
    assigned, largest = (
        method({"ship": 1, "harbor": 1}, rows, score=score).predict(IMAGE, ASK) for score in ("assigned", "largest")
    )
    assert assigned.labels == largest.labels == ("ship", "harbor")
    assert assigned.scores == pytest.approx([0.7, 0.8])
    assert largest.scores == pytest.approx([0.9, 0.8])


def test_duplicates_are_dropped_before_labels_are_given():
    boxes = [[0, 0, 10, 10], [1, 0, 9, 10], [2, 0, 2, 2]]  # the first two have an IoU of 0.9
    found = InstructSAM(
        counter=Counts({"ship": 2}), proposer=Regions(boxes), encoder=Table(ROWS, ["harbor", "ship"]), deduplicate=0.5
    )
    prediction = found.predict(IMAGE, ASK)
    assert prediction.boxes[:, 0].tolist() == [0, 2]
    assert len(prediction.proposals) == 2
    assert found.describe()["parameters"]["deduplicate"] == 0.5


class Clock(threading.local):
    """Time that passes in sleep alone, for each thread on its own, and at once."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """The clock that stages are timed by."""
    clock = Clock()
    monkeypatch.setattr("earthinstruct_models.interfaces.time", clock)
    return clock


class Counted(Counts, Regions):
    """A counter or a proposer that knows how often it was called, and can fail."""

    def __init__(self, answer):
        self.counts = self.boxes = answer
        self.error, self.calls = None, 0

    def _work(self):
        self.calls += 1
        if self.error is not None:
            raise self.error

    def count(self, image, instruction):
        self._work()
        return super().count(image, instruction)

    def propose(self, image):
        self._work()
        return super().propose(image)


def test_the_counter_works_beside_the_proposer(clock):
    meeting = threading.Barrier(2, timeout=60)  # neither goes on before the other has begun

    class Meets(Counted):
        def __init__(self, answer, seconds):
            super().__init__(answer)
            self.seconds = seconds

        def _work(self):
            meeting.wait()
            clock.sleep(self.seconds)

    parts = {"counter": Meets({"ship": 1}, 3.0), "proposer": Meets([[0, 0, 2, 2]], 2.0)}
    seconds = InstructSAM(**parts, encoder=Table([[0.1, 0.9]], ["harbor", "ship"])).predict(IMAGE, ASK).usage.seconds
    assert (seconds["counter"], seconds["proposer"]) == (3.0, 2.0)


@pytest.mark.parametrize(
    ("needed", "free", "in_turn"), [(6, 10, True), (6, 12, False), (0, 1, False), (6, None, False)]
)
def test_they_work_one_after_the_other_where_their_memory_does_not_fit(clock, monkeypatch, needed, free, in_turn):
    monkeypatch.setattr(devices, "free_memory", lambda _: None if free is None else free << 30)
    meeting, log = threading.Barrier(2, timeout=60), []

    class Works(Counted):
        working_memory: ClassVar = {"cuda:0": needed << 30}

        def _work(self):
            log.append("begins")
            if not in_turn:
                meeting.wait()  # neither goes on before the other has begun
            clock.sleep(2.0)
            log.append("ends")

    parts = {"counter": Works({"ship": 1}), "proposer": Works([[0, 0, 2, 2]])}
    method = InstructSAM(**parts, encoder=Table([[0.1, 0.9]], ["harbor", "ship"]))
    seconds = method.predict(IMAGE, ASK).usage.seconds
    note = "the counter and the proposer work one after the other, not at the same time: cuda:0 has 10.0 GiB free, and "
    assert method.describe()["notes"] == [note + "they need about 12.0 GiB"] * in_turn
    if in_turn:
        assert log == ["begins", "ends", "begins", "ends"]
        assert seconds["total"] == 4.0


@pytest.mark.parametrize("part", ["counter", "proposer"])
def test_an_error_of_either_surfaces_and_is_not_remembered(part):
    answers = {"counter": {"ship": 1}, "proposer": [[0, 0, 2, 2]]}
    parts = {name: Counted(answer) for name, answer in answers.items()}
    parts[part].error = ValueError(f"the {part} failed")
    found = InstructSAM(**parts, encoder=Table([[0.1, 0.9]], ["harbor", "ship"]))
    with pytest.raises(ValueError, match=f"the {part} failed"):
        found.predict(IMAGE, ASK)
    parts[part].error = None
    assert len(found.predict(IMAGE, ASK)) == 1
    assert {name: part.calls for name, part in parts.items()} == {"counter": 1, "proposer": 1, part: 2}


@pytest.mark.parametrize("counts", ['{"ship":-1}', '{"ship":99999999999}', '{"ship":1.5}', '{"ship":"many"}', "[]"])
def test_a_stored_count_that_no_image_has_is_made_again(tmp_path, caplog, counts):
    part = Counted({"ship": 1})
    KeptCounter(part, tmp_path).count(IMAGE, ASK)
    (entry,) = tmp_path.rglob("*.json")
    content = f'{{"counts":{counts}}}'.encode()
    entry.write_bytes(content + b"\n" + hashlib.sha256(entry.stem.encode() + content).hexdigest().encode())
    assert dict(KeptCounter(part, tmp_path).count(IMAGE, ASK).counts) == {"ship": 1}
    assert part.calls == 2
    assert caplog.text.count("is damaged and is made again") == 1


def test_explaining_asks_nothing_again():
    parts = {"counter": Counted({"ship": 1}), "proposer": Counted([[0, 0, 2, 2]])}
    found = InstructSAM(**parts, encoder=Table([[0.1, 0.9]], ["harbor", "ship"]))
    found.predict(IMAGE, ASK)
    found.explain(IMAGE, ASK)
    assert parts["counter"].calls == parts["proposer"].calls == 1
    found.predict(IMAGE, Instruction("open_ended", "Count."))
    assert (parts["counter"].calls, parts["proposer"].calls) == (2, 1)


def test_threads_that_ask_at_once_share_one_answer():
    class Slow(Counted):
        def _work(self):
            super()._work()
            time.sleep(0.1)  # time for another thread to come

    parts = {"counter": Slow({"ship": 1}), "proposer": Slow([[0, 0, 2, 2]])}
    found = InstructSAM(**parts, encoder=Table([[0.1, 0.9]], ["harbor", "ship"]))
    threads = [threading.Thread(target=found.predict, args=(IMAGE, ASK)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parts["counter"].calls == parts["proposer"].calls == 1


def test_the_seconds_of_a_replayed_answer_are_those_it_took():
    class Replayed(Counts):
        def count(self, image, instruction):
            return Answer({"ship": 1}, seconds=7.5)

    found = InstructSAM(counter=Replayed({}), proposer=Regions([]), encoder=Table([], []))
    assert found.predict(IMAGE, ASK).usage.seconds["counter"] == 7.5


def test_with_a_cache_another_encoder_costs_that_encoder_alone(tmp_path):
    class One(Table):
        calls = 0

        def embed_crops(self, image, boxes):
            type(self).calls += 1
            return super().embed_crops(image, boxes)

        def describe(self):
            return {"encoder": type(self).__name__}

    class Other(One):
        calls = 0

    calls = []
    for encoder in (One, Other, One):
        parts = {"counter": Counted({"ship": 1}), "proposer": Counted([[0, 0, 2, 2], [1, 0, 2, 2]])}
        found = InstructSAM(**parts, encoder=encoder(ROWS, ["harbor", "ship"]), cache=tmp_path / "cache")
        prediction = found.predict(IMAGE, ASK)
        assert prediction.labels == ("ship",)
        assert prediction.usage.input_tokens == 7
        calls.append((parts["counter"].calls, parts["proposer"].calls, One.calls, Other.calls))
    assert calls == [(1, 1, 1, 0), (0, 0, 1, 1), (0, 0, 1, 1)]
    assert "a stage read from the cache" in found.describe()["notes"][0]


def test_it_describes_every_part():
    described = method({}, ROWS).describe()
    assert described["parameters"]["counter"] == "test"
    assert described["device"] == "cpu"
    assert described["weights"] == [{"name": "w", "sha256": "0" * 64}]
    assert described["made_for"] is None


def test_similarities_are_drawn():
    picture = method({"ship": 1}, ROWS).explain(IMAGE, ASK)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    nothing = draw_similarities(IMAGE, Proposals([]), [], np.zeros((0, 0)), np.zeros(0, dtype=int))
    assert nothing.shape[2] == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preset": "smal"}, UnknownNameError, "did you mean 'small'"),
        ({"assignment": "count"}, UnknownNameError, "did you mean 'counts'"),
        ({"preset": "recorded"}, EarthInstructError, r"-M counter\.counts=DIR"),
        ({"preset": "recorded", "counts": "."}, EarthInstructError, "-M images=DIR"),
        ({"counter": Counts({}), "proposer": "recorded"}, EarthInstructError, r"-M proposer\.proposals=FILE"),
        (
            {"counter": Counts({}), "proposer": Regions([]), "encoder": "open_clip"},
            EarthInstructError,
            r"-M encoder\.checkpoint=FILE",
        ),
        ({"score": "best"}, UnknownNameError, "unknown score 'best'"),
        ({"assignment": "threshold"}, EarthInstructError, "-M threshold=NUMBER"),
        ({"threshold": 0.3}, EarthInstructError, "go together"),
        ({"deduplicate": 2}, EarthInstructError, "deduplicate must be a number from 0 to 1, got 2"),
        ({"deduplicate": "yes"}, EarthInstructError, "deduplicate must be a number from 0 to 1, got 'yes'"),
        ({"counter": "lvlm"}, UnknownNameError, "unknown counter 'lvlm'"),
        ({"counter": Counts({}), "proposer": "sam"}, UnknownNameError, "unknown proposer 'sam'"),
        (
            {"counter": Counts({}), "proposer": Regions([]), "encoder": "clip"},
            UnknownNameError,
            "did you mean 'open_clip'",
        ),
    ],
)
def test_wrong_parameters_are_answered(options, error, message):
    with pytest.raises(error, match=message):
        InstructSAM(**options)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, tiny_clip, tiny_checkpoint):
    """Three scenes with recorded counts (open_vocabulary alone) and recorded proposals: the ground truth itself."""
    folder = tmp_path_factory.mktemp("recorded")
    draw_scenes(folder / "few", "val", 3)
    (folder / "counts" / "open_vocabulary").mkdir(parents=True)
    proposals = {}
    for i in range(3):
        scene = generate_scene("val", i)
        counts = {label: scene.labels.count(label) for label in set(scene.labels)}
        (folder / "counts" / "open_vocabulary" / f"val_{i:05d}.json").write_text(json.dumps(counts))
        proposals[f"val_{i:05d}.png"] = {"bboxes": scene.boxes.tolist(), "segmentations": list(scene.masks)}
    (folder / "proposals.json").write_text(json.dumps(proposals))
    parameters = {
        "preset": "recorded",
        "images": folder / "few" / "images",
        "counts": folder / "counts",
        "proposals": folder / "proposals.json",
        "config": tiny_clip[0],
        "checkpoint": tiny_checkpoint,
        "device": "cpu",
    }
    return folder, parameters


def test_recorded_answers_run_from_images_to_scores(recorded, tmp_path):
    folder, parameters = recorded
    evaluation = evaluate(
        "instructsam", str(folder / "few" / "annotations.json"), parameters=parameters, output=tmp_path
    )
    assert [result.task.name for result in evaluation.results] == ["few/open_vocabulary"]
    assert all("there are no recorded counts" in skipped.reason for skipped in evaluation.skipped)
    assert len(evaluation.skipped) == 3
    result = evaluation.results[0]
    assert result.run.n_failed == 0
    assert result.metrics.counting.f1.value == 1
    assert result.metrics.proposals.recall.value == 1
    assert len(result.method.weights) == 1
    assert str(folder) not in json.dumps(result.method.parameters)


def test_an_image_without_a_recorded_answer_is_a_failure_with_its_reason(recorded, tmp_path):
    folder, parameters = recorded
    counts = tmp_path / "counts" / "open_vocabulary"
    counts.mkdir(parents=True)
    (counts / "val_00000.json").write_text("{}")
    evaluation = evaluate(
        "instructsam",
        str(folder / "few" / "annotations.json"),
        setting="open_vocabulary",
        parameters={**parameters, "counts": tmp_path / "counts"},
        output=tmp_path,
    )
    assert "no recorded counts for image 'val_00001'" in evaluation.results[0].run.failed["2"]
    assert evaluation.results[0].run.n_failed == 2


def test_pixels_that_belong_to_no_recorded_image_are_refused(recorded):
    _, parameters = recorded
    with pytest.raises(EarthInstructError, match="none of the 3 images"):
        InstructSAM(**parameters).predict(IMAGE, ASK)


def test_two_names_for_the_same_pixels_are_refused(recorded, tmp_path):
    _, parameters = recorded
    for name in ("a.png", "b.png"):
        Image.fromarray(IMAGE).save(tmp_path / name)
    with pytest.raises(EarthInstructError, match="cannot tell them apart"):
        InstructSAM(**{**parameters, "images": tmp_path}).predict(IMAGE, ASK)


def test_proposals_for_two_images_of_one_name_are_refused(recorded, tmp_path):
    folder, parameters = recorded
    proposals = json.loads((folder / "proposals.json").read_text())
    twice = {f"{place}/scene.png": each for place, each in zip("ab", proposals.values(), strict=False)}
    (tmp_path / "twice.json").write_text(json.dumps(twice))
    with pytest.raises(EarthInstructError, match="proposals for two images named 'scene'"):
        InstructSAM(**{**parameters, "proposals": tmp_path / "twice.json"})


def test_the_main_job_runs_on_real_images(reference, tmp_path, tiny_clip, tiny_checkpoint):
    """Random encoder: the path is shown, not the quality."""
    folder = reference / "dior_mini"
    evaluation = evaluate(
        "instructsam",
        "dior-mini",
        data=reference,
        parameters={
            "preset": "recorded",
            "images": folder / "images",
            "counts": folder / "counts",
            "proposals": folder / "proposals.json",
            "config": tiny_clip[0],
            "checkpoint": tiny_checkpoint,
        },
        output=tmp_path,
    )
    assert [result.task.name for result in evaluation.results] == [
        "dior-mini/open_vocabulary",
        "dior-mini/open_ended",
        "dior-mini/open_subclass/means_of_transport",
    ]
    assert [skipped.task.parent for skipped in evaluation.skipped] == ["sports field"]
    first = evaluation.results[0]
    assert first.run.n_failed == 0
    assert first.metrics.proposals.n_proposals == 366
    assert first.metrics.proposals.recall.value == pytest.approx(0.9)
    assert first.metrics.counting.f1.value == pytest.approx(0.9302, abs=1e-4)
    assert sum(row.tp + row.fp for row in first.metrics.box.tally.values()) == 32


def test_variants_can_have_names_of_their_own():
    parts = {"counter": Counts({}), "proposer": Regions([]), "encoder": Table([], [])}
    assert InstructSAM(**parts).name == "instructsam"
    assert InstructSAM(**parts, assignment="nearest").name == "instructsam-nearest"
    assert InstructSAM(**parts, name="instructsam-georsclip").name == "instructsam-georsclip"


class Together(Counts):
    """Takes several images; fails on black ones."""

    def __init__(self):
        super().__init__({"ship": 1})
        self.asked = []

    def count(self, image, instruction):
        self.asked.append(1)
        if not image.any():
            raise EarthInstructError("nothing to see")
        return Answer(self.counts, seconds=5.0)

    def count_batch(self, images, instruction):
        self.asked.append(len(images))
        return [Answer(self.counts, seconds=5.0) if image.any() else EarthInstructError("no") for image in images]


class RegionsTogether(Regions):
    def propose_batch(self, images):
        return [Proposals(self.boxes) for _ in images]

    def propose(self, image):
        raise AssertionError("asked one by one")


def grey(*levels):
    return [np.full((20, 30, 3), level, dtype=np.uint8) for level in levels]


@pytest.mark.parametrize("cached", [False, True])
def test_several_images_are_counted_and_proposed_for_together(tmp_path, cached):
    counter = Together()
    boxes = [[i, 0, 2, 2] for i in range(3)]
    sam = InstructSAM(
        counter=counter,
        proposer=RegionsTogether(boxes),
        encoder=Table(ROWS, ["harbor", "ship"]),
        cache=tmp_path if cached else None,
    )
    first, second, again = sam.predict_batch(grey(1, 2, 1), ASK)
    assert counter.asked == [2]
    assert first.labels == second.labels == again.labels == ("ship",)
    assert first.usage.seconds["counter"] == 5.0
    assert set(first.usage.seconds) == {"counter", "proposer", "encoder", "assignment", "total"}
    sam.predict(grey(2)[0], ASK)
    assert counter.asked == [2]
    with pytest.raises(EarthInstructError, match="no"):
        sam.predict_batch(grey(3, 0), ASK)
    sam.predict(grey(3)[0], ASK)
    assert counter.asked == [2, 2]
    with pytest.raises(EarthInstructError, match="nothing to see"):
        sam.predict(grey(0)[0], ASK)
    assert counter.asked == [2, 2, 1]  # the failed one alone is asked about again


def test_parts_that_take_one_image_are_timed_by_image(clock, monkeypatch):
    sam = method({"ship": 1}, ROWS)
    monkeypatch.setattr(sam.proposer, "propose", lambda image: clock.sleep(image.max()) or Proposals([[0, 0, 2, 2]]))
    fast, slow = sam.predict_batch(grey(0, 9), ASK)
    for stage in ("proposer", "total"):
        assert slow.usage.seconds[stage] - fast.usage.seconds[stage] == 9


class CountedByImage(Counts):
    """Counts by the image's first pixel; remembers every image and setting that it was asked about."""

    def __init__(self):
        self.asked = []

    def count(self, image, instruction):
        number = int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])
        self.asked.append((number, instruction.setting, instruction.parent))
        return Answer({"ship": 1 + number % 3, "car": number % 2})


class ProposedByImage(Regions):
    def __init__(self):
        super().__init__([[i, 0, 4, 4] for i in range(3)])
        self.asked = []

    def propose(self, image):
        self.asked.append(int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]))
        return super().propose(image)


class Alike(Table):
    """Embeds any label; the crops at x = 0, 1, 2 are less and less like it."""

    def embed_crops(self, image, boxes):
        return np.stack([1 - boxes[:, 0] / 4, boxes[:, 0] / 4], axis=1).astype(np.float32)

    def embed_labels(self, labels):
        return np.array([[1.0, len(label) / 100] for label in labels], dtype=np.float32)


@pytest.fixture
def many(tmp_path):
    """A dataset of 300 images under four tasks, the first pixel of each its number."""
    (tmp_path / "images").mkdir()
    names = {"ship": "means of transport", "car": "means of transport", "tennis court": "sports field"}
    images = [{"id": i + 1, "file_name": f"{i}.png", "width": 16, "height": 8} for i in range(300)]
    boxes = [(i + 1, {"id": i + 1, "bbox": [i % 3, 0, 4, 4], "category_id": 1 + i % 3}) for i in range(300)]
    annotations = [{**box, "image_id": i, "area": 16, "iscrowd": 0} for i, box in boxes]
    for i in range(300):
        pixels = np.zeros((8, 16, 3), dtype=np.uint8)
        pixels[0, 0] = i % 256, i // 256, 0
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name, "supercategory": parent} for i, (name, parent) in enumerate(names.items(), start=1)
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return str(tmp_path / "annotations.json")


@pytest.mark.timeout(300)
def test_over_four_tasks_the_proposer_is_asked_once_an_image(many, tmp_path):
    def sam():
        return InstructSAM(counter=CountedByImage(), proposer=ProposedByImage(), encoder=Alike([], []))

    def answers(evaluation):
        files = [(folder / "predictions.jsonl").read_text().splitlines() for folder in evaluation.folders]
        return [[{**json.loads(line), "seconds": None} for line in file] for file in files]

    together = sam()
    evaluation = evaluate(together, many, output=tmp_path / "together")
    tasks = [result.task.name for result in evaluation.results]
    assert len(tasks) == 4
    assert sorted(together.proposer.asked) == list(range(300))
    assert len(together.counter.asked) == len(set(together.counter.asked)) == 1200
    apart = []
    for task in tasks:
        setting, _, parent = task.partition("/")[2].partition("/")
        alone = sam()
        options = {"setting": setting, "parent": parent.replace("_", " ") or None}
        apart += answers(evaluate(alone, many, output=tmp_path / "apart", **options))
        assert len(alone.proposer.asked) == len(alone.counter.asked) == 300
    assert answers(evaluation) == apart
