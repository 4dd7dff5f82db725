"""Make the pictures of the README and run the notebook: `python -m docs.images.make RUN`, in the root of a clone.

RUN is the run folder of `make demo`, runs/demo/scenes/open_vocabulary/instructsam. The strip shows the image whose box
F1 is the median of the run, the lower one of the two in the middle: half of the images with objects or predictions have
a better result, half a worse one. The other two are cuts of the report of RUN and of the page of the leaderboards.
Chromium photographs the pages. The notebook is stored with its outputs, pictures as JPEG alone.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
from PIL import Image

from earthinstruct import report
from earthinstruct.metrics import PREDICTION_VERDICTS, TARGET_VERDICTS, count_per_image, verdicts
from earthinstruct.predictions import Record
from earthinstruct.regions import ImageId
from earthinstruct.results import read_result, read_tallies
from earthinstruct.scoring import StoredRun, dataset_of, read_stored
from tests.browser import screen, started

HERE = Path(__file__).parent
WIDTH = 1280  # pixels of a screen
STYLE = """
body { margin: 0; padding: 12px; display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; background: #fff;
  font: 15px/1.4 system-ui, sans-serif; color: #1c2430; }
figure { margin: 0; } h2 { margin: 0 0 6px; font-size: 17px; } svg { display: block; width: 100%; }
figcaption { margin-top: 6px; color: #5b6675; } rect, path { fill: none; stroke-width: 2; }
table { width: 100%; border-collapse: collapse; font-size: 16px; } td, th { padding: 5px 4px; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { color: #5b6675; font-weight: 400; }
tr + tr { border-top: 1px solid #d9dee5; } .proposal { stroke: #67e8f9; stroke-width: 1; }
.correct { stroke: #4ade80; } .wrong { stroke: #fb5a72; } .missed { stroke: #facc15; stroke-dasharray: 5 3; }
figcaption i { display: inline-block; width: 18px; border-top: 3px solid; margin: 0 4px 4px 0; }
figcaption .missed { border-top-style: dashed; }
i.correct { color: #16a34a; } i.wrong { color: #e11d48; } i.missed { color: #ca8a04; }
"""


def median_image(run: StoredRun) -> ImageId:
    """The image whose box F1 is the median of the run, the lower one of two."""
    stored = read_tallies(run.folder, run.result)
    if stored is None:
        raise SystemExit(f"{run.folder} has no tallies.npz; evaluate it again")
    tally = stored.tallies["box"]
    tp, fp, fn = (tally.columns[name].sum(axis=1, dtype=np.int64) for name in ("tp", "fp", "fn"))
    there = np.flatnonzero(tp + fp + fn)
    f1 = 2 * tp[there] / (2 * tp + fp + fn)[there]
    place = there[np.argsort(f1, kind="stable")[(len(there) - 1) // 2]]
    return tally.images[place]


def strip(run: StoredRun) -> str:
    """The image, its counts, its proposals, and the result with its errors, side by side."""
    image = median_image(run)
    index = [one.id for one in run.dataset.images].index(image)
    pixels, record = run.dataset.read_image(index), run.records[image]
    ((truth, predicted),) = run.scoring_set([image]).chunks()
    judged = verdicts(truth, predicted, run.protocol)
    right = judged.predictions == PREDICTION_VERDICTS.index("correct")
    missed = judged.targets != TARGET_VERDICTS.index("correct")
    boxes, kinds = predicted.instances.boxes, np.where(right, "correct", "wrong")
    shapes = [*map(_rect, boxes, kinds), *(_rect(box, "missed") for box in truth.instances.boxes[missed])]
    numbers = {"correct": right.sum(), "wrong": (~right).sum(), "missed": missed.sum()}
    legend = ", ".join(f"<i class='{name}'></i>{n} {name}" for name, n in numbers.items())
    actual = count_per_image(truth.instances, *truth.shape)[0]
    figures = (
        ("Image", _scene(pixels, ()), "and an instruction: find objects of ten categories"),
        ("Counts", _counts(record, truth.categories, actual), "by a language model; here by a small network"),
        ("Proposals", _scene(pixels, _proposals(record)), f"{_n_proposals(record)} regions that could be objects"),
        ("Result", _scene(pixels, shapes), legend),
    )
    body = "".join(
        f"<figure><h2>{name}</h2>{what}<figcaption>{text}</figcaption></figure>" for name, what, text in figures
    )
    return f"<!doctype html><meta charset='utf-8'><style>{STYLE}</style>{body}"


def _rect(box: Iterable[float], kind: str) -> str:
    x, y, width, height = box
    return f"<rect class='{kind}' x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}'/>"


def _proposals(record: Record) -> Iterator[str]:
    if record.proposals is not None:
        for box in record.proposals.boxes:
            yield _rect(box, "proposal")


def _n_proposals(record: Record) -> int:
    return 0 if record.proposals is None else len(record.proposals.boxes)


def _scene(pixels: np.ndarray, shapes: Iterable[str]) -> str:
    height, width = pixels.shape[:2]
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    href = f"data:image/png;base64,{base64.b64encode(stored.getvalue()).decode()}"
    return (
        f"<svg viewBox='0 0 {width} {height}'><image href='{href}' width='{width}' height='{height}'/>"
        f"{''.join(shapes)}</svg>"
    )


def _counts(record: Record, categories: Iterable[str], actual: np.ndarray) -> str:
    counted = record.counts or {}
    rows = [
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{counted.get(name, 0)}</td><td>{there}</td></tr>"
        for name, there in zip(categories, actual.tolist(), strict=True)
        if counted.get(name) or there
    ]
    rest = "<tr><td>all others</td><td>0</td><td>0</td></tr>"
    return f"<table><tr><th>category</th><th>counted</th><th>there</th></tr>{''.join(rows)}{rest}</table>"


def cut(driver: Any, page: Path, file: str, height: int | None, top: str | None = None) -> None:
    """Photograph a page from an element down, or from its top, and write it as a JPEG beside this script."""
    driver.get(page.as_uri())
    y = driver.execute_script(
        "return arguments[0] ? document.querySelector(arguments[0]).getBoundingClientRect().y : 0", top
    )
    height = height or driver.execute_script("return document.documentElement.getBoundingClientRect().height")
    clip = {"x": 0, "y": max(0, y - 8), "width": WIDTH, "height": height, "scale": 1.25}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    picture = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
    picture.save(HERE / file, quality=82, optimize=True, progressive=True)


def store_notebook(file: Path) -> None:
    """Run a notebook and store it with its outputs, without the second copy of each picture and without warnings."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as scratch:
        nbclient.NotebookClient(notebook, resources={"metadata": {"path": scratch}}, record_timing=False).execute()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for data in (output.data for output in cell.outputs if "image/jpeg" in output.get("data", {})):
            data.pop("image/png", None)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    nbformat.write(notebook, file)


def main(folder: Path) -> None:
    """Make the three pictures, and run the notebook."""
    store_notebook(HERE.parents[1] / "examples" / "instructsam_on_scenes.ipynb")
    result = read_result(folder / "result.json")
    run = read_stored(folder, result, dataset_of(folder, result))
    with tempfile.TemporaryDirectory() as scratch:
        (strip_page := Path(scratch) / "strip.html").write_text(strip(run), encoding="utf-8")
        page = report(folder, output=Path(scratch) / "report.html")
        driver = started(Path(scratch) / "profile")
        with screen(driver, WIDTH):
            cut(driver, strip_page, "strip.jpg", None)
            cut(driver, page, "report.jpg", 620, "#gallery")
            cut(
                driver,
                HERE.parents[1] / "leaderboards" / "tables" / "index.html",
                "leaderboard.jpg",
                470,
                "[id='scenes/open_vocabulary']",
            )
        driver.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
