"""The page in a real browser: opened from disk, filtered, toggled, turned and enlarged, without a request."""

import json
import socket
import xml.etree.ElementTree as ET
from csv import reader

import pytest
from PIL import Image

from earthinstruct import evaluate
from earthinstruct.datasets import load_dataset
from earthinstruct.reporting import report
from tests.browser import View, asked, needs_browser

from .conftest import Hostile

pytestmark = needs_browser


class Report(View):
    """The page of a run."""

    @property
    def files(self):
        return [card.get_attribute("data-file") for card in self.all("#images .card")]

    @property
    def status(self):
        return self.one("#status").text


def names(view):
    """The runs of a page."""
    return view.driver.execute_script("return JSON.parse(document.getElementById('gallery-data').textContent).runs")


@pytest.fixture
def small(browser, make_run, tmp_path):
    worse, _ = make_run("other", shift=12)
    folder, file = make_run()
    return Report(browser, report(folder, tmp_path / "page.html", dataset=file, against=worse))


@pytest.fixture
def many(browser, coco, write_coco, tmp_path):
    """Fifty images, the first of which has the most objects."""
    coco["images"] = [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(50)]
    file = write_coco(coco)
    done = evaluate(Hostile(), load_dataset(str(file)), setting="open_ended", output=tmp_path / "many")
    return Report(browser, report(done.folders[0], dataset=str(file)))


def test_it_opens_quietly_and_names_stay_names(small):
    assert small.driver.title == "<script>alert(1)</script> on set/open_ended"
    assert small.status == "3 images"
    assert not small.one("#pages").is_displayed()
    assert set(small.files) == {"</script>.png", "<script>alert(1)<!--.png", "b & 'c' \"d\".png"}
    assert len(small.all("svg.scene image")) == 2  # the third has no file
    small.assert_quiet()


ASKS = """<title>asks</title>
<link rel="stylesheet" href="{server}/style.css">
<img src="{server}/picture.png">
<iframe src="{server}/frame.html"></iframe>
<script>fetch("{server}/data.json").catch(() => {{}})</script>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
"""


