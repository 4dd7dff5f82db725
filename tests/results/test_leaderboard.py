import errno
import inspect
import json
import os
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from earthinstruct import evaluate
from earthinstruct.errors import DataError
from earthinstruct.files import as_json
from earthinstruct.metrics import Tally
from earthinstruct.metrics.values import Fold, Sweep, SweepPoint
from earthinstruct.results import (
    StoredTallies,
    build_leaderboards,
    check_leaderboards,
    file_result,
    read_result,
    read_tallies,
)
from earthinstruct.results.leaderboard_tables import ranks
from earthinstruct.results.result import result_schema
from earthinstruct.scoring import add_to_leaderboard

STORED = Path(__file__).parents[2] / "leaderboards"
PUBLISHED = {
    "source": "Somebody 2025",
    "url": "https://example.org",
    "protocol": "paper",
    "rows": [{"task": "set/open_ended", "method": "Other (A & B)", "table": "table 1", "metrics": {"box.f1": 0.5}}],
}


@pytest.fixture
def run(constant, dataset, tmp_path):
    constant.describe = lambda: {"version": "1.0"}
    return evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs").folders[0]


@pytest.fixture
def result(run):
    return read_result(run / "result.json")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "published.json").write_text(json.dumps(PUBLISHED))
    return folder


def test_tables_keep_recomputed_and_published_rows_apart(root, result):
    assert file_result(root, result) == root / "results" / "set" / "open_ended" / "constant" / "1.0.json"
    build_leaderboards(root)
    markdown = (root / "tables" / "set" / "open_ended.md").read_text()
    recomputed, published = markdown.split("## ")[1:]
    assert recomputed.startswith("Recomputed from predictions")
    assert "constant" in recomputed
    assert "50.0" in published
    assert "Somebody 2025, table 1" in published
    html = (root / "tables" / "index.html").read_text()
    assert "Other (A & B)" not in html + markdown
    assert "Other (A &amp; B)" in html
    assert "constant,1.0" in (root / "tables" / "set" / "open_ended.csv").read_text()


def test_rows_with_an_oracle_threshold_are_marked_and_ranked_apart(root, result):
    def file(name: str, **fields: object) -> None:
        metrics = replace(result.metrics, **fields)
        file_result(root, replace(result, metrics=metrics, method=replace(result.method, name=name)))

    file("plain")
    file("given", threshold=0.52)
    curve = [SweepPoint(threshold, 0.5, 0.5, 0.5) for threshold in (-2.5, -1.25, 0.25, 0.5)]
    file("cross", sweep=Sweep(None, curve, [Fold(2, 0.5), Fold(1, 0.25)]))
    file("best", sweep=Sweep(-1.25, curve))
    file("best too", sweep=Sweep(-2.5, curve))
    build_leaderboards(root)
    stored = pd.read_csv(root / "tables" / "set" / "open_ended.csv").set_index("method")
    recomputed, oracle = (stored[stored["kind"] == kind] for kind in ("recomputed", "oracle"))
    assert recomputed["threshold"].fillna("-").to_dict() == {
        "plain": "-",
        "given": "0.52",
        "cross": "chosen on other images",
    }
    assert oracle["threshold"].astype(float).to_dict() == {"best": -1.25, "best too": -2.5}
    # the same scores: all rows of a section tie, 3 of them and 2
    assert recomputed[["rank best", "rank worst"]].to_numpy().tolist() == [[1, 3]] * 3
    assert oracle[["rank best", "rank worst"]].to_numpy().tolist() == [[1, 2]] * 2
    markdown = (root / "tables" / "set" / "open_ended.md").read_text()
    assert "## Recomputed, with the score threshold that is best on these images (an oracle)" in markdown


def test_rows_of_two_versions_of_a_protocol_are_not_ranked_against_each_other(root, result):
    for name, version in (("old", 1), ("new", 2)):
        file_result(root, replace(result, protocol_version=version, method=replace(result.method, name=name)))
    build_leaderboards(root)
    stored = pd.read_csv(root / "tables" / "set" / "open_ended.csv").set_index("method").drop(index="Other (A & B)")
    assert stored["protocol version"].to_dict() == {"old": 1, "new": 2}
    assert stored[["rank best", "rank worst"]].to_numpy().tolist() == [[1, 1], [1, 1]]


