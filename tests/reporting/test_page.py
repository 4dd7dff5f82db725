"""The page says what the result says, whatever the names in it hold."""

import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from earthinstruct import Prediction, evaluate
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import PREDICTION_VERDICTS, TARGET_VERDICTS, Suspect
from earthinstruct.reporting import report as write_report
from earthinstruct.reporting.charts import confusion_figure
from earthinstruct.reporting.loaded import load_run
from earthinstruct.reporting.page import label_rows
from earthinstruct.reporting.template import script_json
from earthinstruct.results import read_result, write_suspects

from .conftest import CLOSING, SCRIPT, Hostile


class Page(HTMLParser):
    """The elements, the text and the data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.data = json.loads(next((s for s in self.scripts if s.startswith('{"images"')), "null"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data
        self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)

    @property
    def sentences(self):
        return " ".join(self.text.split())


@pytest.fixture
def report(tmp_path):
    def report(run, **options):
        folder, file = run
        return Page(write_report(folder, tmp_path / "page.html", dataset=file, **options).read_text())

    return report


def test_names_that_are_markup_stay_text(make_run, report):
    page = report(make_run())
    own = ("application/json", "text/plain", None)
    assert all(attributes.get("type") in own for tag, attributes in page.elements if tag == "script")
    assert sum(tag == "script" and "type" not in attributes for tag, attributes in page.elements) == 1
    assert not [tag for tag, attributes in page.elements if "onerror" in attributes or tag == "b"]
    assert {tag for tag, _ in page.elements}.isdisjoint({"img", "iframe", "object", "embed", "base"})
    for hostile in (SCRIPT, CLOSING):
        assert hostile in page.text
    assert page.data["images"][0]["file"] == "</script>.png"
    assert {image["file"] for image in page.data["images"]} >= {"<script>alert(1)<!--.png", "b & 'c' \"d\".png"}
    labels = {one["label"] for image in page.data["images"] for one in image["predicted"]}
    assert labels == {"ship", CLOSING}


def test_the_policy_allows_the_one_script_and_no_request(make_run, tmp_path, report):
    page = report(make_run())
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+'", policy)
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    links = [a.get("href") or a.get("src") for _, a in page.elements if a.get("href") or a.get("src")]
    assert all(link.startswith(("#", "data:")) for link in links)
    text = (tmp_path / "page.html").read_text()
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_the_gallery_adds_up_to_the_result(make_run, report):
    folder, file = make_run()
    page = report((folder, file))
    found = Counter((one["kind"], one["category"]) for image in page.data["images"] for one in image["truth"])
    said = Counter((one["kind"], one["category"]) for image in page.data["images"] for one in image["predicted"])
    metrics = read_result(folder / "result.json").metrics
    for category, errors in metrics.errors.box.per_category.items():
        assert [found[verdict, category] for verdict in TARGET_VERDICTS] == [
            getattr(errors, v) for v in TARGET_VERDICTS
        ]
        verdicts = PREDICTION_VERDICTS[:-1]
        assert [said[verdict, category] for verdict in verdicts] == [getattr(errors, verdict) for verdict in verdicts]
    assert said["unscored", None] == metrics.errors.box.unscored == 2
    ship = metrics.box.tally["ship"]
    assert (found["correct", "ship"], found["missed", "ship"]) == (ship.tp, ship.fn) == (1, 2)
    assert (said["correct", "ship"], said["background", "ship"]) == (ship.tp, ship.fp) == (1, 3)
    first = next(image for image in page.data["images"] if image["file"].startswith("<script>"))
    assert [(one["on"], one["iou"]) for one in first["predicted"] if one["kind"] == "correct"] == [("ship", 1.0)]


def test_a_wrong_category_is_named_where_it_was_found(coco, write_coco, tmp_path):
    for annotation in coco["annotations"]:
        annotation["category_id"] = 4
    file = write_coco(coco)
    done = evaluate(Hostile(), load_dataset(str(file)), setting="open_ended", output=tmp_path / "r")
    run = load_run(done.folders[0], str(file))
    figure = confusion_figure(run)
    assert figure.header == ("object", "ship", "no category", "not found", "sum")
    # a ship lies on one of the four harbors; the other five, and the labels without a category, on nothing
    assert figure.rows == (("harbor", "1", "0", "3", "4"), ("nothing", "5", "3", "0", "8"))
    assert {row.label: (row.category, row.instances, row.lies_on) for row in label_rows(run)} == {
        "ship": ("ship", 6, "nothing 5, harbor 1"),
        CLOSING: ("", 3, "nothing 3"),
    }


def test_images_come_worst_first_and_the_rest_is_counted(make_run, report):
    run = make_run()
    everything = report(run).data["images"]
    # the failed image has 0 objects; the first has 1 wrong and 2 missed, the second 2 wrong and 1 missed
    assert [image["failed"] is None for image in everything] == [False, True, True]
    assert [image["errors"] for image in everything] == [0, 3, 3]
    page = report(run, max_images=1)
    assert len(page.data["images"]) == 1
    assert "1 of 3 images" in page.sentences
    assert "2 are left out" in page.sentences


def test_scores_come_with_intervals_and_provenance(make_run, report):
    folder, file = make_run()
    page = report((folder, file))
    result = read_result(folder / "result.json")
    for value in (result.predictions.sha256, result.task.dataset.annotations_sha256, result.task.instruction_sha256):
        assert value in page.text
    low, high = result.metrics.box.f1.ci95
    assert f"{100 * low:.1f} to {100 * high:.1f}" in page.text
    assert f"{100 * result.metrics.box.f1.value:.1f}" in page.text


def test_rare_categories_are_named(make_run, report):
    page = report(make_run())
    assert "objects in fewer than 3 images, too few for a sure score: <b>harbor</b>, ship" in page.sentences


def test_events_stand_with_seconds_and_tokens(make_run, report):
    page = report(make_run("run"))  # three images of which one fails
    events = f"1,400 asked again {SCRIPT}, 4 replies {CLOSING}"
    assert f"tokens Events, over all images: {events} Every score" in page.sentences
    assert f"Tokens0 in, 0 out Events{events}" in page.sentences
    assert "Eventsnone" in report(make_run("counts", counts_only=True)).sentences


def test_up_to_how_many_objects_a_method_counts_is_a_headline(make_run, report):
    # one of one harbor is missed, and one ship of one is counted twice: 100 %; two of two ships are right
    text = report(make_run()).text
    assert "counts up to-up to how many objects of a category in an image counts stay within 20 % is not known" in text
    assert "in these images, they do with 2-5 objects and they do not with 1 object" in text


def test_failures_are_listed_with_their_reasons(make_run, report):
    page = report(make_run(fails_on=1))
    assert "2 images without a prediction" in page.sentences
    assert f"RuntimeError: {CLOSING}" in page.text


def test_free_labels_have_a_table_and_given_categories_none(make_run, report):
    assert "Labels and their categories" in report(make_run()).text
    given = report(make_run("given", setting="open_vocabulary", counts_only=True))
    assert "Labels and their categories" not in given.text


def test_without_masks_without_pictures_without_boxes(make_run, report, tmp_path):
    page = report(make_run("bare", masks=False))
    assert not [one for image in page.data["images"] for one in image["predicted"] if "mask" in one]
    assert "has no masks" in page.text
    page = report(make_run("counts", counts_only=True))
    assert page.sentences.count("undefined: the method only counts") == 2  # once for boxes, once for masks
    assert [image["errors"] for image in page.data["images"]] == [0, 1, 1]  # a harbor not counted; a ship too many
    run = make_run("pictures")
    for picture in (tmp_path / "set" / "images").iterdir():
        picture.unlink()
    page = report(run)
    assert "3 images have no picture here" in page.sentences
    assert len(page.data["images"]) == 3


def test_after_a_sweep_only_what_reaches_the_threshold_is_shown(make_run, report):
    folder, file = make_run(scores=True, sweep=True)
    page = report((folder, file))
    threshold = read_result(folder / "result.json").metrics.sweep.threshold
    assert threshold > 0.3
    assert all(one["score"] >= threshold for image in page.data["images"] for one in image["predicted"])
    assert "Score threshold" in page.text


def test_against_another_run_says_what_was_fixed_and_broken(make_run, report):
    run, worse = make_run("a"), make_run("b", shift=12)
    page = report(run, against=worse[0])
    # only in the first image does the unshifted ship lie on one: two errors fewer there
    assert [(image["others"][0]["errors"], image["errors"]) for image in page.data["images"]] == [
        (0, 0),
        (3, 3),
        (5, 3),
    ]
    assert page.data["runs"] == [str(run[0]), str(worse[0])]  # of one method and version
    assert f"{run[0]} has fewer errors on 1 image (fixed), more on 0 (broken), and as many on 2" in page.sentences
    assert "The runs differ on 1 of 3 images" in page.sentences
    assert "<script>alert(1)<!--.png33511" in page.text.replace("\n", "")
    # box F1 of ship: 1 of 3 found with 4 predictions, 2/7; there nothing is found; the harbor in neither
    assert "box.f1all0.014.3+14.3" in page.sentences
    # there it lies beside another ship: 6 pixels shared of 25
    assert "box.correctall01+1" in page.sentences
    assert "box.localisationall10-1" in page.sentences
    page = report(worse, against=run[0])
    assert f"{worse[0]} has fewer errors on 0 images (fixed), more on 1 (broken)" in page.sentences
    assert all(image["others"][0]["predicted"] for image in page.data["images"] if image["failed"] is None)


def test_errors_of_a_run_that_only_counts_compare_with_counts_alone(make_run, report):
    run, counts = make_run("a"), make_run("b", counts_only=True)
    # both count two ships in each image; only the boxes have further errors
    for (this, file), other in ((run, counts[0]), (counts, run[0])):
        page = report((this, file), against=other)
        assert f"{counts[0]} only counts, so only counting errors compare" in page.sentences
        assert "has fewer counting errors on 0 images (fixed), more on 0 (broken), and as many on 3" in page.sentences
        assert "The runs differ on 0 of 3 images" in page.sentences
        assert "Counting errors of" in page.text
        assert f"errors, {run[0]}" in page.text
        assert f"errors, {counts[0]}" not in page.text
        assert page.data["onlyCounts"] == [this == counts[0], other == counts[0]]


def test_several_runs_are_compared_on_one_page(make_run, report):
    run, worse, counts = make_run("a"), make_run("b", shift=12), make_run("c", masks=False)
    page = report(run, against=[worse[0], counts[0]])
    assert [len(image["others"]) for image in page.data["images"]] == [2, 2, 2]
    assert page.data["runs"] == [str(folder) for folder, _ in (run, worse, counts)]
    assert page.sentences.count("on the same images, in percentage points") == 2
    assert f"{run[0]} is this run; {worse[0]} is in {worse[0]}." in page.sentences
    headings = [f"errors, {folder}" for folder, _ in (run, worse, counts)]
    assert all(heading in page.text for heading in headings)


def test_counting_errors_choose_images_too(coco, write_coco, tmp_path, report):
    """The image with the most wrong boxes, and that with the largest counting error, before all others."""

    class Miscounts(Hostile):
        def predict(self, image, instruction):
            self.calls += 1
            counts = {"ship": 90} if self.calls == 3 else {"ship": 0}
            boxes = [[1 + i, 1, 3, 3] for i in range(8 if self.calls == 2 else 1)]
            return Prediction(labels=["ship"] * len(boxes), boxes=boxes, counts=counts)

    file = write_coco(coco)
    done = evaluate(Miscounts(), load_dataset(str(file)), setting="open_vocabulary", output=tmp_path / "r")
    page = report((done.folders[0], str(file)), max_images=2)
    everything = report((done.folders[0], str(file)))
    most = max(everything.data["images"], key=lambda image: image["miscounted"])
    assert most["errors"] < max(image["errors"] for image in everything.data["images"])
    assert most["file"] in {image["file"] for image in page.data["images"]}


def test_every_chart_has_a_name_and_a_table(make_run, report):
    run = make_run(scores=True, sweep=True, slice_by=["width"])
    page = report(run, against=run[0])
    charts = [a for tag, a in page.elements if tag == "div" and a.get("role") == "img"]
    assert len(charts) == page.count("figure") == 25
    assert all(chart["aria-label"] and chart["tabindex"] == "0" for chart in charts)
    assert page.sentences.count("The same as a table") == 25


def test_slices_and_suspected_annotations_are_listed(make_run, report):
    run = make_run(scores=True, slice_by=["n_objects", "width"])
    write_suspects(
        run[0],
        [
            Suspect("missing", 7, (1.4, 2, 30, 40), predicted=SCRIPT, score=0.91),
            Suspect("category", 0, (0, 0, 9, 9), annotated="ship", predicted=CLOSING, score=0.5, iou=0.75),
            Suspect("spurious", 9, (0, 0, 9, 9), annotated="ship"),
        ],
    )
    page = report(run, against=run[0])
    assert "Suspected annotations3 places where the annotations may be wrong" in page.sentences.replace(" 3 ", "3 ")
    assert f"{SCRIPT}, not annotated71, 2, 30, 400.91-" in page.text
    assert f"ship, found as {CLOSING}00, 0, 9, 90.50.75" in page.text
    assert "ship, not found90, 0, 9, 9--" in page.text
    assert "F1 by n_objects" in page.text
    assert "F1 by width" in page.text
    assert "n_objects 3" in page.text.partition("Slices of the images")[2]
    (run[0] / "suspects.json").unlink()
    assert "Suspected annotations" not in report(run).text


def test_the_same_run_gives_the_same_page(make_run, tmp_path):
    folder, file = make_run()
    pages = [write_report(folder, tmp_path / f"{name}.html", dataset=file).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_thousands_of_images_make_a_light_page(coco, write_coco, constant, tmp_path, report):
    coco["images"] = [{"id": i, "file_name": f"none/{i}.png", "width": 30, "height": 20} for i in range(3000)]
    coco["annotations"] = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
        for i in range(3000)
    ]
    file = write_coco(coco)
    (file.parent / "images" / "none").mkdir()
    (file.parent / "images" / "none" / "0.png").touch()  # without any image, no run begins
    done = evaluate(constant, load_dataset(str(file)), setting="open_vocabulary", output=tmp_path / "r")
    # every image fails, its file is empty or missing; times as a run would have written them
    predictions = done.folders[0] / "predictions.jsonl"
    predictions.write_text("".join(f'{{"image_id":{i},"seconds":{{"total":{i / 1000}}}}}\n' for i in range(3000)))
    result = json.loads((done.folders[0] / "result.json").read_text())
    result["predictions"]["sha256"] = None
    (done.folders[0] / "result.json").write_text(json.dumps(result))
    page = report((done.folders[0], str(file)), max_images=0)
    assert (tmp_path / "page.html").stat().st_size < 300_000
    assert "2,800 more are in the result file" in page.sentences
    assert "375 of 3,000 images are drawn" in page.sentences
    assert "0 of 3,000 images" in page.sentences


def test_what_cannot_be_reported_is_one_clear_error(make_run, tmp_path):
    folder, file = make_run()
    with pytest.raises(EarthInstructError, match=r"has no result\.json; give a run folder"):
        write_report(tmp_path / "set", dataset=file)
    with pytest.raises(EarthInstructError, match="must be 0 or more, got -1"):
        write_report(folder, dataset=file, max_images=-1)
    with pytest.raises(EarthInstructError, match="cannot be written"):
        write_report(folder, folder / "result.json" / "page.html", dataset=file)
    other, _ = make_run("other", setting="open_vocabulary", counts_only=True)
    with pytest.raises(EarthInstructError, match="cannot be compared"):
        write_report(folder, dataset=file, against=other)
    (folder / "predictions.jsonl").write_text("")
    with pytest.raises(EarthInstructError, match="has changed since it was scored"):
        load_run(folder, file)
    (folder / "predictions.jsonl").unlink()
    with pytest.raises(EarthInstructError, match=r"has no predictions\.jsonl"):
        load_run(folder, file)


def test_a_missing_package_is_named_with_the_line_that_installs_it(make_run, monkeypatch):
    folder, file = make_run()
    monkeypatch.setitem(sys.modules, "jinja2", None)  # importing it then fails
    with pytest.raises(EarthInstructError, match=r"pip install 'earthinstruct\[report\]'"):
        write_report(folder, dataset=file)


def test_data_in_a_script_element_has_nothing_that_ends_it():
    value = ["</script>", "<!--", "]]>", "&amp;", "\u2028\u2029"]
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_the_page_says_whether_the_method_was_trained_on_the_images(make_run):
    folder, file = make_run("runs/one")
    page = Page(write_report(folder, dataset=file).read_text())
    assert "Training data: unknown: the method does not say what it was trained on." in page.sentences
