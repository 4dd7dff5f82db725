"""Figures: what stands in them, and that each is saved as PDF and SVG."""

import re

import numpy as np
import pytest
from matplotlib.text import Text

from earthinstruct import EarthInstructError, Prediction, compare, evaluate, plot
from earthinstruct.cli import main
from earthinstruct.regions import encode_mask
from earthinstruct.reporting import FIGURES


class Scored:
    """A method with masks and scores; ships are found, and too many harbors counted."""

    name = "scored"

    def predict(self, image, instruction):
        masks = [encode_mask(image[:, :, 0] >= 0)] * 2
        return Prediction(
            ["ship", "harbor"], [[1, 1, 4, 4], [2, 2, 5, 5]], masks=masks, scores=[0.9, 0.4], counts={"harbor": 2}
        )


@pytest.fixture
def run(coco, write_coco, tmp_path):
    rules = {"setting": "open_vocabulary", "sweep": True, "slice_by": "n_objects"}
    return evaluate(Scored(), write_coco(coco), output=tmp_path / "runs", **rules)


def test_counts_are_those_of_the_images(run):
    (axes,) = run.plot("counts").axes
    points = {tuple(map(float, point)) for point in axes.collections[0].get_offsets()}
    # ships 2, 1, 0 (counted: none); harbors 1, 0, 0 (counted: 2 in each image)
    assert points == {(2, 0), (1, 0), (1, 2), (0, 2)}
    assert axes.get_title(loc="left") == "scored, set/open_vocabulary"


def test_residuals_are_counted_minus_actual(run):
    (axes,) = run.plot("residuals").axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    # ships 2, 1, 0 (counted: none); harbors 1, 0, 0 (counted: 2 in each image); as in the report
    assert labels == ["0\n(2)", "1\n(2)", "2\n(1)"]
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2]
    assert medians == [2, (2 - 1 + 0 - 1) / 2, 0 - 2]


def test_precision_and_recall_are_those_of_the_report(run):
    (axes,) = run.plot("precision_recall").axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["all", "ship", "harbor"]
    box = run.results[0].metrics.box
    drawn = {line.get_label(): line.get_xdata() for line in axes.lines}
    for score in ("precision", "recall"):
        own = [getattr(box.per_category[name], score) for name in names[1:]]
        values = [getattr(box, score).value, *own]
        assert np.allclose(drawn[score], [np.nan if value is None else 100 * value for value in values], equal_nan=True)


def test_names_are_never_formulas(coco, write_coco, tmp_path):
    name = "a$x_{$"
    coco["categories"][0]["name"] = name
    run = evaluate(Scored(), write_coco(coco), setting="open_vocabulary", output=tmp_path / "runs")
    figure = run.plot("categories")
    figure.savefig(tmp_path / "figure.svg")  # as users do, outside of our style
    assert {text.get_parse_math() for text in figure.findobj(Text) if text.get_text() == name} == {False}


def test_categories_have_their_f1_and_interval(run):
    (axes,) = run.plot("categories").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["harbor", "ship"]
    metrics = run.results[0].metrics
    drawn = {line.get_label(): line.get_xdata() for line in axes.lines if line.get_label() in ("counting", "box")}
    for geometry, across in drawn.items():
        own = getattr(metrics, geometry).per_category
        assert np.allclose(across, [100 * own["harbor"].f1, 100 * own["ship"].f1])
    low, high = (100 * bound for bound in metrics.counting.per_category["ship"].ci95["f1"])
    assert any(np.allclose(line.get_xdata(), [low, high]) for line in axes.lines)


def test_every_figure_is_drawn(run):
    for name in FIGURES:
        assert run.plot(name).axes[0].get_title(loc="left") == "scored, set/open_vocabulary"


