"""The site in site/, as `make docs` builds it: every link leads somewhere, and a browser opens each page from disk."""

import itertools
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import View, asked, needs_browser, screen

SITE = Path(__file__).parents[1] / "site"
PAGES = sorted(path for path in SITE.rglob("*.html") if path.name != "404.html")
SCREENS = list(itertools.product((390, 1280), (False, True)))


class Addresses(HTMLParser):
    """The addresses that a page links to or loads, and the places in it."""

    def __init__(self, page):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.places |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "link" and attributes.get("rel") not in ("prev", "next", "canonical"):
            self.loads.append(attributes["href"])
        elif attributes.get("src"):
            self.loads.append(attributes["src"])


PARSED = {page: Addresses(page) for page in PAGES}


def test_the_site_has_every_page_of_the_repository():
    guides = [f"docs/{page.stem}" for page in (SITE.parent / "docs").glob("*.md")]
    assert len(guides) > 15
    for place in ("index", "methods/models/index", "leaderboards/tables/index", "reference/metrics", *guides):
        assert SITE / f"{place}.html" in PARSED, place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(SITE).as_posix())
def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(page):
    parsed = PARSED[page]
    for address in (*parsed.links, *parsed.loads):
        parts = urlsplit(address)
        if (parts.scheme in ("https", "mailto") and address in parsed.links) or parts.scheme == "data":
            continue
        assert not parts.scheme and not parts.netloc, address
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.is_file(), address
        if parts.fragment and target in PARSED:
            assert unquote(parts.fragment) in PARSED[target].places, address


def open_quietly(browser, page, width, dark):
    """Open a page, on which nothing may complain, ask a server, or be wider than the screen."""
    with screen(browser, width, dark):
        view = View(browser, page)
        assert browser.get_log("browser") == []
        assert [url for url in asked(browser) if not url.startswith(SITE.as_uri())] == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        scheme = browser.execute_script("return document.body.dataset.mdColorScheme")
        assert scheme in (None, "slate" if dark else "default")  # None: a page without the theme
        return view


@needs_browser
@pytest.mark.parametrize("number", range(len(PAGES)), ids=lambda i: PAGES[i].relative_to(SITE).as_posix())
def test_every_page_opens_from_disk(browser, number):
    open_quietly(browser, PAGES[number], *SCREENS[number % len(SCREENS)])


@needs_browser
@pytest.mark.parametrize(("width", "dark"), SCREENS, ids=lambda value: str(value))
@pytest.mark.parametrize("place", ["index", "leaderboards/tables/index", "reference/index", "docs/protocol"])
def test_the_main_pages_open_on_every_screen(browser, place, width, dark):
    open_quietly(browser, SITE / f"{place}.html", width, dark)


@needs_browser
@pytest.mark.parametrize(
    ("words", "place"),
    [("worker memory", "docs/reliability.html"), ("assert_result_unchanged", "docs/submitting.html")],
)
def test_search_finds_a_page_without_a_server(browser, words, place):
    with screen(browser):
        view = View(browser, SITE / "index.html")
        view.one(".md-search__input").send_keys(words)
        end = time.monotonic() + 20
        while not (found := view.all(".md-search-result__link")) and time.monotonic() < end:
            time.sleep(0.1)
        assert any(f"/{place}" in one.get_attribute("href") for one in found)
        assert browser.get_log("browser") == []
        assert [url for url in asked(browser) if not url.startswith(SITE.as_uri())] == []
