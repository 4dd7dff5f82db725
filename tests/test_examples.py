"""The examples run as they stand."""

import ast
import base64
import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "instructsam_on_scenes.ipynb"


def test_a_method_is_added_and_evaluated(tmp_path):
    script = EXAMPLES / "add_a_method.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Count(tp=")
    (result,) = (json.loads(path.read_text()) for path in tmp_path.rglob("result.json"))
    assert (result["method"]["name"], result["run"]["n_failed"]) == ("white-tanks", 0)


def python_of(page):
    """The first block of Python in a page."""
    return re.search(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """What code prints, run in an empty folder."""

    def printed(code):
        monkeypatch.chdir(tmp_path)
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            exec(code, {})
        return shown.getvalue().splitlines()

    return printed


def test_the_readme_evaluates_a_method(printed):
    lines = printed(python_of("README.md"))
    assert lines[0] == "mine on scenes, protocol standard, version 4"
    assert lines[1].split()[:4] == ["task", "Cnt", "Box", "Mask"]
    assert len([line for line in lines if line.startswith("kept in ")]) == 4


def test_every_output_is_drawn_over_its_raster(tmp_path):
    pytest.importorskip("matplotlib")
    path = EXAMPLES / "outputs_over_their_raster.py"
    spec = importlib.util.spec_from_file_location("outputs_over_their_raster", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    answers = example.outputs(tmp_path)
    axes = {axis.get_title(): axis for axis in example.figure(tmp_path).axes}
    assert [*axes] == [*example.FILES]
    counts = answers[0].counts
    assert counts == {"ship": 4, "harbor": 4, "storage tank": 6, "airplane": 0}  # a ship more than is drawn
    assert len(axes["found.coco.json"].patches) == 13
    assert [len(axes[name].collections[0].get_paths()) for name in example.VECTORS] == [13] * len(example.VECTORS)
    assert [len(axes[name].images) for name in ("found.png", "found.tif")] == [1, 2]
    # outlines lie where the masks are: of their middle points, in pixels
    xs, ys = zip(*[path.vertices.mean(axis=0) for path in axes["found.gpkg"].collections[0].get_paths()], strict=True)
    columns, rows = (np.array(xs) - 500_000) / 0.5, (4_000_000 - np.array(ys)) / 0.5
    x, y, width, height = answers[0].prediction.boxes.T
    assert ((x < columns) & (columns < x + width) & (y < rows) & (rows < y + height)).all()


def shown_by(cell, names):
    """What a cell prints, and the value of its last line."""
    *statements, last = ast.parse("".join(cell["source"])).body
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if not isinstance(last, ast.Expr):
            statements, last = [*statements, last], None
        exec(compile(ast.Module(statements, []), "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return printed.getvalue(), value


def test_the_notebook_on_a_geotiff_shows_what_it_stores(tmp_path, monkeypatch):
    import pandas as pd

    monkeypatch.chdir(tmp_path)
    names, pictures = {}, 0
    for cell in code_cells(json.loads((EXAMPLES / "predict_on_a_geotiff.ipynb").read_text())):
        text, value = shown_by(cell, names)
        stored = {kind: "".join(part) for output in cell["outputs"] for kind, part in output.get("data", {}).items()}
        assert text == "".join(part for output in cell["outputs"] for part in output.get("text", ()))
        if isinstance(value, pd.DataFrame):  # its look changes with pandas
            assert stored["text/html"].count("<td>storage tank</td>") == len(value) == 7
        elif hasattr(value, "_repr_html_"):
            assert stored["text/html"] == value._repr_html_()
        elif "image/jpeg" in stored:
            pictures += 1
            with Image.open(io.BytesIO(base64.b64decode(stored["image/jpeg"]))) as picture:
                difference = np.abs(np.array(picture, dtype=float) - np.array(value))
            assert difference.mean() < 5  # JPEG
        else:
            assert stored.get("text/plain", "None") == repr(value)
    assert pictures == 1
    assert (tmp_path / "found.gpkg").stat().st_size > 1000


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def texts(cell):
    """What a cell shows as text, with three digits of each number: the last ones depend on the machine."""
    shown = ["".join(output.get("data", {}).get("text/plain", "")) for output in cell["outputs"]]
    return [re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3f}", text) for text in shown if text]


def test_the_notebook_is_stored_as_it_ran():
    cells = code_cells(json.loads(NOTEBOOK.read_text()))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"execute_result"}  # no error, no warning
    assert sum("image/jpeg" in output["data"] for output in outputs) == 4
    assert NOTEBOOK.stat().st_size < 1_000_000


def small_preset_is_missing():
    if importlib.util.find_spec("earthinstruct_instructsam") is None:
        return "earthinstruct-instructsam is not installed"
    from earthinstruct_instructsam import small
    from earthinstruct_instructsam.method import InstructSAM

    absent = [path.name for path in (small.CLIP_WEIGHTS, small.COUNTER_WEIGHTS) if not path.is_file()]
    return "; ".join(InstructSAM.missing()) or (f"the small preset lacks {', '.join(absent)}" if absent else "")


def test_the_page_of_the_command_line_does_the_same_in_python(printed, tmp_path):
    lines = printed(python_of("docs/command-line.md"))
    assert lines[0] == "oracle-jittered on scenes, protocol standard, version 4"
    runs = tmp_path / "runs" / "scenes" / "open_vocabulary"
    how = "scored without a threshold"
    assert lines.index(f"A: {runs / 'empty'}, {how}") + 1 == lines.index(f"B: {runs / 'oracle-jittered'}, {how}")


def test_the_page_of_python_runs(printed, tmp_path):
    lines = printed(python_of("docs/python.md"))
    assert lines[0] == "oracle-jittered on scenes, protocol standard, version 4"
    assert "undefined: average precision needs a score for each prediction" in lines
    assert "counting: no difference shown" in lines[-1]
    assert (tmp_path / "counts.pdf").read_bytes().startswith(b"%PDF")


class Recorder:
    """Plays a module: it keeps every call, by dotted name."""

    def __init__(self, calls=None, name=""):
        self.__dict__ |= {"calls": {} if calls is None else calls, "name": name}

    def __getattr__(self, name):
        return Recorder(self.calls, f"{self.name}.{name}".lstrip("."))

    def __call__(self, *args, **kwargs):
        self.calls.setdefault(self.name, []).append((args, kwargs))
        return self

    def __setitem__(self, key, value):
        self.calls.setdefault(self.name, []).append(((key, value), {}))


@pytest.mark.parametrize(
    ("heading", "module", "image", "score"),
    [
        ("Weights & Biases", "wandb", "init.log", "init.summary"),
        ("MLflow", "mlflow", "log_metric", "log_metric"),
        ("TensorBoard", "torch.utils.tensorboard", "SummaryWriter.add_scalar", "SummaryWriter.add_scalar"),
    ],
)
def test_a_tracker_observes_a_run(heading, module, image, score, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "neighbours.md").read_text()
    text_and_code = r"^### ([^\n]*)\n(?:[^`#\n][^\n]*\n)*```python\n(.*?)^```"
    blocks = dict(re.findall(text_and_code, page, re.DOTALL | re.MULTILINE))
    recorder = Recorder()
    for name in (module.rpartition(".")[0], module):
        monkeypatch.setitem(sys.modules, name, recorder) if name else None
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks[heading] + blocks["Used"], names)
    calls = str(recorder.calls[image])
    assert "scenes/open_vocabulary" in calls
    scores = {args[0]: args[1] for args, _ in recorder.calls[score] if isinstance(args[0], str)}
    assert 0 < scores["scenes/open_vocabulary/box.f1/all"] <= 1
    assert len(re.findall(r"^ +\S", blocks[heading], re.MULTILINE)) <= 10


def test_the_recipe_of_supervision_runs(printed):
    page = (ROOT / "docs" / "neighbours.md").read_text()
    code = re.search(r"## supervision\n```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    assert printed(code) == ["('ship',)"]


@pytest.mark.skipif(bool(small_preset_is_missing()), reason=small_preset_is_missing() or "runs")
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = [texts(cell) for cell in code_cells(notebook)]
    client.NotebookClient(
        notebook, timeout=600, startup_timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    pictures = sum(
        "image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert pictures == 4
    shown = [texts(cell) for cell in code_cells(notebook)]
    assert shown == stored  # else run it again: CONTRIBUTING.md