def test_where_counting_breaks_has_a_curve_for_each_run(run, constant, dataset, tmp_path):
    other = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path / "other")
    figure = plot([run, other.folder], "limits")
    panels = [axes.get_ylabel().partition(",")[0] for axes in figure.axes]
    assert panels == ["relative error of counts", "F1 of counts"] * 2
    assert figure.axes[1].get_legend_handles_labels()[1] == ["scored", "constant"]
    errors, f1 = figure.axes[:2]
    assert [label.get_text() for label in errors.get_xticklabels()] == ["1", "2-5"]
    for axes, score in ((errors, "relative_error"), (f1, "f1")):
        drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
        for method, result in (("scored", run.results[0]), ("constant", other.results[0])):
            bands = result.metrics.counting_limits.by_density
            assert np.allclose(drawn[method], [100 * getattr(bands[name], score).value for name in ("1", "2-5")])
    low, high = (100 * bound for bound in other.results[0].metrics.counting_limits.by_density["1"].f1.ci95)
    assert any(np.allclose(line.get_ydata(), [low, high]) for line in f1.lines)
    assert len(run.plot("limits").axes) == 4
    with pytest.raises(EarthInstructError, match=r"'limits' is a figure of a run: earthinstruct.plot\(RUN, 'limits'\)"):
        compare(run, other).plot("limits")


def test_frames_have_the_bands_of_counts(run):
    frame = run.to_pandas(per_category=False).set_index("score")
    value = run.results[0].metrics.counting_limits.by_density["2-5"].f1
    row = frame.loc["counting_limits.by_density.2-5.f1"]
    assert (row["over"], row["is_group"], row["value"]) == ("all", True, value.value)
    assert "counting_limits.by_size.small.right" in frame.index


def test_figures_are_saved_as_pdf_and_svg(run, tmp_path, capsys, monkeypatch):
    for name in set(FIGURES) - {"iou"}:  # fonts in files take a second a figure
        monkeypatch.delitem(FIGURES, name)
    assert main(["report", str(run.folder), "--max-images", "0", "--figures", str(tmp_path / "figures")]) == 0
    assert f"figures  {tmp_path / 'figures'}" in capsys.readouterr().out
    for name in (*FIGURES, "limits"):
        pdf = (tmp_path / "figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf  # fonts that publishers take
        svg = (tmp_path / "figures" / f"{name}.svg").read_text()
        assert "</svg>" in svg
        assert not re.search(r"<dc:date>", svg)


def test_a_panel_for_each_task(constant, dataset, tmp_path):
    both = evaluate(constant, dataset, output=tmp_path)
    assert len(both.plot("iou").axes) == len(both) == 3
    assert both.plot("iou")._repr_png_().startswith(b"\x89PNG")


def test_a_figure_of_a_result_alone(run):
    assert run.results[0].plot("errors").axes
    with pytest.raises(EarthInstructError, match=r"give the run folder: earthinstruct.plot\(FOLDER, NAME\)"):
        run.results[0].plot("counts")


def test_differences(run, constant, dataset, tmp_path):
    other = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path / "runs", overwrite=True)
    comparison = compare(run, other)
    (axes,) = comparison.plot("differences").axes
    assert axes.get_xlabel().endswith("constant minus scored")
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:2] == ["Cnt, all", "Cnt, transport"]
    off = next(row for row in comparison if row.score == "counting.f1").difference
    assert any(np.allclose(line.get_xdata(), 100 * off.value) for line in axes.lines)


def test_what_cannot_be_drawn_is_said(constant, dataset, tmp_path):
    run = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path)
    with pytest.raises(EarthInstructError, match="unknown figure of a run 'count'; did you mean 'counts'"):
        run.plot("count")
    with pytest.raises(EarthInstructError, match="constant was scored without a sweep; give --sweep"):
        run.plot("sweep")
    with pytest.raises(EarthInstructError, match="it gives no scores"):
        plot(run.folder, "calibration")
    with pytest.raises(EarthInstructError, match="unknown figure of a comparison 'counts'"):
        compare(run, run).plot("counts")
    with pytest.raises(EarthInstructError, match=r"'differences' is a figure of a comparison: earthinstruct.compare\("):
        run.plot("differences")
