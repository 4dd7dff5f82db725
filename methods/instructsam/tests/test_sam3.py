"""InstructSAM with a proposer that scores the labels: its scores are the similarities, the counts the constraints."""

import numpy as np
import pulp
import pytest
from earthinstruct_instructsam.assignment import assign_under_counts, only_scored
from earthinstruct_instructsam.method import InstructSAM
from earthinstruct_instructsam.parts import Answer

from earthinstruct import Instruction, Proposals, evaluate
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import encode_mask

IMAGE = np.zeros((4, 40, 3), dtype=np.uint8)
ASK = Instruction("open_vocabulary", "Count.", ("ship", "harbor"))


class Counts:
    def __init__(self, **counts):
        self.counts = counts

    def count(self, image, instruction):
        return Answer(self.counts)

    def skip(self, task):
        return None

    def describe(self):
        return {"counter": "test"}


class Squares:
    """Regions of 4 x 4 pixels: label -> (x, score) of each."""

    def __init__(self, **found):
        self.found, self.asked = found, []

    def propose_for(self, image, labels):
        self.asked.append(list(labels))
        return [self._proposals(self.found.get(label, ())) for label in labels]

    def _proposals(self, found):
        masks = np.zeros((len(found), 4, 40), dtype=bool)
        for mask, (x, _) in zip(masks, found, strict=True):
            mask[:, x : x + 4] = True
        boxes = np.array([[x, 0, 4, 4] for x, _ in found], dtype=float).reshape(-1, 4)
        return Proposals(boxes, tuple(map(encode_mask, masks)), np.array([score for _, score in found]))

    def describe(self):
        return {"proposer": "squares", "device": "cpu"}


SHIPS = ((0, 0.9), (10, 0.8), (20, 0.3))
HARBORS = ((1, 0.7), (30, 0.6))  # the first one is the first ship


def places(prediction):
    return dict(zip(prediction.boxes[:, 0].tolist(), prediction.labels, strict=True))


def test_scores_are_similarities_and_counts_are_constraints():
    found = InstructSAM(counter=Counts(ship=2, harbor=1), proposer=Squares(ship=SHIPS, harbor=HARBORS))
    prediction = found.predict(IMAGE, ASK)
    assert places(prediction) == {0: "ship", 10: "ship", 30: "harbor"}
    assert prediction.scores.tolist() == [0.9, 0.8, 0.6]
    assert dict(prediction.counts) == {"ship": 2, "harbor": 1}
    assert len(prediction.proposals) == 4
    assert len(prediction.masks) == 3
    assert set(prediction.usage.seconds) == {"counter", "proposer", "assignment", "total"}


def test_an_object_gets_one_label_and_the_sum_of_the_scores_decides_which():
    squares = Squares(ship=((0, 0.9), (10, 0.8)), harbor=((1, 0.7),))
    prediction = InstructSAM(counter=Counts(ship=1, harbor=1), proposer=squares).predict(IMAGE, ASK)
    assert places(prediction) == {0: "harbor", 10: "ship"}  # 0.7 + 0.8, not 0.9 alone
    apart = InstructSAM(counter=Counts(ship=1, harbor=1), proposer=squares, deduplicate=0.9)
    assert places(apart.predict(IMAGE, ASK)) == {0: "ship", 1: "harbor"}


def test_a_label_is_not_given_where_it_was_not_found():
    squares = Squares(ship=((0, 0.9), (10, 0.8)), harbor=((30, 0.6),))
    prediction = InstructSAM(counter=Counts(ship=1, harbor=2), proposer=squares).predict(IMAGE, ASK)
    assert places(prediction) == {0: "ship", 30: "harbor"}
    assert dict(prediction.counts) == {"ship": 1, "harbor": 2}


def test_only_labels_that_were_counted_are_looked_for():
    squares = Squares(ship=SHIPS)
    assert len(InstructSAM(counter=Counts(ship=0), proposer=squares).predict(IMAGE, ASK)) == 0
    assert squares.asked == []
    InstructSAM(counter=Counts(ship=1, harbor=0, tree=4), proposer=squares).predict(IMAGE, ASK)
    assert squares.asked == [["ship"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"assignment": "nearest"}, {0: "ship", 10: "ship", 20: "ship", 30: "harbor"}),
        ({"assignment": "threshold", "threshold": 0.7}, {0: "ship", 10: "ship"}),
    ],
)
def test_without_counts_all_categories_are_looked_for(options, expected):
    found = InstructSAM(counter=Counts(), proposer=Squares(ship=SHIPS, harbor=HARBORS), **options)
    assert places(found.predict(IMAGE, ASK)) == expected
    assert found.name == f"instructsam-squares-{options['assignment']}"


