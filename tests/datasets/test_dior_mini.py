"""Fetching, against a server on this machine."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from earthinstruct.datasets import dior_mini
from earthinstruct.errors import DataError

CONTENT = {"there/one.json": b"{}", "two.txt": b"two"}
FILES = {
    "here/one.json": ("there/one.json", hashlib.sha256(b"{}").hexdigest()),
    "two.txt": ("two.txt", hashlib.sha256(b"two").hexdigest()),
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def url(tmp_path):
    served = tmp_path / "served"
    for name, content in CONTENT.items():
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        (served / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_files_are_put_where_they_belong(url, tmp_path):
    done = []
    folder = dior_mini.fetch(tmp_path / "data" / "mini", url=url, files=FILES, progress=lambda *seen: done.append(seen))
    assert (folder / "here" / "one.json").read_bytes() == b"{}"
    assert (folder / "two.txt").read_bytes() == b"two"
    assert done == [(1, 2), (2, 2)]
    with pytest.raises(DataError, match="exists already; remove it"):
        dior_mini.fetch(folder, url=url, files=FILES)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**FILES, "two.txt": ("two.txt", "0" * 64)}, r"two\.txt is not the pinned file"),
        ({**FILES, "three.txt": ("three.txt", "0" * 64)}, r"three\.txt cannot be downloaded: 404"),
        ({**FILES, "../three.txt": ("two.txt", "0" * 64)}, "leads out of the image folder"),
        ({**FILES, "/elsewhere/three.txt": ("two.txt", "0" * 64)}, "leads out of the image folder"),
    ],
)
def test_one_wrong_file_leaves_nothing_behind(url, tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        dior_mini.fetch(tmp_path / "data" / "mini", url=url, files=files)
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


def test_a_server_out_of_reach_is_a_clear_error(no_server, tmp_path):
    with pytest.raises(DataError, match=rf"{no_server}/there/one\.json cannot be downloaded.*another machine"):
        dior_mini.fetch(tmp_path / "mini", url=f"{no_server}/", files=FILES)
    assert not list(tmp_path.iterdir())


def test_the_pinned_files_are_those_of_the_reference(reference):
    folder = reference / "dior_mini"
    for name, (_, sha256) in dior_mini.FILES.items():
        if name != "LICENSE.txt":
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256, name
