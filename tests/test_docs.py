"""The pages against the project: links and names lead somewhere, and every verb and option is described."""

import argparse
import importlib.util
import re
from itertools import chain
from pathlib import Path

import pytest

from earthinstruct.cli import parser

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "data/*.md", "docs/**/*.md", "methods/*/*.md", "tests/**/*.md", "leaderboards/**/*.md")
    for path in ROOT.glob(pattern)
)
FOREIGN = re.compile(
    r".*(?:\bpip|pytest|\bray start|\b(?:eval|test|image_demo)\.py).*"
)  # lines with options of other programs
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
DOTTED = re.compile(r"`(earthinstruct(?:_\w+)?(?:\.\w+)+)[`(]")


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), (path, anchor)


def verbs(above, words=()):
    """Every verb that runs something: its words and its options."""
    chosen = [action for action in above._actions if isinstance(action, argparse._SubParsersAction)]
    if not chosen:
        yield words, {option for option in above._option_string_actions if option.startswith("--")}
    for action in chosen:
        for word, below in action.choices.items():
            yield from verbs(below, (*words, word))


def test_every_verb_and_option_is_described_and_no_other():
    text = "\n".join(page.read_text() for page in PAGES)
    described = set(OPTION.findall(text))
    table = (ROOT / "docs" / "command-line.md").read_text()
    options = {"--version"}  # of no verb
    for words, own in verbs(parser()):
        assert f"`{words[0]}" in table, words
        assert not own - described - {"--help"}, words
        options |= own
    programs = ((ROOT / "benchmarks").glob("*.py"), (ROOT / "methods").glob("*/src/*/rank_encoders.py"))
    for program in chain(*programs):
        options |= set(OPTION.findall(program.read_text()))
    assert set(OPTION.findall(FOREIGN.sub("", text))) <= options


def test_a_dotted_name_in_a_page_exists():
    names = {name for page in PAGES for name in DOTTED.findall(page.read_text())}
    assert len(names) > 10
    for name in names:
        if name.split(".")[1] in ("methods", "datasets", "label_mappers") and name.count(".") == 1:
            continue  # groups of entry points
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            continue  # a plug-in that is not installed here
        assert find(name) is not None, name


def find(name):
    """The module, or what is in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    return None
