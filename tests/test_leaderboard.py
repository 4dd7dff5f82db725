import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from earthinstruct import evaluate
from earthinstruct.errors import DataError
from earthinstruct.files import as_json
from earthinstruct.leaderboard import add, build, check
from earthinstruct.results import result_schema

STORED = Path(__file__).parent.parent / "leaderboards"
PUBLISHED = {
    "source": "Somebody 2025",
    "url": "https://example.org",
    "protocol": "paper",
    "rows": [{"task": "set/open_ended", "method": "<b>Other</b>", "table": "table 1", "metrics": {"box.f1": 0.5}}],
}


@pytest.fixture
def result(constant, dataset, tmp_path):
    constant.describe = lambda: {"version": "1.0"}
    return evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs", resamples=20).results[0]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "published.json").write_text(json.dumps(PUBLISHED))
    return folder


def test_tables_keep_recomputed_and_published_rows_apart(root, result):
    assert add(root, result) == root / "results" / "set" / "open_ended" / "constant" / "1.0.json"
    build(root)
    markdown = (root / "tables" / "set" / "open_ended.md").read_text()
    recomputed, published = markdown.split("## ")[1:]
    assert recomputed.startswith("Recomputed from predictions")
    assert "constant" in recomputed
    assert "50.0" in published
    assert "Somebody 2025, table 1" in published
    html = (root / "tables" / "set" / "open_ended.html").read_text()
    assert "<b>Other" not in html
    assert "&lt;b&gt;Other" in html
    assert "constant,1.0" in (root / "tables" / "set" / "open_ended.csv").read_text()


def test_check_names_what_is_not_what_the_results_give(root, result):
    add(root, result)
    assert check(root) != []
    build(root)
    assert check(root) == []
    table = root / "tables" / "set" / "open_ended.md"
    table.write_text(table.read_text().replace("50.0", "60.0"))
    (root / "tables" / "old.md").write_text("")
    assert check(root) == ["tables/old.md is left over", "tables/set/open_ended.md is not what the results give"]


def test_a_result_is_never_replaced_and_lies_where_it_belongs(root, result):
    path = add(root, result)
    with pytest.raises(DataError, match="never replaced"):
        add(root, result)
    path.rename(path.with_name("2.0.json"))
    with pytest.raises(DataError, match=r"belongs to results/set/open_ended/constant/1\.0\.json"):
        build(root)


@pytest.mark.parametrize("version", [None, "../../../x"])
def test_a_version_that_cannot_be_a_file_name_is_refused(root, result, version):
    with pytest.raises(DataError, match=r"no version|leave the folder"):
        add(root, replace(result, method=replace(result.method, version=version)))


def test_controls_have_their_own_section(root, result):
    add(root, replace(result, method=replace(result.method, control=True)))
    build(root)
    assert "Controls (they see the ground truth)" in (root / "tables" / "set" / "open_ended.md").read_text()


def test_the_stored_tables_are_what_the_stored_results_give():
    assert check(STORED) == []


def test_the_stored_schema_is_that_of_the_model():
    assert json.loads((STORED / "result.schema.json").read_text()) == json.loads(as_json(result_schema()))


def test_published_rows_are_all_there_with_their_source():
    published = json.loads((STORED / "published.json").read_text())
    assert "2505.15818" in published["source"]
    assert len(published["rows"]) == 62
    assert all(0 <= value <= 1 for row in published["rows"] for value in row["metrics"].values())
