"""Fetching, against a server on this machine."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from earthinstruct.datasets import dior_mini, fetch_dataset
from earthinstruct.datasets.coco import check_file_name
from earthinstruct.errors import DataError, EarthInstructError

PINNED = dior_mini.FILES
CONTENT = {"there/one.json": b"{}", "two.txt": b"two"}
FILES = {
    "here/one.json": ("there/one.json", hashlib.sha256(b"{}").hexdigest()),
    "two.txt": ("two.txt", hashlib.sha256(b"two").hexdigest()),
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(autouse=True)
def served_files(tmp_path, monkeypatch):
    served = tmp_path / "served"
    for name, content in CONTENT.items():
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        (served / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(dior_mini, "URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(dior_mini, "FILES", FILES)
    yield
    server.shutdown()
    server.server_close()


def test_files_are_put_where_they_belong(tmp_path):
    done = []
    folder = fetch_dataset(data=tmp_path / "data", yes=True, progress=lambda *seen: done.append(seen))
    assert folder == tmp_path / "data" / "dior_mini"
    assert (folder / "here" / "one.json").read_bytes() == b"{}"
    assert (folder / "two.txt").read_bytes() == b"two"
    assert done == [(1, 2), (2, 2)]
    with pytest.raises(DataError, match="exists already; remove it"):
        fetch_dataset(data=tmp_path / "data", yes=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**FILES, "two.txt": ("two.txt", "0" * 64)}, rf"two\.txt has the sha256 {FILES['two.txt'][1]}, expected 0000"),
        ({**FILES, "three.txt": ("three.txt", "0" * 64)}, r"three\.txt cannot be fetched: 404"),
    ],
)
def test_one_wrong_file_leaves_nothing_behind(monkeypatch, tmp_path, files, message):
    monkeypatch.setattr(dior_mini, "FILES", files)
    with pytest.raises(DataError, match=message):
        fetch_dataset(data=tmp_path / "data", yes=True)
    assert not list((tmp_path / "data").iterdir())


def test_a_server_out_of_reach_is_a_clear_error(monkeypatch, no_server, tmp_path):
    monkeypatch.setattr(dior_mini, "URL", f"{no_server}/")
    with pytest.raises(DataError, match=rf"{no_server}/there/one\.json cannot be fetched.*another machine"):
        fetch_dataset(data=tmp_path / "data", yes=True)
    assert not list((tmp_path / "data").iterdir())


def test_nothing_is_fetched_before_the_licence_is_accepted(tmp_path):
    with pytest.raises(EarthInstructError, match="accept the licence with yes=True: 2 files from "):
        fetch_dataset(data=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_names_of_pinned_files_stay_in_the_folder():
    for name in PINNED:
        check_file_name(name, "dior_mini.txt")


def test_the_pinned_files_are_those_of_the_reference(reference):
    folder = reference / "dior_mini"
    for name, (_, sha256) in PINNED.items():
        if name != "LICENSE.txt":
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256, name
