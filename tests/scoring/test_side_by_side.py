"""Several runs side by side, and as tables for papers."""

import csv
import io
import json
import re
import shutil
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct import Evaluation, compare, evaluate, export, score
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.metrics import Value
from earthinstruct.results import Training
from earthinstruct.scoring.side_by_side import SideBySide, in_latex

N = 10


@pytest.fixture
def annotations(tmp_path):
    """Ten images with a ship each."""
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 20} for i in range(N)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in range(N)],
    }
    file = tmp_path / "gt.json"
    file.write_text(json.dumps(coco))
    return file


@pytest.fixture
def runs(annotations, tmp_path):
    """Three runs: ships are found in 1, 10 and 9 images."""
    return [kept(annotations, tmp_path, name, found) for name, found in (("few_1", 1), ("all", 10), ("most|*", 9))]


def kept(annotations, tmp_path, name, found):
    predictions, folders = tmp_path / "predictions.json", []
    predictions.write_text(json.dumps([{"image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in range(found)]))
    score(predictions, annotations, "open_vocabulary", name=name, output=tmp_path / "runs", kept=folders.append)
    return folders[0]


def test_the_best_and_its_ties(runs):
    standings = compare(*runs)
    # all - few differs in 9 images, all to one side: p = 2 / 2^9; all - most in one image: p = 1
    assert standings.side_by_side.scores == ("counting.f1", "box.f1", "box.ap_nc50")
    # one image that differs can show no difference: only the best run is bold
    assert standings.side_by_side.best == ((False,) * 3, (True,) * 3, (False,) * 3)
    off = standings.differences["box.f1", 0, 1]
    assert (off.p, off.value) == (2 / 2**9, pytest.approx(1 - 2 / 11))
    # most - few differs in 8 images: p = 2 / 2^8. Nine pairs and scores: Holm multiplies the smallest by 9
    assert off.p_corrected == pytest.approx(9 * 2 / 2**9)
    points = "81.8 points ({:.1f} to {:.1f}), p = 0.035".format(*(100 * bound for bound in off.ci95))
    lines = str(standings).splitlines()
    best = f"(no difference shown from C), better than A by {points}"
    why = "no difference can be shown between B and C: with 1 image that differs, no corrected p-value is below 1."
    assert lines[0] == f"B counts best {best}; B finds the best boxes {best}. counting: {why} boxes: {why}"
    assert lines[1:4] == [
        f"{letter}: {run}, scored without a threshold" for letter, run in zip("ABC", runs, strict=True)
    ]
    assert lines[4] == "training data of A, B, C: unknown: the method does not say what it was trained on"
    assert lines[5].split() == ["run", "Cnt", "F1", "Box", "F1", "AP_nc", "box"]
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[6:12:2]]
    assert [row[0] for row in rows] == ["A: few_1", "B: all", "C: most|*"]
    assert [row[1] for row in rows] == ["18.2", "*100.0", "94.7"]


def test_a_run_ties_with_the_best_where_a_difference_could_be_shown(annotations, tmp_path):
    """Five and six of ten ships are found, in other images: nine images differ, one way and the other."""
    folders = []
    for name, found in (("first", range(5)), ("last", range(4, 10))):
        boxes = [{"image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in found]
        (tmp_path / "predictions.json").write_text(json.dumps(boxes))
        score(
            tmp_path / "predictions.json",
            annotations,
            "open_vocabulary",
            name=name,
            output=tmp_path / "runs",
            kept=folders.append,
        )
    first, last = folders
    off = compare(first, last).rows[0].difference
    assert (off.n_differing, off.value > 0, off.is_shown, off.can_be_shown) == (9, True, False, True)
    assert compare(first, last).side_by_side.best == ((True,) * 3, (True,) * 3)
    assert "can be shown" not in compare(first, last).verdict


def test_every_pair_is_in_the_frame(runs):
    frame = compare(*runs).to_pandas()
    assert len(frame) == 3 * 3 + 3
    assert set(frame[frame.p.isna()].score) == {"counting_limits.counts_up_to"}
    frame = frame[frame.p.notna()]
    row = frame[(frame.score == "box.f1") & (frame["first"] == "few_1") & (frame.second == "all")].iloc[0]
    assert (row.first_score, row.second_score) == (pytest.approx(2 / 11), 1)
    assert row.low <= row.difference <= row.high
    assert (frame.p <= frame.p_corrected).all()
    two = compare(*runs[:2]).to_pandas()
    assert set(two.columns) == {*frame.columns, "over", "is_group", "slice_by"}
    row = two[(two.score == "box.f1") & (two.over == "all")].iloc[0]
    assert (row["first"], row.second, row.first_score) == ("few_1", "all", pytest.approx(2 / 11))


def test_markdown(runs):
    text = compare(*runs).to_markdown()
    lines = text.splitlines()
    assert lines[0].startswith(r"all counts best (no difference shown from most\|\*)")
    assert lines[2:4] == [
        "| method | training data | Cnt F1 | Box F1 | AP_nc box |",
        "| - | - | -: | -: | -: |",
    ]
    assert lines[4].startswith(r"| few\_1 | unknown | 18.2 (")
    assert lines[5].startswith("| all | unknown | **100.0 (")
    assert lines[6].startswith(r"| most\|\* | unknown | 94.7 (")
    assert r"from the best run in Cnt F1, Box F1, AP\_nc box: most\|\*." in text
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[2:7]}
    assert cells == {6}
    assert r"Training data of few\_1, unknown: the method does not say what it was trained on." in text


def test_latex(runs):
    lines = compare(*runs).to_latex().splitlines()
    table = [line for line in lines if not line.startswith("%")]
    assert table[0] == r"\begin{tabular}{llrrr}" and table[-1] == r"\end{tabular}"
    assert [table[1], table[3], table[-2]] == [r"\toprule", r"\midrule", r"\bottomrule"]
    rows = [table[2], *table[4:-2]]
    for row in rows:
        assert row.endswith(r" \\") and row.count("&") == 4
        assert row.count("{") == row.count("}")
        assert not re.search(r"(?<!\\)[%#_~^|]", row)
        assert row.count("$") % 2 == 0
        assert row.isascii()
    assert rows[1].startswith(r"few\_1 & unknown & 18.2 (")
    assert rows[2].startswith(r"all & unknown & \textbf{100.0 (")
    assert r"% \usepackage{booktabs}" in lines


COMMANDS = {"begin", "end", "toprule", "midrule", "bottomrule", "textbf", "pm", "\\"} | {*"&%$#_{}"}
COMMANDS |= {f"text{name}" for name in ("asciitilde", "asciicircum", "backslash", "less", "greater", "bar")}


def checked_latex(text):
    """The cells of a `tabular`, row by row; an assertion fails where LaTeX would not compile it."""
    lines = text.splitlines()
    body = "\n".join(line for line in lines if not line.startswith("%"))
    assert body.startswith(r"\begin{tabular}{l") and body.endswith(r"\end{tabular}")
    columns = len(re.match(r"\\begin\{tabular\}\{(l+r*)\}", body)[1])
    rows, cell, row, depth, in_math = [], "", [], 0, False
    for token in re.findall(r"\\[a-zA-Z]+|\\.|.", body.partition("\n")[2], re.DOTALL):
        if token.startswith("\\"):
            assert token[1:] in COMMANDS, token
            assert (token == r"\pm") <= in_math
        assert not (token in "#_~^%" and len(token) == 1), f"{token} is not escaped"
        assert token == "\n" or unicodedata.category(token[-1]) not in ("Cc", "Cs"), repr(token)
        depth += (token == "{") - (token == "}")
        assert depth >= 0
        in_math ^= token == "$"
        if token in ("&", r"\\"):
            assert depth == 0 and not in_math
            row, cell = [*row, cell], ""
            if token == r"\\":
                assert len(row) == columns
                rows, row = [*rows, row], []
        else:
            cell += token
    assert depth == 0 and not in_math and not row
    assert not re.search(r"\\\\\s*[\[*]", body)  # it would be an argument of the end of the row before
    return rows


NAMES = st.text(min_size=1, max_size=12) | st.text(alphabet="\\&%$#_{}~^|<>[*±\n\r\t -", min_size=1)


@settings(max_examples=100, deadline=None)
@given(first=NAMES, second=NAMES)
def test_latex_compiles_whatever_a_method_is_called(first, second):
    scores = ("counting.f1", "box.f1")
    values = (Value(0.5, (0.25, 0.75)), Value(None)), (Value(1.0), Value(0.0))
    best, training = ((True, False), (False, True)), (None, Training("seen", first))
    table = SideBySide(first, second, (first, second), scores, values, best, training, (first,))
    heading, *rows = checked_latex(table.latex())
    assert [len(heading), len(rows)] == [4, 2]
    assert rows[0][2].strip() == r"\textbf{50.0 $\pm$25.0}"
    assert [cell.strip() for cell in rows[1][1:]] == ["seen", "100.0", r"\textbf{0.0}"]


def test_every_special_character_of_latex_is_escaped():
    text = in_latex("\\ & % $ # _ { } ~ ^ | < > [ * a\nb")
    assert "\n" not in text
    without = re.sub(r"\\(text[a-z]+\{\}|[&%$#_{}])", "", text)
    without = without.replace("{[}", "").replace("{*}", "")
    assert not set(without) & set("\\&%$#_{}~^|<>[*")


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-x", "@x"])
def test_a_name_is_no_formula_of_a_spreadsheet(runs, name):
    table = replace(compare(*runs).side_by_side, names=(name, "a-b", "c"), task=name)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [rows[0]["method"], rows[0]["task"], rows[3]["method"]] == [f"'{name}", f"'{name}", "a-b"]
    plain = replace(table, names=("\t=1", "\r=1", "c")).csv()
    assert "\t" not in plain and "\r" not in plain


def test_csv(runs, capsys):
    assert main(["compare", *map(str, runs), "--format", "csv"]) == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert len(rows) == 3 * 3
    found = {(row["method"], row["score"]): row for row in rows}
    assert float(found["few_1", "box.f1"]["value"]) == pytest.approx(2 / 11)
    assert (found["few_1", "box.f1"]["best"], found["all", "box.f1"]["best"]) == ("no", "yes")
    assert printed.err.startswith("all counts best")


def test_two_runs_have_the_same_tables(runs, capsys):
    assert main(["compare", *map(str, runs[:2]), "--format", "latex"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("% all counts better than few_1 by 81.8 points")
    assert printed == compare(*runs[:2]).to_latex()


def test_a_folder_of_runs_stands_for_its_runs(runs, tmp_path, capsys):
    folder = runs[0].parent
    assert compare(folder).side_by_side.names == compare(*sorted(runs)).side_by_side.names
    assert main(["compare", str(folder)]) == 0
    assert "no difference shown from" in capsys.readouterr().out
    with pytest.raises(EarthInstructError, match="few_1 is one run; give another run of the same task, or a folder"):
        compare(runs[0])
    with pytest.raises(EarthInstructError, match=r"few_1 is given twice; give each run once"):
        compare(folder, runs[0])
    assert compare(runs[0], runs[0]).notes == (f"A and B are one run, {runs[0]}: nothing can differ",)
    with pytest.raises(DataError, match=rf"{folder} is a folder of 3 runs; give one of them, such as .*/all"):
        export(folder, tmp_path / "a.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no result.json; give a run folder"):
        compare(runs[0], tmp_path / "empty")


def test_numbers_have_no_noise_of_floating_point(runs):
    table = replace(
        compare(*runs).side_by_side, scores=("box.f1",), values=((Value(0.1 + 0.2),),) * 3, best=((True,),) * 3
    )
    assert ",0.3,," in table.csv()
    rows = compare(*runs[:2]).records()
    numbers = [row[name] for row in rows for name in ("first_score", "difference", "low", "high") if row[name]]
    assert numbers == [round(number, 12) for number in numbers]


def test_controls_are_shown_and_not_ranked(annotations, tmp_path, runs):
    result = json.loads((runs[1] / "result.json").read_text())
    result["method"]["control"] = True
    (runs[1] / "result.json").write_text(json.dumps(result))
    standings = compare(*runs)
    assert standings.side_by_side.best == ((False,) * 3, (False,) * 3, (True,) * 3)
    assert str(standings).startswith("C counts best, better than A by")
    assert "all sees the ground truth, and is not ranked." in str(standings)
    again = shutil.copytree(runs[1], runs[1].with_name("again"))
    assert compare(runs[1], runs[0], again).side_by_side.best == ((False,) * 3,) * 3


def test_a_control_and_a_method_get_no_verdict(runs):
    result = json.loads((runs[1] / "result.json").read_text())
    result["method"]["control"] = True
    (runs[1] / "result.json").write_text(json.dumps(result))
    words = "No verdict: B sees the ground truth (a control), A does not."
    assert str(compare(runs[0], runs[1])).splitlines()[0] == words
    assert "No verdict: all sees the ground truth (a control)" in compare(runs[1], runs[0]).to_markdown()
    assert str(compare(runs[1], runs[1])).startswith("counting: no difference shown")


def test_runs_over_other_images_explain_themselves(annotations, tmp_path, runs):
    coco = json.loads(annotations.read_text())
    coco["annotations"].pop()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "gt.json").write_text(json.dumps(coco))
    other = kept(tmp_path / "other" / "gt.json", tmp_path, "other", 3)
    with pytest.raises(DataError, match=r"were scored against two annotation files of gt, .*earthinstruct score RUN"):
        compare(runs[0], other)


def test_a_limited_run_explains_itself(constant, dataset, tmp_path):
    whole, limited = (evaluate(constant, dataset, setting="open_ended", output=tmp_path, limit=n) for n in (None, 2))
    with pytest.raises(
        DataError, match=r"constant-limit-2 was run on the first 2 images of set and \S+ on 3: .*--limit"
    ):
        compare(whole, limited)


def test_an_evaluation_is_a_run(runs):
    from earthinstruct.results import read_result

    evaluations = [Evaluation((read_result(run / "result.json"),), (), (run,)) for run in runs]
    assert str(compare(*evaluations)) == str(compare(*runs))
    assert str(compare(*evaluations[:2])) == str(compare(*runs[:2]))


def test_what_several_runs_do_not_take(runs):
    with pytest.raises(EarthInstructError, match="leave out --metric, or give two runs"):
        compare(*runs, metric="earthinstruct.nothing:Nothing")
    with pytest.raises(EarthInstructError, match="compare: others must be Path, str or Evaluation, got int 3"):
        compare(*runs, 3)


def test_the_folder_alone_is_enough(runs, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (runs[0] / "tallies.npz").unlink()  # so that its predictions are scored again
    assert compare(*runs).side_by_side.best[1] == (True,) * 3