def test_check_names_what_is_not_what_the_results_give(root, result):
    file_result(root, result)
    assert check_leaderboards(root) != []
    build_leaderboards(root)
    assert check_leaderboards(root) == []
    table = root / "tables" / "set" / "open_ended.md"
    table.write_text(table.read_text().replace("50.0", "60.0"))
    (root / "tables" / "old.md").write_text("")
    page = root / "tables" / "index.html"
    page.write_text(page.read_text().replace("--at:50.00", "--at:60.00"))
    assert check_leaderboards(root) == [
        "tables/old.md is left over",
        "tables/index.html differs from the results",
        "tables/set/open_ended.md differs from the results",
    ]


def test_a_result_is_never_replaced_and_lies_where_it_belongs(root, result):
    path = file_result(root, result)
    with pytest.raises(DataError, match="never replaced"):
        file_result(root, result)
    path.rename(path.with_name("2.0.json"))
    with pytest.raises(DataError, match=r"should be results/set/open_ended/constant/1\.0\.json"):
        build_leaderboards(root)


def test_a_result_is_replaced_by_one_under_a_later_version_of_its_protocol(root, result):
    path = file_result(root, replace(result, protocol_version=1))
    assert file_result(root, result) == path
    assert read_result(path).protocol_version == result.protocol_version
    for version in (1, result.protocol_version):
        with pytest.raises(DataError, match="never replaced"):
            file_result(root, replace(result, protocol_version=version))


