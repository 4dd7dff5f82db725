"""A real browser, driven over pages from disk: the report, the leaderboards, the site."""

import importlib.util
import json
import shutil
from contextlib import contextmanager

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER and importlib.util.find_spec("selenium")),
    reason="no chromium or no selenium: apt-get install chromium chromium-driver, pip install selenium",
)
ARGUMENTS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-dev-shm-usage",
    "no-first-run",  # this and the rest: nothing of the browser's own
    "no-default-browser-check",
    "disable-background-networking",
    "disable-component-update",
    "disable-default-apps",
    "disable-extensions",
    "disable-sync",
)
BROWSER_PAGES = ("chrome:", "chrome-untrusted:", "chrome-extension:", "devtools:")


def started(profile):
    """A browser without a window, whose own files lie in the folder `profile`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("about:blank")  # away from the browser's own first page
    return driver


def asked(driver):
    """The addresses that pages and their frames have asked for since this was last looked up, themselves included.

    Not what the browser asks for its own pages, nor what stands in a page itself, as `data:`.
    """
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    urls = [it["request"]["url"] for it in requests if not it["documentURL"].startswith(BROWSER_PAGES)]
    return [url for url in urls if not url.startswith("data:")]


@contextmanager
def screen(driver, width=1280, dark=False):
    """A screen of this width in pixels, a phone's where narrow, in a light or a dark scheme."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
    yield
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


class View:
    """A page on the screen, by what a reader sees of it."""

    def __init__(self, driver, file):
        self.driver = driver
        for log in ("browser", "performance"):
            driver.get_log(log)  # what earlier pages said
        self.url = file.as_uri()
        driver.get(self.url)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def choose(self, name, text):
        """Choose an option of the list with this id or name."""
        from selenium.webdriver.support.ui import Select

        Select(self.one(f"#{name}, select[name='{name}']")).select_by_visible_text(text)

    def click(self, selector):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.one(selector))
        self.one(selector).click()

    def assert_quiet(self):
        assert self.driver.get_log("browser") == []
        assert asked(self.driver) == [self.url]