def test_a_label_is_looked_for_once_an_image_whatever_the_tasks():
    squares = Squares(ship=SHIPS, harbor=HARBORS)
    found = InstructSAM(counter=Counts(ship=1, harbor=1), proposer=squares)
    found.predict_batch([IMAGE, IMAGE + 1], ASK)
    found.predict(IMAGE, Instruction("open_ended", "Count."))
    found.explain(IMAGE, ASK)
    assert squares.asked == [["harbor", "ship"]] * 2


def test_it_says_that_it_is_not_the_method_of_the_paper():
    found = InstructSAM(counter=Counts(), proposer=Squares())
    described = found.describe()
    assert found.name == "instructsam-squares"
    assert described["parameters"]["deduplicate"] == 0.5
    assert "encoder" not in described["parameters"]
    assert "own variant, not the method of the paper" in described["notes"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proposer": "sam3", "encoder": "small"}, "the proposer scores the labels itself.*leave out encoder"),
        ({"preset": "sam3", "proposer": "segments"}, "preset 'sam3' has no encoder.*give -M encoder=NAME"),
    ],
)
def test_an_encoder_goes_with_a_proposer_that_needs_one(options, message):
    with pytest.raises(EarthInstructError, match=message):
        InstructSAM(**options)


def most(similarities, counts):
    """The largest sum of similarities that labels can have where they have one, solved by CBC."""
    n, m = similarities.shape
    problem = pulp.LpProblem("assignment", pulp.LpMaximize)
    pairs = [(i, j) for i in range(n) for j in range(m) if similarities[i, j] > 0]
    x = {pair: pulp.LpVariable("x_{}_{}".format(*pair), cat="Binary") for pair in pairs}
    problem += pulp.lpSum(float(similarities[pair]) * x[pair] for pair in pairs)
    for i in range(n):
        problem += pulp.lpSum(x[pair] for pair in pairs if pair[0] == i) <= 1
    for j in range(m):
        problem += pulp.lpSum(x[pair] for pair in pairs if pair[1] == j) <= counts[j]
    problem.solve(pulp.PULP_CBC_CMD(msg=False))
    assert pulp.LpStatus[problem.status] == "Optimal"
    return pulp.value(problem.objective) or 0.0


@pytest.mark.parametrize("seed", range(25))
def test_the_sum_of_the_scores_is_the_largest_under_the_counts(seed):
    generator = np.random.Generator(np.random.PCG64(seed))
    n, m = generator.integers(1, 13), generator.integers(1, 6)
    similarities = generator.uniform(0, 1, (n, m)).round(2) * (generator.uniform(0, 1, (n, m)) < 0.4)
    counts = generator.integers(0, 5, m).tolist()
    assigned = only_scored(assign_under_counts(similarities, counts), similarities)
    given = np.flatnonzero(assigned >= 0)
    assert (similarities[given, assigned[given]] > 0).all()
    assert (np.bincount(assigned[given], minlength=m) <= counts).all()
    assert similarities[given, assigned[given]].sum() == pytest.approx(most(similarities, counts))


def test_the_preset_needs_a_language_model_and_sam_3(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    key, weights = InstructSAM.missing(preset="sam3")
    assert key.startswith("environment variable OPENAI_API_KEY")
    assert weights.startswith("weights sam3: ")
    assert InstructSAM.missing(proposer="sam3-litetext")[0].startswith("weights sam3-litetext-s0: ")


def test_it_runs_on_scenes(sam3_weights, tmp_path):
    parameters = {"proposer": "sam3", "folder": sam3_weights, "proposer.threshold": 0.0, "device": "cpu"}
    evaluation = evaluate(
        "instructsam", "scenes", setting="open_vocabulary", parameters=parameters, output=tmp_path, limit=2
    )
    assert {result.method.name for result in evaluation.results} == {"instructsam-sam3"}
    for result in evaluation.results:
        assert result.run.n_failed == 0
        assert result.method.parameters["proposer"] == "sam3"
        assert result.metrics.mask is not None
