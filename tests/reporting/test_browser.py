"""The page in a real browser: opened from disk, filtered, toggled, turned and enlarged, without a request."""

import socket

import pytest

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
    assert small.status == "0 images"
    small.choose("category", "all categories")
    assert len(small.files) == 2
    assert small.all("svg.scene g.dim")
    small.choose("kind", "failed")
    assert small.files == ["</script>.png"]
    small.choose("kind", "all images")
    small.choose("change-filter", "fixed: fewer errors")
    assert small.files == ["<script>alert(1)<!--.png"]
    assert "errors 5 → 3, fixed" in small.one(".card figcaption").text
    small.choose("change-filter", "broken: more errors")
    assert small.files == []
    small.assert_quiet()


@pytest.mark.parametrize(
    ("layer", "shapes", "before"),
    [
        ("masks", "path.shape", True),
        ("truth", ".truth rect", True),
        ("predicted", ".predicted rect", True),
        ("boxes", "rect.shape", True),
        ("labels", "svg.scene text", False),
        ("other", ".other rect", False),
    ],
)
def test_layers_are_switched_by_buttons_that_say_so(small, layer, shapes, before):
    for state in (before, not before, before):
        assert bool(small.all(shapes)) is state
        assert small.one(f"#layer-{layer}").get_attribute("aria-pressed") == str(state).lower()
        small.click(f"#layer-{layer}")
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