def test_what_a_page_asks_for_is_counted(browser, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = f"http://127.0.0.1:{bound.getsockname()[1]}"  # no answer, now that it is closed
    (tmp_path / "asks.html").write_text(ASKS.format(server=server))
    view = View(browser, tmp_path / "asks.html")
    names = ("style.css", "picture.png", "frame.html", "data.json")
    assert sorted(asked(browser)) == sorted([view.url, *(f"{server}/{name}" for name in names)])
    with pytest.raises(AssertionError):
        view.assert_quiet()


def test_what_the_browser_asks_for_its_own_pages_is_not_counted(browser):
    browser.get_log("performance")
    browser.get("chrome://version")
    assert asked(browser) == []


def test_filters_by_kind_category_and_change(small):
    small.choose("kind", "object: missed")
    assert small.files == ["<script>alert(1)<!--.png", "b & 'c' \"d\".png"]  # two missed, one missed
    small.choose("category", "<b>harbor</b>")
    assert small.files == ["<script>alert(1)<!--.png"]
    small.choose("kind", "prediction: background")
    assert small.status == "0 images; prediction: background; <b>harbor</b>"
    small.choose("category", "all categories")
    assert len(small.files) == 2
    assert small.all("svg.scene g.dim")
    small.choose("kind", "failed")
    assert small.files == ["</script>.png"]
    small.choose("kind", "all images")
    small.choose("change-filter", f"fewer errors than {names(small)[1]} (fixed)")
    assert small.files == ["<script>alert(1)<!--.png"]
    this, other = names(small)
    assert f"errors: {this} 3, {other} 5 · counts off: {this} 1, {other} 1" in small.one(".card figcaption").text
    small.choose("change-filter", f"more errors than {other} (broken)")
    assert small.files == []
    small.assert_quiet()


def test_layers_are_switched_by_buttons_that_say_so(small):
    for layer, shapes, before in (
        ("masks", "path.shape", True),
        ("truth", ".truth rect", True),
        ("predicted", ".predicted rect", True),
        ("boxes", "rect.shape", True),
        ("labels", "svg.scene text", False),
        ("other-0", ".other rect", False),
    ):
        for state in (before, not before):
            assert bool(small.all(shapes)) is state, layer
            assert small.one(f"#layer-{layer}").get_attribute("aria-pressed") == str(state).lower()
            small.click(f"#layer-{layer}")
        assert bool(small.all(shapes)) is before, layer
    small.assert_quiet()


def test_pages_turn_and_begin_anew_with_another_choice(many):
    assert many.one("#page").text == "Page 1 of 3"
    assert len(many.files) == 24
    assert not many.one("#previous").is_enabled()
    first = many.files
    many.click("#next")
    assert many.one("#page").text == "Page 2 of 3"
    assert not set(first) & set(many.files)
    many.click("#next")
    assert len(many.files) == 2
    assert not many.one("#next").is_enabled()
    many.choose("order", "most objects")
    assert many.one("#page").text == "Page 1 of 3"
    assert many.files[0] == "0.png"
    many.choose("order", "file name")
    assert many.files[:3] == ["0.png", "1.png", "2.png"]
    many.assert_quiet()


def test_the_keyboard_is_enough(many):
    from selenium.webdriver.common.keys import Keys

    many.choose("order", "file name")
    many.one("#images .card > button").send_keys(Keys.ENTER)
    assert many.one("#large").get_attribute("open") is not None
    assert "0.png" in many.one("#large figcaption").text
    many.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert "1.png" in many.one("#large figcaption").text
    many.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert many.one("#large").get_attribute("open") is None
    assert many.driver.switch_to.active_element.get_attribute("aria-label").startswith("Enlarge 0.png")
    many.one("#layer-masks").send_keys(Keys.SPACE)
    assert many.one("#layer-masks").get_attribute("aria-pressed") == "false"
    many.one("#chart-categories summary").send_keys(Keys.ENTER)
    assert many.one("#chart-categories table").is_displayed()


def test_counting_errors_filter_and_order_the_images(small):
    first, second, failed = "<script>alert(1)<!--.png", "b & 'c' \"d\".png", "</script>.png"
    small.choose("kind", "counts: too few")  # a harbor
    assert small.files == [first]
    small.choose("kind", "counts: too many")  # a ship
    assert small.files == [second]
    small.choose("kind", "counts: wrong")
    small.choose("category", "ship")
    assert small.files == [second]
    small.choose("kind", "all images")
    small.choose("category", "all categories")
    small.choose("order", "largest counting error")
    assert small.files[-1] == failed
    assert set(small.files[:2]) == {first, second}
    small.assert_quiet()


def test_a_difference_leads_to_its_image(small):
    small.click("#differing button.find")
    assert small.files == ["<script>alert(1)<!--.png"]
    assert small.status.startswith("1 image; file name with")
    small.assert_quiet()


def test_a_heading_sorts_its_table(small):
    small.click("#differing thead th:nth-child(2) button")
    assert small.one("#differing thead th:nth-child(2)").get_attribute("aria-sort") == "descending"
    small.click("#differing thead th:nth-child(2) button")
    assert small.one("#differing thead th:nth-child(2)").get_attribute("aria-sort") == "ascending"


@pytest.fixture
def downloads(browser, tmp_path):
    """Where the browser saves files."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    return folder


def test_every_figure_is_saved_as_svg_png_and_csv(small, downloads):
    from selenium.webdriver.support.ui import WebDriverWait

    for kind in ("svg", "png", "csv"):
        small.click(f"#chart-categories [data-save={kind}]")
    wait = WebDriverWait(small.driver, 30)
    wait.until(
        lambda _: {file.suffix for file in downloads.iterdir() if file.stat().st_size} >= {".svg", ".png", ".csv"}
    )
    svg, png, csv = (next(downloads.glob(f"*.{kind}")) for kind in ("svg", "png", "csv"))
    drawn = ET.parse(svg).getroot()
    assert not [one for one in drawn.iter() if "class" in one.attrib]  # nothing is left to a style sheet
    assert {one.get("fill") for one in drawn.iter("{http://www.w3.org/2000/svg}rect")} >= {"#fff", "rgb(11, 110, 143)"}
    with Image.open(png) as picture:
        assert picture.width == 3 * int(drawn.get("width"))
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 3
    rows = list(reader(csv.read_text(encoding="utf-8").splitlines()))
    assert rows[0][:2] == ["category", "counting f1"]
    assert [row[0] for row in rows[1:]] == ["ship", "<b>harbor</b>"]
    assert len(small.all("figure[id]")) == len(small.all("figure[id] [data-save=svg]"))
    small.assert_quiet()


def test_paper_has_every_image_of_the_choice_and_what_is_folded(many):
    assert len(many.files) == 24
    many.driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert len(many.files) == 50
    assert not many.all("main > section > details:not([open])")
    many.driver.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert len(many.files) == 24
    assert many.all("main > section > details:not([open])")


def test_the_index_sorts_and_filters_its_runs(browser, make_run, tmp_path):
    make_run("runs/better")
    worse, _ = make_run("runs/worse", shift=12)
    result = json.loads((worse / "result.json").read_text())
    result["method"]["training_data"] = []  # not trained; the others do not say
    (worse / "result.json").write_text(json.dumps(result))
    make_run("runs/counts", setting="open_vocabulary", counts_only=True)
    view = View(browser, report(tmp_path / "runs"))

    def folders():
        shown = [row.text for row in view.all("#runs tbody tr") if row.is_displayed()]
        return [next(name for name in ("better", "worse", "counts") if f"{name}/set" in text) for text in shown]

    assert folders() == ["better", "worse", "counts"]
    box = "#runs thead th:nth-child(4) button"
    view.click(box)
    assert folders() == ["better", "worse", "counts"]  # the last has no boxes
    view.click(box)
    assert folders() == ["counts", "worse", "better"]
    view.choose("task", "set/open_vocabulary")
    assert folders() == ["counts"]
    assert view.one("#status").text == "1 of 3 runs"
    view.choose("task", "all tasks")
    view.choose("training", "zero-shot")
    assert folders() == ["worse"]
    view.choose("training", "all marks")
    view.one("#words").send_keys("WORSE open_ended")
    assert folders() == ["worse"]
    view.assert_quiet()


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_a_phone_and_a_desk(small, width):
    small.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert small.driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        small.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_mode_and_paper_have_colours_of_their_own(small):
    def background(**media):
        small.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        return small.driver.execute_script("return getComputedStyle(document.body).backgroundColor")

    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    try:
        assert background(media="screen", **dark) == "rgb(18, 22, 28)"
        assert background(media="print", **dark) == "rgb(255, 255, 255)"
        assert not small.one("#controls").is_displayed()
    finally:
        background(media="", features=[])
