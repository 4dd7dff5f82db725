"""The method from parts to table: with parts made for the test, and with recorded answers."""

import json

import numpy as np
import pytest
from earthinstruct_instructsam.method import InstructSAM
from earthinstruct_instructsam.parts import Answer
from earthinstruct_instructsam.pictures import draw_similarities
from PIL import Image

from earthinstruct import Instruction, Proposals, evaluate
from earthinstruct.datasets.scenes import generate_scene, write_split
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
    assert set(prediction.usage.seconds) == {"counter", "proposer", "encoder", "assignment"}


def test_what_was_not_asked_for_is_left_out():
    prediction = method({"ship": 1, "tree": 4}, ROWS).predict(IMAGE, ASK)
    assert dict(prediction.counts) == {"ship": 1}


@pytest.mark.parametrize(("counts", "rows"), [({}, ROWS), ({"ship": 0}, ROWS), ({"ship": 2}, [])])
def test_nothing_counted_or_nothing_proposed_is_an_answer(counts, rows):
    assert len(method(counts, rows).predict(IMAGE, ASK)) == 0


def test_nearest_labels_every_proposal_whatever_the_counts():
    prediction = method({"ship": 1}, ROWS, assignment="nearest").predict(IMAGE, ASK)
    assert prediction.labels == ("ship", "harbor", "ship")
    assert prediction.counts is None


def test_it_describes_every_part():
    described = method({}, ROWS).describe()
    assert described["parameters"]["counter"] == "test"
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
        ({"preset": "recorded"}, EarthInstructError, "-M counts=DIR"),
        ({"preset": "recorded", "counts": "."}, EarthInstructError, "-M images=DIR"),
        ({"counter": Counts({}), "proposer": "recorded"}, EarthInstructError, "-M proposals=FILE"),
        (
            {"counter": Counts({}), "proposer": Regions([]), "encoder": "open_clip"},
            EarthInstructError,
            "-M checkpoint=FILE",
        ),
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
    write_split(folder / "few", "val", 3)
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
        "instructsam", str(folder / "few" / "annotations.json"), parameters=parameters, output=tmp_path, resamples=0
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
        resamples=0,
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
