"""Fetching from a server on this machine that cuts, resumes, redirects and lies."""

import hashlib
import io
import json
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from earthinstruct_models import weights
from earthinstruct_models.encoders.table import ENCODERS
from earthinstruct_models.proposers.sam2_model import MODELS
from earthinstruct_models.weights import WEIGHTS, Weights, fetch, file_sha256, find_weights

from earthinstruct.errors import DataError, UnknownNameError

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
    "/mac.zip": archive("S/epoch_20.pt", "__MACOSX/S/._epoch_20.pt", "S/._epoch_20.pt", "S/.DS_Store"),
    "/pth.zip": archive("S/last.pth", "S/readme.md"),
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


def names(folder):
    """What a user sees of a folder: locks are hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


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
    assert names(folder) == ["w.pt", "w.pt.sha256"]


def test_a_broken_download_goes_on_where_it_stopped(server, folder):
    Handler.cut = 700_000
    with pytest.raises(DataError, match="run the same command to continue"):
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
    assert names(folder) == []


def test_the_hash_of_the_first_fetch_binds_the_next(server, folder):
    fetch("w", table=table(f"{server}/w.pt"))
    (folder / "w.pt").write_bytes(b"changed")
    with pytest.raises(DataError, match="remove it and fetch it again"):
        fetch("w", table=table(f"{server}/w.pt"))


@pytest.mark.parametrize("file", ["one.zip", "mac.zip", "pth.zip"])
def test_the_one_checkpoint_of_an_archive_is_taken_out_under_our_name(server, folder, file):
    assert fetch("w", table=table(f"{server}/{file}")).read_bytes() == CONTENT
    assert names(folder) == ["w.pt", "w.pt.sha256"]
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


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """(a large file, the files that were read to be hashed)."""
    read, real = [], weights._computed_sha256
    monkeypatch.setattr(weights, "_LARGE", 1000)
    monkeypatch.setattr(weights, "_computed_sha256", lambda path: read.append(path) or real(path))
    (tmp_path / "large.pt").write_bytes(CONTENT)
    weights._sha256.cache_clear()
    return tmp_path / "large.pt", read


def in_another_process(path):
    weights._sha256.cache_clear()
    return file_sha256(path)


def test_the_hash_of_a_large_file_is_computed_once_and_kept_beside_it(hashed):
    path, read = hashed
    assert [in_another_process(path) for _ in range(3)] == [SHA256] * 3
    assert len(read) == 1
    path.write_bytes(CONTENT[::-1])  # of the same size
    assert in_another_process(path) == hashlib.sha256(CONTENT[::-1]).hexdigest()
    path.write_bytes(b"small")
    assert [in_another_process(path) for _ in range(2)] == [hashlib.sha256(b"small").hexdigest()] * 2
    assert len(read) == 4


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b'{"size": 1280000}', b'[1, 2, "a"]'])
def test_a_damaged_hash_is_computed_again(hashed, damage):
    path, read = hashed
    in_another_process(path)
    (beside,) = path.parent.glob(".*.sha256.json")
    beside.write_bytes(damage)
    assert [in_another_process(path) for _ in range(2)] == [SHA256] * 2
    assert len(read) == 2


def test_the_hash_is_computed_where_nothing_can_be_written(hashed, monkeypatch):
    path, read = hashed

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "replace_file", full)
    assert [in_another_process(path) for _ in range(2)] == [SHA256] * 2
    assert len(read) == 2


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as a download asks for: what a repository holds, and its files."""

    repository: ClassVar = {"config.json": b"{}", "model.safetensors": CONTENT, "pytorch_model.bin": b"may run code"}
    asked = ()
    broken = None  # a file that does not come

    def do_GET(self):
        if self.path.startswith("/api/models/me/tiny/revision/") or self.path == "/api/models/me/tiny":
            files = [{"rfilename": name} for name in self.repository]
            self.answer(json.dumps({"id": "me/tiny", "sha": "c" * 40, "siblings": files}).encode())
            return
        if self.path.startswith("/api/models/me/tiny/tree/"):
            files = self.repository.items()
            tree = [{"type": "file", "path": name, "size": len(content), "oid": name} for name, content in files]
            self.answer(json.dumps(tree).encode())
            return
        name = self.path.rpartition("/")[2]
        if not self.path.startswith("/me/tiny/resolve/") or name not in self.repository or name == self.broken:
            self.send_error(404)
            return
        if self.command == "GET":
            type(self).asked += (name,)
        content = self.repository[name]
        self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', **{"X-Repo-Commit": "c" * 40})

    do_HEAD = do_GET

    def answer(self, content, **headers):
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setattr(Hub, "asked", ())
        page = f"http://127.0.0.1:{running.server_address[1]}/me/tiny"
        yield {"tiny": Weights("tiny", "tiny", page)}
        running.shutdown()


@pytest.mark.timeout(60)
def test_a_folder_is_fetched_from_its_repository_without_what_may_run_code(hub, folder):
    path = fetch("tiny", table=hub)
    assert path == folder / "tiny"
    assert sorted(file.name for file in path.iterdir() if file.is_file()) == ["config.json", "model.safetensors"]
    assert (path / "model.safetensors").read_bytes() == CONTENT
    assert (folder / "tiny.sha256").read_text() == f"{SHA256}  tiny/model.safetensors\n"
    asked = Hub.asked
    fetch("tiny", table=hub)
    assert Hub.asked == asked  # what is here is not fetched again


@pytest.mark.timeout(60)
def test_a_folder_that_did_not_come_whole_is_not_put_in_place_and_goes_on(hub, folder, monkeypatch):
    monkeypatch.setattr(Hub, "broken", "model.safetensors")
    with pytest.raises(DataError, match="run the same command to continue"):
        fetch("tiny", table=hub)
    assert not (folder / "tiny").exists()
    monkeypatch.setattr(Hub, "broken", None)
    assert (fetch("tiny", table=hub) / "model.safetensors").read_bytes() == CONTENT
    assert Hub.asked.count("config.json") == 1


@pytest.mark.timeout(60)
def test_the_hashes_of_a_folder_bind_the_next_fetch(hub, folder):
    path = fetch("tiny", table=hub)
    (path / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(DataError, match=f"tiny/model.safetensors has the sha256 .*, expected {SHA256}; remove it"):
        fetch("tiny", table=hub)
    shutil.rmtree(path)
    (folder / "tiny.sha256").write_text(f"{'0' * 64}  tiny/model.safetensors\n")
    with pytest.raises(DataError, match="it is not kept"):
        fetch("tiny", table=hub)
    assert not path.exists()


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