def test_a_folder_that_is_not_there_is_not_made(tmp_path, result):
    for act in (build_leaderboards, check_leaderboards, lambda root: file_result(root, result)):
        with pytest.raises(DataError, match=r"folder .*nowhere does not exist; give its path with --root"):
            act(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("version", [None, "../../../x", "1\n2"])
def test_a_version_that_cannot_be_a_file_name_is_refused(root, result, version):
    with pytest.raises(DataError, match=r"no version|version '.*' cannot be filed"):
        file_result(root, replace(result, method=replace(result.method, version=version)))


@pytest.mark.parametrize("name", ["", "..", "/etc", "a | b", "=SUM(A1)", "<b>a</b>", "[a](javascript:x)", "-1", "a\n"])
def test_a_name_that_is_a_path_or_markup_or_a_formula_is_refused(root, result, name):
    with pytest.raises(DataError, match=r"method name '.*' cannot be filed: expected letters"):
        file_result(root, replace(result, method=replace(result.method, name=name)))
    with pytest.raises(DataError, match=r"task name '.*' cannot be filed"):
        file_result(root, replace(result, task=replace(result.task, name=f"set/{name}")))
    (root / "published.json").write_text(json.dumps({**PUBLISHED, "rows": [{**PUBLISHED["rows"][0], "task": name}]}))
    with pytest.raises(DataError, match=r"task name '.*' cannot be filed"):
        build_leaderboards(root)
    assert not (root / "results").exists()
    assert not (root / "tables").exists()


@pytest.mark.parametrize(
    "text",
    ["", "=cmd|' /C calc'!A0", "@SUM(1)", "<b>a</b>", "[x](javascript:alert(1))", "a\nb", "a\r", "a\x1b[31m",
     "a\u202eb", "a | b", "a" * 400],
)  # fmt: skip
def test_what_is_published_is_held_to_the_rules_of_results(root, text):
    def build(where, **changed):
        (root / "published.json").write_text(json.dumps({**PUBLISHED, **changed}))
        with pytest.raises(DataError, match=rf"published\.json: {where}"):
            build_leaderboards(root)
        assert not (root / "tables").exists()

    (row,) = PUBLISHED["rows"]
    build("source is", source=text)
    build("protocol is", protocol=text)
    build("url is", url=text)
    build(r"rows\[0\]\.method is", rows=[{**row, "method": text}])
    build(r"rows\[0\]\.table is", rows=[{**row, "table": text}])
    training = {"methods": [row["method"]], "training_data": [], "source": "a page"}
    build(r"training\[0\]\.source is", training=[{**training, "source": text}])
    build(r"training\[0\]: .* is not in the table of training sets", training=[{**training, "training_data": [text]}])
    build(r"rows\[0\]\.metrics names", rows=[{**row, "metrics": {text: 0.5}}])


@pytest.mark.parametrize("value", [-0.1, 1.1, 1e308])
def test_what_is_published_is_a_fraction(root, value):
    rows = [{**PUBLISHED["rows"][0], "metrics": {"counting.per_category.vehicle.f1": value}}]
    (root / "published.json").write_text(json.dumps({**PUBLISHED, "rows": rows}))
    with pytest.raises(DataError, match=r"rows\[0\]\.metrics: counting\.f1 is .*; expected a number from 0 to 1"):
        build_leaderboards(root)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_leaves_no_half_result_and_no_half_table(root, result):
    import resource

    build_leaderboards(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # no file may be longer
    try:
        with pytest.raises(DataError, match=r"1\.0\.json cannot be written: File too large; nothing of it is left"):
            file_result(root, result)
        with pytest.raises(DataError, match=r"result\.schema\.json cannot be written: File too large"):
            build_leaderboards(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    file_result(root, result)
    build_leaderboards(root)
    assert check_leaderboards(root) == []


def test_a_read_only_disk_is_said(root, result, monkeypatch):
    def read_only(path, pieces):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("earthinstruct.files._beside", read_only)
    for act in (lambda: file_result(root, result), lambda: build_leaderboards(root)):
        with pytest.raises(DataError, match="cannot be written: Read-only file system; nothing of it is left"):
            act()
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["published.json"]


def test_a_folder_that_cannot_be_written_is_named(root, result):
    (root / "results").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"1\.0\.json cannot be written: Not a directory"):
        file_result(root, result)
    (root / "results").unlink()
    (root / "tables").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"open_ended\.md cannot be written: Not a directory"):
        build_leaderboards(root)


def test_a_result_is_filed_once_also_where_there_are_no_hard_links(root, result, monkeypatch):
    def unsupported(self, target):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(Path, "hardlink_to", unsupported)
    filed = file_result(root, result)
    before = filed.read_bytes()
    with pytest.raises(DataError, match="and is never replaced"):
        file_result(root, replace(result, protocol="standard", label_mapper="other"))
    assert filed.read_bytes() == before
    assert [path.name for path in filed.parent.iterdir()] == [filed.name]


def test_tasks_that_differ_behind_a_dot_have_tables_of_their_own(root, result):
    rows = [{**PUBLISHED["rows"][0], "task": f"set/open_subclass/class_1.{i}"} for i in (5, 7)]
    (root / "published.json").write_text(json.dumps({**PUBLISHED, "rows": rows}))
    build_leaderboards(root)
    assert len(list((root / "tables" / "set").rglob("*.md"))) == 2
    assert check_leaderboards(root) == []


def rows(*f1: tuple[float, float], **columns: object) -> pd.DataFrame:
    """Rows of (box F1, half of its interval)."""
    table = pd.DataFrame(
        [
            {"Box F1": value, "Box F1 low": value - half, "Box F1 high": value + half, "source": f"{row}.json"}
            for row, (value, half) in enumerate(f1)
        ]
    )
    return table.assign(
        **(
            {"task version": "1", "protocol": "standard", "protocol version": 2, "annotations": "a", "images": 9}
            | columns
        )
    )


def ranges(table: pd.DataFrame) -> list[tuple[int, int]]:
    return [tuple(row) for row in ranks(table, {}).sort_index().astype(int).to_numpy().tolist()]


def test_rows_that_cannot_be_told_apart_share_a_range_of_ranks():
    # 0.70 and 0.66: 0.04 < hypot(0.03, 0.03) = 0.042, a tie; 0.70 and 0.60: 0.10 is more; 0.66 and 0.60: 0.06 is more
    assert ranges(rows((0.70, 0.03), (0.60, 0.03), (0.66, 0.03))) == [(1, 2), (3, 3), (1, 2)]
    # a chain: each ties with the next, the ends do not tie
    assert ranges(rows((0.70, 0.03), (0.66, 0.03), (0.62, 0.03))) == [(1, 2), (1, 3), (2, 3)]
    # the intervals overlap (0.67 to 0.73, 0.62 to 0.68), and the rows still differ: 0.05 > 0.042
    assert ranges(rows((0.70, 0.03), (0.65, 0.03))) == [(1, 1), (2, 2)]
    assert ranges(rows((0.5, 0.0), (0.5, 0.0))) == [(1, 2), (1, 2)]


def test_rows_are_ranked_only_against_rows_of_the_same_images_and_rules():
    assert ranges(rows((0.7, 0.01), (0.5, 0.01), protocol=["standard", "paper"])) == [(1, 1), (1, 1)]
    assert ranges(rows((0.7, 0.01), (0.5, 0.01), annotations=["a", "b"])) == [(1, 1), (1, 1)]
    without = rows((0.7, 0.01), (0.5, 0.01))
    without.loc[0, "Box F1 low"] = None
    assert ranks(without, {}).index.tolist() == [1]
    assert ranks(without[["Box F1"]], {}).empty


def tallies(*found: int) -> dict[str, StoredTallies]:
    """For each row, the tallies of nine images with an object each, of which that many are found, the first ones."""
    images = tuple(range(9))
    made = {}
    for source, n in enumerate(found):
        tp = (np.arange(9) < n)[:, None].astype(np.int64)
        tally = Tally(images, ("ship",), {"tp": tp, "fp": 0 * tp, "fn": 1 - tp})
        made[f"{source}.json"] = StoredTallies({"box": tally}, {"all": ("ship",)})
    return made


def test_rows_with_tallies_tie_by_the_paired_test():
    # 9 and 0 found: p = 2 / 2^9, with 3 pairs 6 / 2^9 < 0.05. 9 and 3: p = 2 / 2^6, times 2: 0.06. 3 and 0: p = 2 / 2^3
    same = rows((0.95, 0.2), (0.1, 0.2), (0.5, 0.2))
    stored = tallies(9, 0, 3)
    found = ranks(same, stored).sort_index().astype(int).to_numpy().tolist()
    assert found == [[1, 2], [2, 3], [1, 3]]
    # the intervals alone would say that the second is surely worse than both
    assert ranks(same, {}).sort_index().astype(int).to_numpy().tolist() == [[1, 1], [3, 3], [2, 2]]
    # of two rows, one has no tallies: only its pairs are compared by intervals; 9 and 3: 2 / 2^6 < 0.05, one pair
    del stored["1.json"]
    assert ranks(same, stored).sort_index().astype(int).to_numpy().tolist() == [[1, 1], [3, 3], [2, 2]]


def test_tallies_of_other_ground_truth_do_not_compare():
    stored = tallies(9, 0)
    other = stored["1.json"].tallies["box"]
    stored["1.json"] = StoredTallies({"box": other.of_images(range(8))}, {"all": ("ship",)})
    with pytest.raises(DataError, match=r"0\.json and 1\.json cannot be compared: only runs over the same images"):
        ranks(rows((0.9, 0.1), (0.1, 0.1)), stored)


def test_the_tallies_of_a_run_are_filed_beside_its_result(root, result, run):
    assert add_to_leaderboard(run, root=root).filed
    filed = root / "results" / "set" / "open_ended" / "constant" / "1.0.json"
    stored = read_tallies(filed.parent, result, "1.0.tallies.npz")
    assert set(stored.tallies) == {"counting", "box"}
    assert check_leaderboards(root) == []
    page = (root / "tables" / "set" / "open_ended.md").read_text()
    assert "A tie means that no difference is shown: the paired sign-flip test over images" in page
    assert "Rows without stored tallies" not in page
    (filed.parent / "1.0.tallies.npz").unlink()
    build_leaderboards(root)
    page = (root / "tables" / "set" / "open_ended.md").read_text()
    assert "| none " in page
    assert "Rows without stored tallies cannot be tested" in page
    assert add_to_leaderboard(run, root=root).filed  # the same result: its tallies are added
    assert "| stored " in (root / "tables" / "set" / "open_ended.md").read_text()
    filed.unlink()
    with pytest.raises(DataError, match=r"1\.0\.tallies\.npz has no result beside it; remove it"):
        build_leaderboards(root)


def test_filed_tallies_add_up_to_their_result(root, result, run):
    stored = read_tallies(run, result)
    box = stored.tallies["box"]
    more = Tally(box.images, box.categories, {**box.columns, "tp": box.columns["tp"] + 1})
    file_result(root, result, StoredTallies({"box": more}, stored.groups))
    with pytest.raises(DataError, match=r"1\.0\.tallies\.npz cannot be used: the tally of box does not add up"):
        build_leaderboards(root)


def test_the_tables_show_the_ranks(root, result):
    for version in ("1.0", "1.1"):
        file_result(root, replace(result, method=replace(result.method, version=version)))
    build_leaderboards(root)
    table = root / "tables" / "set" / "open_ended"
    recomputed, published = table.with_suffix(".md").read_text().split("## ")[1:]
    assert recomputed.count("| 1-2 ") == 2
    assert "rank" not in published
    assert (root / "tables" / "index.html").read_text().count(">1-2</td>") == 2
    stored = pd.read_csv(table.with_suffix(".csv"))
    assert stored[stored["kind"] == "recomputed"][["rank best", "rank worst"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    assert stored[stored["kind"] == "published"]["rank best"].isna().all()


def test_controls_have_their_own_section(root, result):
    file_result(root, replace(result, method=replace(result.method, control=True)))
    build_leaderboards(root)
    assert "Controls (they see the ground truth)" in (root / "tables" / "set" / "open_ended.md").read_text()


def test_the_stored_tables_are_what_the_stored_results_give():
    assert check_leaderboards(STORED) == []


def test_the_stored_schema_is_that_of_the_model():
    assert (STORED / "result.schema.json").read_bytes() == as_json(result_schema())


def test_the_schema_depends_on_neither_the_indents_of_docstrings_nor_the_order_of_alternatives(monkeypatch):
    """Python 3.13 dedents docstrings, and msgspec 0.22 reversed the alternatives of some unions."""
    expected = as_json(result_schema())
    made = msgspec.json.schema

    def another(type_):
        return disturbed(made(type_))

    def disturbed(part):
        if isinstance(part, list):
            return [disturbed(element) for element in part]
        if not isinstance(part, dict):
            return part
        part = {name: disturbed(value) for name, value in part.items()}
        if isinstance(part.get("description"), str):
            first, *more = inspect.cleandoc(part["description"]).split("\n")
            part["description"] = "\n".join([first, *(line and f"        {line}" for line in more)])
        if "anyOf" in part:
            part["anyOf"].reverse()
        return part

    assert as_json(disturbed(result_schema())) != expected
    monkeypatch.setattr(msgspec.json, "schema", another)
    assert as_json(result_schema()) == expected


def test_published_rows_are_all_there_with_their_source():
    published = json.loads((STORED / "published.json").read_text())
    assert "2505.15818" in published["source"]
    assert len(published["rows"]) == 64
    assert all(0 <= value <= 1 for row in published["rows"] for value in row["metrics"].values())


def test_what_published_methods_were_trained_on_is_known_or_unknown_with_its_source():
    published = json.loads((STORED / "published.json").read_text())
    named = [method for training in published["training"] for method in training["methods"]]
    assert len(set(named)) == len(named)
    assert set(named) == {row["method"] for row in published["rows"]}
    assert all(training["source"] and training["training_data"] for training in published["training"])
    table = pd.read_csv(STORED / "tables" / "dior" / "open_ended.csv").set_index("method")
    assert table["training data"]["EarthDial"] == "seen"
    assert table["training data in words"]["EarthDial"] == (
        "the method was trained on EarthDial-Instruct, which holds images of DIOR with their labels "
        "(arXiv 2412.15190; src/shell/data in github.com/hiyamdebary/EarthDial; it starts from InternVL2)"
    )
    assert table["training data"]["SkySenseGPT"] == "zero-shot"
    assert table["training data"]["InstructSAM-GPT4o"] == "unknown"


@pytest.mark.parametrize("declared", [["a\nb"], {"=1+1": ["coco"]}, ["x" * 101]])
def test_a_declaration_that_cannot_stand_in_a_table_is_not_filed(root, result, declared):
    strange = replace(result, method=replace(result.method, training_data=declared))
    with pytest.raises(DataError, match=r"training data .* cannot be filed: expected letters, digits"):
        file_result(root, strange)


def test_tables_mark_rows_and_say_why(root, result):
    told = replace(result, method=replace(result.method, name="told", training_data={"encoder": ["dior"]}))
    file_result(root, replace(told, task=replace(told.task, dataset=replace(told.task.dataset, images_from=("dior",)))))
    control = replace(result, method=replace(result.method, name="oracle", control=True))
    file_result(root, control)
    build_leaderboards(root)
    file = root / "tables" / "set" / "open_ended.md"
    text = file.read_text()
    assert "- seen: the encoder was trained on images of DIOR with their labels. Rows: told" in text
    frame = pd.read_csv(file.with_suffix(".csv")).set_index("method")["training data"]
    assert (frame["told"], pd.isna(frame["oracle"])) == ("seen", True)


def test_published_rows_name_the_table_of_the_paper_where_its_number_is_known():
    rows = json.loads((STORED / "published.json").read_text())["rows"]
    tables = Counter(row["table"].split(" (")[0].split(";")[0] for row in rows)
    assert tables == {
        "Table 1": 14,
        "Table 2": 14,
        "open ended": 2,  # EarthDial, which a later version of the paper added
        "Table 3": 16,
        "Table 4": 10,
        "ablation of counter, proposer and CLIP": 6,
        "AP without confidence of novel classes": 2,
    }
    assert {row["method"] for row in rows if "later version" in row["table"]} == {"EarthDial"}
