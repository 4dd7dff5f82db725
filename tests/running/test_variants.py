"""Wordings, blind runs, repeats and distractors, run and scored beside the run of the task."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace
from PIL import Image

from earthinstruct import Prediction, Usage, compare, dry_run, evaluate, report, score, validate
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.metrics import best_constant
from earthinstruct.results import build_leaderboards, file_result, read_result, read_tallies, variant_tables
from earthinstruct.results.result import result_schema
from earthinstruct.results.variants import LEADERBOARD_NOTE, variants_in_words

SETTING = "open_vocabulary"


class Eyes:
    """Counts ships from the pixels, and remembers what it saw and was asked."""

    name = "eyes"

    def __init__(self, deterministic=None):
        self.deterministic = deterministic
        self.asked = []
        self.number = 0

    def describe(self):
        return {"version": "1", "deterministic": self.deterministic}

    def repeat(self, number):
        self.number = number

    def predict(self, image, instruction):
        self.asked.append((image, instruction, self.number))
        ship = instruction.categories[0]
        return Prediction(counts={ship: int(image[0, 0, 0]) % 3}, usage=Usage(input_tokens=10))


class Noisy(Eyes):
    """Counts at random: each repeat has other numbers."""

    name = "noisy"

    def predict(self, image, instruction):
        dice = np.random.default_rng([self.number, *image[0, 0].tolist()])
        return Prediction(counts={name: int(dice.integers(3)) for name in instruction.categories})


def run(method, dataset, tmp_path, **options):
    return evaluate(method, dataset, setting=SETTING, output=tmp_path / "runs", **options)


def test_each_variant_is_a_run_of_its_own_and_the_result_sums_them_up(dataset, tmp_path):
    evaluation = run(Eyes(), dataset, tmp_path, wordings=3, blind="grey,noise,other", repeats=3, distractors="1,5")
    (folder,) = evaluation.folders
    beside = folder.with_name("eyes-variants")
    names = {path.name for path in beside.iterdir()}
    assert names == {
        *("wordings-terse", "wordings-synonyms", "wordings-german", "blind-grey", "blind-noise", "blind-other"),
        *("repeats-2", "repeats-3", "distractors-1", "distractors-5"),
    }
    (result,) = evaluation.results
    assert result == read_result(folder / "result.json")
    assert {kind: set(of.runs) for kind, of in result.variants.items()} == {
        "wordings": {"terse", "synonyms", "german"},
        "blind": {"grey", "noise", "other"},
        "repeats": {"2", "3"},
        "distractors": {"1", "5"},
    }
    own = read_result(beside / "wordings-synonyms" / "result.json")
    assert own.task.variant == "wordings-synonyms"
    assert own.task.name == result.task.name
    assert own.label_map["vessel"].category == "ship"
    of = result.variants["wordings"].runs["synonyms"]
    assert of.scores["counting.f1"] == own.metrics.counting.f1
    assert (of.input_tokens, of.n_failed) == (30, 0)
    assert of.predictions_sha256 == own.predictions.sha256
    # the pixels decide, not the words
    varied = result.variants["wordings"].variation["counting.f1"]
    assert (float(varied.spread), float(varied.mean)) == (0, float(result.metrics.counting.f1))
    assert "box.f1" not in result.variants["wordings"].variation  # it only counts


def test_a_variant_is_asked_in_its_words_about_its_pixels(dataset, tmp_path):
    method = Eyes()
    run(method, dataset, tmp_path, wordings=2, blind="grey,noise,other", distractors=1)
    images = [dataset.read_image(i) for i in range(3)]
    seen = {}
    for image, instruction, _ in method.asked:
        seen.setdefault((instruction.text, image.tobytes()), instruction)
    texts = {text for text, _ in seen}
    assert len(texts) == 4  # plain, terse, synonyms, one distractor
    assert {instruction.categories for instruction in seen.values()} == {
        *(("ship", "harbor"), ("vessel", "dock"), ("ship", "harbor", "greenhouse")),
    }
    plain = next(instruction.text for _, instruction, _ in method.asked)
    shown = [pixels for text, pixels in seen if text == plain]
    grey = np.full_like(images[0], 128).tobytes()
    assert grey in shown
    # three images, grey, three of noise; another image is one of the three
    assert len(shown) == 7
    assert {image.tobytes() for image in images} <= set(shown)


def test_other_images_repeat_where_they_are_smaller(coco, write_coco, tmp_path):
    from earthinstruct.datasets import load_dataset

    for i, side in enumerate((30, 8, 30)):
        coco["images"][i]["width"] = side
    coco["annotations"] = coco["annotations"][:3]
    dataset = load_dataset(str(write_coco(coco)))
    method = Eyes()
    run(method, dataset, tmp_path, blind="other")
    images = [dataset.read_image(i) for i in range(3)]
    shown = [image for image, _, _ in method.asked]
    # the first image is shown the second, which is 8 pixels wide, four times beside each other
    repeated = np.concatenate([images[1]] * 4, axis=1)[:, :30]
    assert any(np.array_equal(image, repeated) for image in shown)
    # the second is shown the left of the third
    assert any(np.array_equal(image, images[2][:, :8]) for image in shown)


def test_the_oracle_ignores_the_instruction_and_the_pixels(dataset, tmp_path):
    (result,) = run("oracle", dataset, tmp_path, wordings=3, blind="grey", repeats=5, distractors=20)
    for path in ("counting.f1", "box.f1", "mask.f1"):
        assert float(result.variants["wordings"].variation[path].spread) == 0
        assert float(result.variants["blind"].runs["grey"].differences[path]) == 0
        assert float(result.variants["distractors"].runs["20"].scores[path]) == 1
    assert all(of.agreement == 1 for of in result.variants["wordings"].runs.values())
    assert list(result.variants["repeats"].runs) == ["2"]  # deterministic: one more run checks it
    assert "and a second run gave the same counts and scores" in str(result)


def test_a_control_that_reads_only_the_first_category_shows_it(dataset, tmp_path):
    (result,) = run("first-category", dataset, tmp_path, wordings=5)
    of = result.variants["wordings"]
    assert of.runs["reversed"].agreement == 0  # all ships are gone, and harbors came
    assert of.runs["german"].agreement == 1
    assert of.variation["counting.f1"].per_category["ship"] > 0
    assert float(of.variation["counting.micro_f1"].spread) > 0
    assert "largest spread of Cnt in one category: " in str(result)


def test_the_constant_control_is_bounded_and_sees_nothing(dataset, tmp_path):
    (result,) = run("constant", dataset, tmp_path, blind="noise", parameters={"counts": {"ship": 1, "harbor": 1}})
    blind = result.variants["blind"]
    assert float(blind.runs["noise"].differences["counting.f1"]) == 0
    assert 0 < float(result.metrics.counting.f1) <= float(blind.best_constant)
    best = run("constant", dataset, tmp_path / "best", parameters={"counts": {"ship": 2, "harbor": 1}}).results[0]
    # ships 2, 1, 0: constant 1 has 2 x 2 / (3 + 3), constant 2 has 2 x 3 / (3 + 6), as much
    assert float(best.metrics.counting.f1) == pytest.approx(float(blind.best_constant))
    tallies = read_tallies(tmp_path / "runs" / "set" / SETTING / "constant", result)
    assert best_constant(tallies.tallies["counting"], ("ship", "harbor")) == blind.best_constant


def test_repeats_tell_the_method_and_a_stochastic_one_differs(dataset, tmp_path):
    method = Eyes()
    run(method, dataset, tmp_path, repeats=3)
    assert [number for _, _, number in method.asked] == [0, 1, 2] * 3  # image by image
    (result,) = run(Noisy(), dataset, tmp_path, repeats=5)
    of = result.variants["repeats"]
    assert len(of.runs) == 4
    assert float(of.variation["counting.f1"].spread) > 0
    assert min(run.agreement for run in of.runs.values()) < 1
    assert "over 5 runs" in str(result)


def test_the_random_control_has_other_places_in_each_repeat(dataset, tmp_path):
    (result,) = run("random", dataset, tmp_path, repeats=3)
    of = result.variants["repeats"]
    assert list(of.runs) == ["2", "3"]
    assert all(each.agreement == 1 for each in of.runs.values())  # its counts are the right ones
    assert float(of.variation["counting.f1"].spread) == 0
    boxes = []
    for folder in ("random", "random-variants/repeats-2", "random-variants/repeats-3"):
        lines = (tmp_path / "runs/set" / SETTING / folder / "predictions.jsonl").read_text().splitlines()
        boxes.append([json.loads(line).get("boxes") for line in lines])
    assert boxes[0] != boxes[1] != boxes[2] != boxes[0]


def test_a_method_that_is_not_as_deterministic_as_it_says_is_told_so(dataset, tmp_path):
    (result,) = run(Noisy(deterministic=True), dataset, tmp_path, repeats=5)
    assert list(result.variants["repeats"].runs) == ["2"]
    assert "noisy says that it is, but a second run gave others" in str(result)


def test_a_distractor_that_is_counted_is_named_and_not_scored(dataset, tmp_path):
    class Eager(Eyes):
        name = "eager"

        def predict(self, image, instruction):
            return Prediction(counts=dict.fromkeys(instruction.categories, 1))

    (result,) = run(Eager(), dataset, tmp_path, distractors="1,5")
    for of in result.variants["distractors"].runs.values():
        assert float(of.distractors_named) == 1
        assert float(of.differences["counting.f1"]) == 0
    # ship: not in the last image; harbor: not in the last two
    assert float(result.metrics.absent.counted.per_category["ship"].share) == 1
    assert result.metrics.absent.counted.n_images == 2


def test_an_empty_answer_without_pixels_has_no_score_that_the_run_has_not(dataset, tmp_path):
    class Boxes(Eyes):
        name = "boxes"

        def predict(self, image, instruction):
            n = int(image.std() > 0)  # nothing in a grey image, which could be masks as well
            return Prediction([instruction.categories[0]] * n, [[1, 1, 4, 4]] * n)

    dark = np.zeros((30, 30, 3), dtype=np.uint8)
    dark[5:9] = 250
    Image.fromarray(dark).save(tmp_path / "set" / "images" / "a.png")
    (result,) = run(Boxes(), dataset, tmp_path, blind="grey").results
    assert result.metrics.mask.f1.value is None
    assert set(result.variants["blind"].runs["grey"].scores) == {"counting.f1", "counting.micro_f1", "box.f1"}


def test_a_distractor_below_the_threshold_is_not_named(dataset, tmp_path):
    class Unsure(Eyes):
        name = "unsure"

        def predict(self, image, instruction):
            names = (instruction.categories[0], instruction.categories[-1])
            return Prediction(names, [[1, 1, 4, 4]] * 2, scores=[0.9, 0.4])

    for threshold, share in ((None, 1), (0.5, 0)):
        folder = tmp_path / str(threshold)
        (result,) = run(Unsure(), dataset, folder, distractors=1, threshold=threshold)
        assert float(result.variants["distractors"].runs["1"].distractors_named) == share


def test_kinds_that_were_run_before_stay_and_nothing_is_asked_twice(dataset, tmp_path):
    method = Eyes()
    run(method, dataset, tmp_path, wordings=2)
    said = []
    (result,) = run(method, dataset, tmp_path, blind="grey", announce=said.append)
    assert said == [
        f"set/{SETTING}: 3 of 3 images were predicted before; --overwrite predicts them again",
        f"set/{SETTING}, blind: 1 more run, 3 images to do, about 0 s and 30 tokens at the pace of the run itself",
        f"set/{SETTING}: the runs of variants are kept in {tmp_path / 'runs' / 'set' / SETTING / 'eyes-variants'}",
    ]
    assert set(result.variants) == {"wordings", "blind"}
    n = len(method.asked)
    (again,) = run(method, dataset, tmp_path, wordings=2, blind="grey")
    assert len(method.asked) == n == 3 * 4
    assert again.variants == result.variants
    scored = score(tmp_path / "runs" / "set" / SETTING / "eyes", dataset, SETTING, output=tmp_path / "runs")
    assert scored.variants == result.variants


def test_a_limited_run_has_variants_of_its_own_which_a_whole_run_goes_on_with(dataset, tmp_path):
    method = Eyes()
    (result,) = run(method, dataset, tmp_path, limit=2, wordings=1)
    assert set(result.variants["wordings"].runs) == {"terse"}
    beside = tmp_path / "runs" / "set" / SETTING / "eyes-variants"
    assert [path.name for path in beside.iterdir()] == ["wordings-terse-limit-2"]
    (whole,) = run(method, dataset, tmp_path, wordings=1)
    assert len(method.asked) == 3 * 2
    assert set(whole.variants["wordings"].runs) == {"terse"}


def test_a_variant_under_other_rules_is_left_out_with_its_reason(dataset, tmp_path):
    class Scored(Eyes):
        name = "scored"

        def predict(self, image, instruction):
            return Prediction(instruction.categories[:1], [[1, 1, 4, 4]], scores=[0.9])

    run(Scored(), dataset, tmp_path, wordings=1)
    (result,) = run(Scored(), dataset, tmp_path, threshold=0.5)
    assert not result.variants["wordings"].runs
    assert "threshold was 0.5, is None" in result.variants["wordings"].left_out["terse"]
    assert "left out: wordings terse" in str(result)


def change(file, *place, value):
    """Write another value at a place of a JSON file."""
    content = json.loads(file.read_text())
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    file.write_text(json.dumps(content))


def test_a_wording_of_another_version_of_the_suite_is_never_scored_as_ours(dataset, tmp_path):
    folder = run("first-category", dataset, tmp_path, wordings=2).folder
    older = folder.with_name("first-category-variants") / "wordings-synonyms"
    for name in ("run.json", "result.json"):
        change(older / name, "task", "instruction_sha256", value="0" * 64)
    reason = "was run with another instruction text than that of this release"
    again = score(folder, dataset, SETTING, output=tmp_path / "runs")
    assert list(again.variants["wordings"].runs) == ["terse"]
    assert reason in again.variants["wordings"].left_out["synonyms"]
    assert f"left out: wordings synonyms: variant 'wordings-synonyms' {reason}" in str(again)
    with pytest.raises(EarthInstructError, match=reason):
        score(older, dataset, SETTING)
    with pytest.raises(EarthInstructError, match=reason):
        report(older, dataset=dataset)
    with pytest.raises(EarthInstructError, match="instruction was 0000"):
        run("first-category", dataset, tmp_path, wordings=2)


def test_variants_go_with_a_run_that_was_asked_in_the_same_text(dataset, tmp_path):
    run("oracle", dataset, tmp_path, wordings=1, blind="grey", repeats=2)
    own = {"overwrite": True, "instruction_text": "Find ships and harbors.", "repeats": 2}
    (result,) = run("oracle", dataset, tmp_path, **own)
    assert list(result.variants["repeats"].runs) == ["2"]
    for kind, name in (("wordings", "terse"), ("blind", "grey")):
        assert "asked in a text that it does not go with" in result.variants[kind].left_out[name]
    folder = tmp_path / "runs" / "set" / SETTING / "oracle"
    assert score(folder, dataset, SETTING, output=tmp_path / "runs").variants == result.variants


def test_no_reason_names_a_path_of_this_machine(dataset, tmp_path):
    folder = run("oracle", dataset, tmp_path, wordings=3, blind="grey").folder
    beside = folder.with_name("oracle-variants")
    (beside / "wordings-terse" / "result.json").write_text("{")
    change(beside / "wordings-synonyms" / "result.json", "schema_version", value=99)
    (beside / "wordings-german" / "tallies.npz").write_bytes(b"no zip")
    (beside / "blind-grey" / "result.json").unlink()
    (beside / "blind-grey" / "result.json").mkdir()
    left_out = score(folder, dataset, SETTING, output=tmp_path / "runs").variants
    assert "result.json is not a result file" in left_out["wordings"].left_out["terse"]
    assert "result.json has schema version 99" in left_out["wordings"].left_out["synonyms"]
    assert "tallies.npz cannot be used" in left_out["wordings"].left_out["german"]
    assert "result.json cannot be read" in left_out["blind"].left_out["grey"]
    assert str(tmp_path) not in (folder / "result.json").read_text()


def test_a_folder_of_variants_is_not_scored_as_one_run(dataset, tmp_path):
    folder = run("oracle", dataset, tmp_path, blind="grey,noise").folder
    beside = folder.with_name("oracle-variants")
    with pytest.raises(DataError, match="holds the runs of 2 variants; give one of them, such as ") as error:
        score(beside, dataset, SETTING, output=tmp_path / "runs")
    assert f"or the run of the task itself, {folder}: " in str(error.value)
    limited = run("empty", dataset, tmp_path, blind="grey", limit=2).folder
    with pytest.raises(DataError, match=f"itself, {re.escape(str(limited))}: "):
        score(limited.with_name("empty-variants"), dataset, SETTING)
    with pytest.raises(DataError, match="holds run folders; give one of them, such as "):
        score(folder.parent, dataset, SETTING)
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / 'runs' / 'set'))} holds run folders; give one of"):
        score(folder.parents[1], dataset, SETTING)


def test_the_summary_follows_from_the_runs(dataset, tmp_path):
    run("first-category", dataset, tmp_path, wordings=3, blind="grey")
    folder = tmp_path / "runs" / "set" / SETTING / "first-category"

    def found():
        return {
            finding.check: finding.problem for finding in validate(folder, dataset=tmp_path / "set/annotations.json")
        }

    assert found()["variants"] is None
    content = json.loads((folder / "result.json").read_text())
    content["variants"]["wordings"]["variation"]["box.f1"]["mean"]["value"] += 1e-13  # as on another machine
    (folder / "result.json").write_text(json.dumps(content))
    assert found()["variants"] is None
    content["variants"]["wordings"]["runs"]["terse"]["scores"]["box.f1"]["value"] = 0.0
    (folder / "result.json").write_text(json.dumps(content))
    assert "does not follow" in found()["variants"]
    with pytest.raises(EarthInstructError, match=r"variants\.wordings\.runs\.terse\.differences\.box\.f1"):
        read_result(folder / "result.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("variation", "box.f1", "spread", "value"), 0.3, "spread.value is 0.3"),
        (("variation", "box.f1", "mean", "value"), 0.3, "mean.value is 0.3"),
        (("variation", "box.f1", "lowest"), 0.3, "lowest is 0.3"),
        (("variation", "box.f1", "lasting", "value"), 0.9, "expected a number from 0 to the spread"),
    ],
)
def test_a_summary_that_contradicts_itself_is_refused(dataset, tmp_path, path, value, message):
    run("first-category", dataset, tmp_path, wordings=3)
    file = tmp_path / "runs" / "set" / SETTING / "first-category" / "result.json"
    content = json.loads(file.read_text())
    place = content["variants"]["wordings"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    place.pop("ci95", None)
    file.write_text(json.dumps(content))
    with pytest.raises(EarthInstructError, match=message):
        read_result(file)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("else",), {"runs": {}}, "variants has 'else'"),
        (("distractors", "runs", "many"), None, "is no number of distractors"),
        (("blind", "runs", "grey", "scores", "box.f2"), {"value": 0.5}, "expected a fraction, of one of"),
        (("blind", "runs", "grey", "scores", "box.f1"), {"value": 1.5}, "expected a fraction, of one of"),
        (("blind", "runs", "grey", "scores", "box.f1"), {"value": None}, "expected a fraction, of one of"),
        (("blind", "runs", "grey", "agreement"), 1.5, "expected a number from 0 to 1"),
        (("blind", "runs", "grey", "differences", "metrics"), {"value": 0.5}, "is the difference of no score"),
        (("wordings", "variation", "box.f2"), None, "is of no score that all these runs have"),
        (("wordings", "runs"), {}, "is of no score that all these runs have"),
    ],
)
def test_a_summary_of_another_is_refused_in_words(dataset, tmp_path, path, value, message):
    run("first-category", dataset, tmp_path, wordings=1, blind="grey", distractors=1)
    file = tmp_path / "runs" / "set" / SETTING / "first-category" / "result.json"
    content = json.loads(file.read_text())
    place = content["variants"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = next(iter(place.values())) if value is None else value
    file.write_text(json.dumps(content))
    with pytest.raises(EarthInstructError, match=message):
        read_result(file)


def test_a_variant_is_scored_validated_and_compared_like_any_run(dataset, tmp_path):
    run("first-category", dataset, tmp_path, wordings=2)
    base = tmp_path / "runs" / "set" / SETTING / "first-category"
    variant = base.with_name("first-category-variants") / "wordings-synonyms"
    before = read_result(variant / "result.json")
    again = score(variant, dataset, SETTING)
    assert again.metrics == before.metrics
    assert "version 4, variant wordings-synonyms" in str(again)
    assert "variant wordings-synonyms" in report(variant, dataset=dataset).read_text()
    findings = validate(variant, dataset=tmp_path / "set/annotations.json")
    assert not [finding for finding in findings if finding.problem]
    compared = str(compare(base, variant, dataset=dataset))
    assert "no difference shown" in compared
    assert "A is a run of the task itself, B is a run of its variant wordings-synonyms" in compared
    terse = variant.with_name("wordings-terse")
    assert "A is a run of its variant wordings-terse, B is a run of its variant" in str(compare(terse, variant))
    three = "first-category is a run of the task itself, wordings-synonyms is a run of its variant wordings-synonyms"
    assert three in str(compare(base, variant, terse))
    assert "is a run of" not in str(compare(variant, variant))


def test_compare_says_how_far_both_runs_vary_between_wordings(dataset, tmp_path):
    folders = [run(of, dataset, tmp_path, wordings=5).folder for of in ("oracle", "first-category")]
    found = compare(*folders, dataset=dataset)
    assert "spread between wordings, in points, of A and B: Cnt 0.0 and 0.0, Box 0.0 and 0.0, Mask" in str(found)
    assert "spread" not in str(compare(run("empty", dataset, tmp_path).folder, folders[0], dataset=dataset))


def test_the_tables_stand_in_the_report_and_variants_in_no_index(dataset, tmp_path):
    evaluation = run("oracle", dataset, tmp_path, wordings=2, blind="grey", repeats=2, distractors=5)
    page = report(evaluation, dataset=dataset).read_text()
    for table in variant_tables(evaluation.results[0]):
        assert f"<caption>{table.headings[0]}</caption>" in page
        assert all(note.split(";")[0] in page for note in table.notes)
    index = report(tmp_path / "runs").read_text()
    assert "1 run of 1 task" in index


def test_failed_answers_of_variants_are_said(dataset, tmp_path):
    class Picky(Eyes):
        name = "picky"

        def predict(self, image, instruction):
            if "vessel" in instruction.categories:
                raise RuntimeError("what is a vessel?")
            return Prediction(counts={})

    (result,) = run(Picky(), dataset, tmp_path, wordings=2)
    assert result.run.n_failed == 0
    assert "2 more runs took 0 s; 3 answers failed" in str(result)


def test_the_command_line_says_the_cost_before_and_the_tables_after(dataset, tmp_path, capsys):
    given = ["evaluate", "--method", "oracle", "--dataset", str(tmp_path / "set/annotations.json")]
    given += ["--setting", SETTING, "--output", str(tmp_path / "runs"), "--wordings", "2", "--blind", "grey"]
    assert main([*given, "--dry-run"]) == 0
    assert "\n  wordings  " in capsys.readouterr().out
    assert main(given) == 0
    out, err = capsys.readouterr()
    assert "wordings: 2 more runs, 6 images to do" in err
    assert ["wordings", "given", "mean"] in [line.split()[:3] for line in out.splitlines()]
    assert "best constant" in out
    assert main(given) == 0
    assert "0 images to do" in capsys.readouterr().err


def test_a_dry_run_tells_requests_tokens_and_seconds_by_kind(dataset, tmp_path):
    from earthinstruct import Estimate

    class Paid(Eyes):
        name = "paid"

        def estimate(self, image, instruction):
            return Estimate(1, 100, 20)

    options = {"setting": SETTING, "output": tmp_path / "runs"}
    planned = dry_run(Paid(), dataset, wordings=3, repeats=2, **options)
    assert planned.estimate == Estimate(3 * 5, 1500, 300)
    assert all(of.seconds is None for of in planned.tasks)
    evaluate(Paid(), dataset, **options)
    planned = dry_run(Paid(), dataset, wordings=3, repeats=2, **options)
    seconds = {of.task.name.partition("@")[2]: of.seconds for of in planned.tasks}
    assert seconds[""] == 0
    assert all(value > 0 for name, value in seconds.items() if name)
    evaluate(Paid(), dataset, **{**options, "output": tmp_path / "limited"}, limit=2)
    longer = dry_run(Paid(), dataset, wordings=1, **{**options, "output": tmp_path / "limited"})
    assert all(of.seconds > 0 for of in longer.tasks)  # at the pace of the limited run
    shorter = dry_run(Paid(), dataset, wordings=1, **options, limit=1)  # than the whole run
    assert all(of.seconds > 0 for of in shorter.tasks)
    rows = [line.split() for line in str(planned).splitlines()[2:5]]
    assert [row[:6] for row in rows] == [
        ["set/open_vocabulary", "3", "3", "0", "0", "0"],
        ["wordings", "9", "0", "9", "9", "900"],
        ["repeats", "3", "0", "3", "3", "300"],
    ]


def test_variants_are_refused_where_they_have_no_meaning(dataset, coco, write_coco, tmp_path):
    from earthinstruct.datasets import load_dataset

    with pytest.raises(EarthInstructError, match="leave out --protocol"):
        run("oracle", dataset, tmp_path, wordings=1, protocol="paper")
    with pytest.raises(EarthInstructError, match="leave out the instruction file"):
        run("oracle", dataset, tmp_path, wordings=1, instruction_text="Count ships.")
    coco["images"], coco["annotations"] = coco["images"][:1], coco["annotations"][:3]
    alone = load_dataset(str(write_coco(coco)))
    with pytest.raises(EarthInstructError, match="no other image"):
        run("oracle", alone, tmp_path, blind="other")


def test_other_settings_have_their_wordings(dataset, tmp_path):
    evaluation = evaluate("oracle", dataset, output=tmp_path / "runs", wordings=2, distractors=5)
    kinds = {result.task.name: {kind: len(of.runs) for kind, of in result.variants.items()} for result in evaluation}
    assert kinds["set/open_ended"] == {"wordings": 2}
    assert kinds["set/open_vocabulary"]["distractors"] == 1
    assert all(float(of.variants["wordings"].variation["box.f1"].spread) == 0 for of in evaluation)


def test_the_schema_of_a_result_has_the_variants():
    schema = result_schema()
    assert {"Variants", "VariantRun", "Variation", "Absent"} <= set(schema["$defs"])


def test_a_folder_of_runs_is_compared_without_variants(dataset, tmp_path):
    folders = [run(of, dataset, tmp_path, wordings=2, blind="grey").folder for of in ("oracle", "empty")]
    assert str(compare(tmp_path / "runs", dataset=dataset)) == str(compare(*sorted(folders), dataset=dataset))
    with pytest.raises(DataError, match="holds results of variants alone; give the run folder beside it"):
        compare(folders[0].with_name("oracle-variants"), folders[1], dataset=dataset)


def test_a_leaderboard_says_how_a_row_varies(dataset, tmp_path):
    (result,) = run("first-category", dataset, tmp_path, wordings=2, blind="grey", repeats=2)
    words = variants_in_words(result)
    assert words.startswith("Box ")
    assert "wordings: " in words
    assert "blind: grey " in words
    (tmp_path / "boards").mkdir()
    file_result(tmp_path / "boards", result)
    build_leaderboards(tmp_path / "boards")
    tables = tmp_path / "boards" / "tables"
    assert words in (tables / result.task.name).with_suffix(".csv").read_text()
    assert words in (tables / "index.html").read_text()
    (row,) = pd.read_csv((tables / result.task.name).with_suffix(".csv")).to_dict("records")
    wordings, blind = result.variants["wordings"], result.variants["blind"].runs
    for name, path in (("Cnt", "counting.f1"), ("Box", "box.f1")):
        assert row[f"{name} worst wording"] == min(float(of.scores[path]) for of in wordings.runs.values())
        assert row[f"{name} wording spread"] == float(wordings.variation[path].spread)
        assert row[f"{name} blind"] == max(float(of.scores[path]) for of in blind.values())
        assert row[f"{name} repeat spread"] == 0
    assert "Cnt distractors" not in row
    page = (tables / result.task.name).with_suffix(".md").read_text()
    assert "| Cnt worst wording" in page
    assert LEADERBOARD_NOTE in page


def test_variants_are_added_to_a_filed_result_and_none_is_lost(dataset, tmp_path):
    (first,) = run("first-category", dataset, tmp_path, blind="grey")
    (more,) = run("first-category", dataset, tmp_path, blind="noise")
    (tmp_path / "boards").mkdir()
    filed = file_result(tmp_path / "boards", first)
    assert file_result(tmp_path / "boards", more) == filed
    assert set(read_result(filed).variants["blind"].runs) == {"grey", "noise"}
    (other,) = run("first-category", dataset, tmp_path / "other", blind="grey,noise,other")
    other = replace(other, run=replace(other.run, seconds={"total": 99.0}))
    for less in (first, replace(more, variants={}), other):
        with pytest.raises(DataError, match="is never replaced"):
            file_result(tmp_path / "boards", less)


def test_a_folder_of_variants_alone_has_no_index(dataset, tmp_path):
    (folder,) = run("oracle", dataset, tmp_path, blind="grey,noise").folders
    with pytest.raises(DataError, match="holds no run of a task; give a folder with run folders"):
        report(folder.with_name("oracle-variants"))


def test_a_dry_run_refuses_what_the_run_refuses(dataset):
    with pytest.raises(EarthInstructError, match="are summed up under protocol 'standard'"):
        dry_run("oracle", dataset, blind="grey", protocol="paper")


def test_what_there_is_not_is_refused_or_said(dataset, tmp_path):
    with pytest.raises(EarthInstructError, match="wordings must be all, or from 0 to 16, got 99"):
        run("oracle", dataset, tmp_path, wordings=99)
    said = []
    evaluate("oracle", dataset, setting="open_ended", output=tmp_path / "runs", distractors=5, announce=said.append)
    assert said == ["set/open_ended: without distractors, because open_ended names no categories"]
