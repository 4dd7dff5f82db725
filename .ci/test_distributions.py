"""The sdists and wheels in dist/, as `make distributions` builds them: what lies in them, and what an index shows."""

import email
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {  # distribution -> its folder, and where its import package lies
    "earthinstruct": (".", "earthinstruct"),
    "earthinstruct_models": ("methods/models", "methods/models/src/earthinstruct_models"),
    "earthinstruct_instructsam": ("methods/instructsam", "methods/instructsam/src/earthinstruct_instructsam"),
    "earthinstruct_baselines": ("methods/baselines", "methods/baselines/src/earthinstruct_baselines"),
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
SIBLING = re.compile(r"earthinstruct(?:-\w+)?(?=[^\w\[-]|$)")

pytestmark = pytest.mark.parametrize("name", FOLDERS)


def wheel(name):
    """The files of the wheel: path -> content."""
    (path,) = (ROOT / "dist").glob(f"{name}-*.whl")
    with zipfile.ZipFile(path) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def sdist(name):
    """The files of the sdist: path below its one folder -> content. A link would have none."""
    (path,) = (ROOT / "dist").glob(f"{name}-*.tar.gz")
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
        return {member.name.partition("/")[2]: archive.extractfile(member).read() for member in members}


def metadata(name):
    (content,) = (content for path, content in wheel(name).items() if path.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(content)


def tracked(folder):
    """Files of the package that git knows, by their path below its parent."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {Path(line).relative_to(Path(folder).parent).as_posix(): ROOT / line for line in listed.splitlines()}


def test_both_hold_the_whole_package_and_the_licence(name):
    folder, package = FOLDERS[name]
    files = tracked(package)
    assert len(files) > 10
    above = Path(package).parent.relative_to(folder).as_posix()
    from_wheel, from_sdist = wheel(name), sdist(name)
    for path, file in files.items():
        assert from_wheel[path] == file.read_bytes(), path
        assert from_sdist[path if above == "." else f"{above}/{path}"] == file.read_bytes(), path
    licence = (ROOT / "LICENSE").read_bytes()
    assert [content for path, content in from_wheel.items() if path.endswith("licenses/LICENSE")] == [licence]
    assert from_sdist["LICENSE"] == licence


def test_neither_holds_anything_else(name):
    own = tracked(FOLDERS[name][1])
    assert not {path for path in wheel(name) if ".dist-info/" not in path} - set(own)
    assert not [path for path in sdist(name) if path.startswith(("tests/", "docs/", "benchmarks/", "data/"))]


def test_an_index_shows_who_made_it_and_links_that_work_there(name):
    told = metadata(name)
    text = told.get_payload()
    assert text.startswith(f"# {told['Name'] if name != 'earthinstruct' else 'EarthInstruct'}\n")
    assert [link for link in LINK.findall(text) if not link.startswith("https://")] == []
    assert told["Author"]
    assert told["Project-URL"]
    assert told["License-Expression"] == "Apache-2.0"
    assert {"Programming Language :: Python :: 3.11", "Typing :: Typed"} <= set(told.get_all("Classifier"))


def test_every_requirement_has_a_bound_and_siblings_are_of_one_series(name):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    major, minor = map(int, version.split(".")[:2])
    for requirement in metadata(name).get_all("Requires-Dist"):
        what = requirement.partition(";")[0].strip()
        if SIBLING.match(what):
            assert what.endswith(f"<{major}.{minor + 1},>={major}.{minor}"), requirement
        elif not what.startswith("earthinstruct"):  # an extra of ours brings the bounds of its own
            assert ">=" in what, requirement
