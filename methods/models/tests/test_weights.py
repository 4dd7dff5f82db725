"""Fetching from a server on this machine that cuts, resumes, redirects and lies."""

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from earthinstruct_models import weights
from earthinstruct_models.encoders.table import ENCODERS
from earthinstruct_models.proposers.sam2_model import MODELS
from earthinstruct_models.weights import WEIGHTS, Weights, fetch, file_sha256, find_weights

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def archive(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, CONTENT)
    return buffer.getvalue()


FILES = {
    "/w.pt": CONTENT,
    "/one.zip": archive("../run/epoch_20.pt", "run/params.txt"),
    "/two.zip": archive("a.pt", "b.pt"),
    "/torn.zip": archive("a.pt")[:-100],
}


class Handler(BaseHTTPRequestHandler):
    cut = None  # bytes after which the next answer breaks off
    ranges = ()

    def do_GET(self):
        if self.path == "/away.pt":
            self.send_response(302)
            self.send_header("Location", "http://example.org/w.pt")
            self.end_headers()
            return
        if self.path not in FILES:
            self.send_error(404)
            return
        content = FILES[self.path]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        type(self).ranges += (start,)
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, type(self).cut = type(self).cut, None
        self.wfile.write(body[:cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    Handler.cut = None
    Handler.ranges = ()
    return tmp_path / "weights"


def table(url, sha256=None, file="w.pt"):
    return {"w": Weights("w", file, "https://example.org/page", url, sha256=sha256)}


def test_a_file_is_fetched_with_progress_and_its_hash_recorded(server, folder):
    seen = []
    path = fetch("w", lambda have, total: seen.append((have, total)), table(f"{server}/w.pt"))
    assert path == folder / "w.pt"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert (folder / "w.pt.sha256").read_text() == f"{SHA256}  w.pt\n"
    assert file_sha256(path) == SHA256
    fetch("w", table=table(f"{server}/w.pt"))
    assert Handler.ranges == (0,)  # what is here is not fetched again
    assert sorted(path.name for path in folder.iterdir()) == ["w.pt", "w.pt.sha256"]


def test_a_broken_download_goes_on_where_it_stopped(server, folder):
    Handler.cut = 700_000
    with pytest.raises(DataError, match="run the same command to go on"):
        fetch("w", table=table(f"{server}/w.pt"))
    assert not (folder / "w.pt").exists()
    kept = (folder / "w.pt.part").stat().st_size
    assert 600_000 < kept <= 700_000
    assert fetch("w", table=table(f"{server}/w.pt", SHA256)).read_bytes() == CONTENT
    assert Handler.ranges == (0, kept)


def test_a_download_that_was_whole_is_put_in_place(server, folder):
    folder.mkdir()
    (folder / "w.pt.part").write_bytes(CONTENT)
    assert fetch("w", table=table(f"{server}/w.pt", SHA256)).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_starts_again(server, folder):
    folder.mkdir()
    (folder / "w.pt.part").write_bytes(CONTENT + b"more")
    with pytest.raises(DataError, match="has changed"):
        fetch("w", table=table(f"{server}/w.pt"))
    assert fetch("w", table=table(f"{server}/w.pt")).read_bytes() == CONTENT


def test_another_file_than_the_known_one_is_not_kept(server, folder):
    with pytest.raises(DataError, match=f"has the sha256 {SHA256}, expected 0000"):
        fetch("w", table=table(f"{server}/w.pt", "0" * 64))
    assert list(folder.iterdir()) == []


def test_the_hash_of_the_first_fetch_binds_the_next(server, folder):
    fetch("w", table=table(f"{server}/w.pt"))
    (folder / "w.pt").write_bytes(b"changed")
    with pytest.raises(DataError, match="remove it and fetch it again"):
        fetch("w", table=table(f"{server}/w.pt"))


def test_the_one_checkpoint_of_an_archive_is_taken_out_under_our_name(server, folder):
    assert fetch("w", table=table(f"{server}/one.zip")).read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["w.pt", "w.pt.sha256"]
    assert not (folder.parent / "run").exists()


@pytest.mark.parametrize(("file", "message"), [("two.zip", "holds 2 checkpoints"), ("torn.zip", "not a whole archive")])
def test_an_archive_of_another_kind_is_refused(server, folder, file, message):
    with pytest.raises(DataError, match=message):
        fetch("w", table=table(f"{server}/{file}"))
    assert not (folder / "w.pt").exists()


@pytest.mark.parametrize("url", ["http://example.org/w.pt", "{server}/away.pt"])
def test_only_https_is_followed(server, url):
    with pytest.raises(DataError, match="only https"):
        fetch("w", table=table(url.format(server=server)))


def test_what_the_server_lacks_is_named(server):
    with pytest.raises(DataError, match="404"):
        fetch("w", table=table(f"{server}/none.pt"))


def test_a_folder_is_taken_from_its_page():
    with pytest.raises(
        EarthInstructError, match=r"get the folder Qwen2\.5-VL-7B-Instruct from https://huggingface\.co/Qwen/"
    ):
        fetch("qwen2.5-vl-7b")


def test_missing_weights_say_where_to_get_them_and_where_they_go(folder):
    with pytest.raises(DataError, match="fetch sam2_hiera_l") as raised:
        find_weights("sam2_hiera_l")
    assert str(folder / "sam2_hiera_large.pt") in str(raised.value)
    archive = WEIGHTS["skyclip-b32"]
    assert f"get SkyCLIP_ViT_B32_top50pct.zip from {archive.page} and put its checkpoint at" in archive.how_to_get
    with pytest.raises(UnknownNameError, match="did you mean 'sam2_hiera_l'"):
        find_weights("sam2_hiera_ll")


def test_the_table_is_sound():
    assert all(name == entry.name for name, entry in WEIGHTS.items())
    files = [entry.file for entry in WEIGHTS.values()]
    assert len(set(files)) == len(files)
    assert all(entry.page.startswith("https://") for entry in WEIGHTS.values())
    assert all(entry.url is None or entry.url.startswith("https://") for entry in WEIGHTS.values())
    assert {*ENCODERS, *MODELS} <= set(WEIGHTS)
