"""What the site is made of, for mkdocs: the pages of the repository, each at its place there, and a reference."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SHOWN = (
    "*.md",
    "data/*.md",
    "docs/**/*.md",
    "docs/images/*.jpg",
    "docs/images/*.png",
    "docs/images/*.svg",
    "docs/site/*.css",
    "docs/site/*.js",
    "examples/*",
    "leaderboards/*.json",
    "leaderboards/results/**/*.json",
    "leaderboards/results/**/*.html",
    "leaderboards/tables/README.md",
    "leaderboards/tables/**/*.csv",
    "methods/*/README.md",
    "tests/guarded/README.md",
)
FENCED = re.compile(r"(^```.*?^```\n)", re.DOTALL | re.MULTILINE)
LIST_BEHIND_TEXT = re.compile(r"^((?!\s|- |\d+\. ).+)\n(?=- |\d+\. )", re.MULTILINE)
BOARDS = "leaderboards/tables/README.md"
FACES = ("datasets", "images", "metrics", "predictions", "regions", "results", "running", "scoring", "tasks", "testing")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by those of the repository that are shown, and by pages of the reference."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted({path for pattern in SHOWN for path in ROOT.glob(pattern) if path.is_file()})
    shown = [File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)) for path in paths]
    reference = [File.generated(config, f"reference/{name}.md", content=text) for name, text in _reference().items()]
    return Files([*theme, *shown, *reference])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Read Markdown as GitHub does, where a list may follow its paragraph without an empty line."""
    if page.file.src_uri == BOARDS:
        return ""
    parts = FENCED.split(markdown)
    parts[::2] = [LIST_BEHIND_TEXT.sub(r"\1\n\n", part) for part in parts[::2]]
    return "".join(parts).replace(r"\|", "&#124;")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the leaderboards, to sort and filter, in the place of their index."""
    if page.file.src_uri != BOARDS:
        return html
    page.meta["hide"] = ["navigation", "toc"]
    boards = (ROOT / BOARDS).with_name("index.html").read_text(encoding="utf-8")
    return boards[boards.index("<style>\n.boards") :]


def _reference() -> dict[str, str]:
    """A page for the public names of the package, and one for the names of each room."""
    pages = {"index": _page("earthinstruct", "All that a program needs: `from earthinstruct import ...`.")}
    for room in FACES:
        pages[room] = _page(f"earthinstruct.{room}", "")
    return pages


def _page(name: str, lead: str) -> str:
    module: Any = importlib.import_module(name)
    names = "\n\n".join(f"::: {name}.{public}" for public in module.__all__)
    return f"# {name}\n\n{lead or module.__doc__}\n\n{names}\n"
