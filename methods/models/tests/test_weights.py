"""Fetching from a server on this machine that cuts, resumes, redirects and lies."""

import dataclasses
import hashlib
import io
import json
import re
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from earthinstruct_models import weights
from earthinstruct_models.encoders.table import ENCODERS
from earthinstruct_models.proposers.sam2_model import MODELS
from earthinstruct_models.weights import WEIGHTS, Weights, fetch, file_sha256, find_weights

from earthinstruct.contract import UNKNOWN_DATA
from earthinstruct.datasets import TRAINING_SETS
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
        self.send_header("ETag", '"1"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut, type(self).cut = type(self).cut, None
        self.wfile.write(body[:cut])

    def log_message(self, *arguments):
        pass


@contextmanager
def served(handler):
    """The address of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(scope="module")
def server():
    with served(Handler) as address:
        yield address


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


def at_once(count, work):
    """The outcomes of calls that begin at the same time."""
    begin = threading.Barrier(count, timeout=60)

    def run(_):
        begin.wait()
        return work()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_several_at_once_fetch_a_file_once(server, folder, caplog):
    paths = at_once(4, lambda: fetch("w", table=table(f"{server}/w.pt")))
    assert paths == [folder / "w.pt"] * 4
    assert (folder / "w.pt").read_bytes() == CONTENT
    assert Handler.ranges == (0,)
    assert names(folder) == ["w.pt", "w.pt.sha256"]
    assert "another process fetches w.pt: waiting for it" in caplog.messages


def test_a_file_system_without_locks_is_refused(server, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(weights.FileLock, "acquire", acquire)
    with pytest.raises(DataError, match="on a file system without locks"):
        fetch("w", table=table(f"{server}/w.pt"))


def test_an_empty_file_of_hashes_is_filled(server, folder):
    """A full disk leaves one."""
    folder.mkdir()
    (folder / "w.pt.sha256").write_bytes(b"")
    assert fetch("w", table=table(f"{server}/w.pt")).read_bytes() == CONTENT
    assert (folder / "w.pt.sha256").read_text() == f"{SHA256}  w.pt\n"


@pytest.mark.parametrize("lines", ["abc\n", f"{SHA256}\n", f"{SHA256}  other.pt\n", f"\n{SHA256}  w.pt\n", "\0\0"])
def test_a_damaged_file_of_hashes_is_named_before_anything_is_fetched(server, folder, lines):
    folder.mkdir()
    (folder / "w.pt.sha256").write_text(lines)
    with pytest.raises(DataError, match=r"w\.pt\.sha256, line 1: expected a sha256, two spaces and w\.pt.*; remove"):
        fetch("w", table=table(f"{server}/w.pt"))
    assert Handler.ranges == ()


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


def test_whatever_byte_of_an_archive_is_damaged_it_is_unpacked_or_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as file:
        file.writestr("W\u00e9/w.pt", b"weights")
    whole, refused = (tmp_path / "whole.zip").read_bytes(), 0
    for place in range(len(whole)):
        for value in (0, 0x80, 0xFF):
            (tmp_path / "w.zip").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                weights._unpack(tmp_path / "w.zip", tmp_path / "w.pt")
            except DataError:
                refused += 1
    assert refused > len(whole)


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

    repository: ClassVar = {
        "config.json": b"{}",
        "model.safetensors": CONTENT,
        "pytorch_model.bin": b"may run code",
        ".gitattributes": b"",
        "onnx/config.json": b"not of this folder",
        "ckpt/w.pt": CONTENT,
    }
    asked = ()
    broken = None  # a file that does not come
    commit = "c" * 40
    sent: ClassVar = {}  # file -> another content than the listed one

    def do_GET(self):
        if self.path == "/api/models/me/tiny?blobs=true":
            self.answer(json.dumps({"id": "me/tiny", "sha": self.commit, "siblings": list(self.files())}).encode())
            return
        name = self.path.removeprefix(f"/me/tiny/resolve/{self.commit}/")
        if name not in self.repository or name == self.broken:
            self.send_error(404)
            return
        type(self).asked += (name,)
        self.answer(self.sent.get(name, self.repository[name]))

    def files(self):
        """Large files with their hash, as the Hub publishes it; small ones have none."""
        for name, content in self.repository.items():
            lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            large = {"lfs": lfs} if name.endswith((".safetensors", ".pt", ".bin")) else {}
            yield {"rfilename": name, "size": len(content), "blobId": "b" * 40, **large}

    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch):
    with served(Hub) as address:
        for name in ("asked", "broken", "commit", "sent", "repository"):
            monkeypatch.setattr(Hub, name, getattr(Hub, name))  # as it was, after the test
        page = f"{address}/me/tiny"
        folder, file = Weights("tiny", "tiny", page), Weights("w", "w.pt", page, f"{page}/resolve/main/ckpt/w.pt")
        yield {"tiny": folder, "w": file}


@pytest.mark.timeout(60)
def test_a_folder_is_fetched_from_its_repository_without_what_may_run_code(hub, folder):
    seen = []
    path = fetch("tiny", lambda *done: seen.append(done), hub)
    assert path == folder / "tiny"
    assert sorted(file.name for file in path.iterdir() if not file.name.startswith(".")) == [
        "config.json",
        "model.safetensors",
    ]
    assert (path / "model.safetensors").read_bytes() == CONTENT
    sums = {"config.json": hashlib.sha256(b"{}").hexdigest(), "model.safetensors": SHA256}
    assert (folder / "tiny.sha256").read_text() == "".join(f"{sums[name]}  tiny/{name}\n" for name in sorted(sums))
    assert seen[-1] == (len(CONTENT) + 2, len(CONTENT) + 2)
    asked = Hub.asked
    fetch("tiny", table=hub)
    assert Hub.asked == asked == ("config.json", "model.safetensors")  # what is here is not fetched again


@pytest.mark.timeout(60)
def test_a_fetched_file_is_not_hashed_again_when_it_is_loaded(server, hub, folder, monkeypatch):
    monkeypatch.setattr(weights, "_LARGE", 1000)
    table_ = {**hub, "z": Weights("z", "z.pt", "https://example.org/page", f"{server}/one.zip")}
    paths = [fetch("w", table=table_), fetch("tiny", table=table_) / "model.safetensors", fetch("z", table=table_)]
    monkeypatch.setattr(weights, "_computed_sha256", lambda path: pytest.fail(f"{path} is hashed again"))
    weights._sha256.cache_clear()
    assert [file_sha256(path) for path in paths[:2]] == [SHA256] * 2
    hidden = {path.name for path in folder.glob(".*") if not path.name.endswith(".lock")}
    assert hidden == {".w.pt.sha256.json"}  # nothing of the archive is left


@pytest.mark.timeout(60)
def test_only_the_files_of_a_tokenizer_are_fetched_from_the_repository_of_its_model(hub, folder):
    tiny = dataclasses.replace(hub["tiny"], files=WEIGHTS["siglip2-tokenizer"].files)
    Hub.repository = {**Hub.repository, "tokenizer_config.json": b"{}"}
    with pytest.raises(DataError, match=r"publishes no tokenizer\.json"):
        fetch("tiny", table={"tiny": tiny})
    Hub.repository = {**Hub.repository, "tokenizer.json": b"{}", "spiece.model": b"s"}
    path = fetch("tiny", table={"tiny": tiny})
    fetched = {file.name for file in path.iterdir() if not file.name.startswith(".")}
    assert fetched == {"tokenizer.json", "tokenizer_config.json", "config.json", "spiece.model"}
    assert tiny.how_to_get.startswith(
        "earthinstruct weights fetch tiny, or get the files tokenizer.json, tokenizer_config"
    )


@pytest.mark.timeout(60)
def test_a_folder_that_did_not_come_whole_is_not_put_in_place_and_goes_on(hub, folder):
    Hub.broken = "config.json"
    Hub.repository = {"a.safetensors": b"first", **Hub.repository}
    with pytest.raises(DataError, match=r"config\.json cannot be fetched: 404"):
        fetch("tiny", table=hub)
    assert not (folder / "tiny").exists()
    Hub.broken = None
    assert (fetch("tiny", table=hub) / "model.safetensors").read_bytes() == CONTENT
    assert Hub.asked.count("a.safetensors") == 1


@pytest.mark.timeout(60)
def test_files_of_two_versions_of_a_repository_are_not_mixed(hub, folder):
    Hub.broken = "model.safetensors"
    Hub.repository = {"a.safetensors": b"old", "gone.json": b"{}", **Hub.repository}
    with pytest.raises(DataError, match="404"):
        fetch("tiny", table=hub)
    Hub.broken, Hub.commit = None, "d" * 40
    Hub.repository = {**Hub.repository, "a.safetensors": b"new", "config.json": b"{1}"}
    del Hub.repository["gone.json"]
    path = fetch("tiny", table=hub)
    assert {file.name: file.read_bytes() for file in path.iterdir() if not file.name.startswith(".")} == {
        "a.safetensors": b"new",
        "config.json": b"{1}",
        "model.safetensors": CONTENT,
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sent", [CONTENT[::-1], CONTENT[:-1]], ids=["other bytes", "cut"])
def test_a_file_that_is_not_the_published_one_is_not_kept(hub, folder, sent):
    Hub.sent = {"model.safetensors": sent, "ckpt/w.pt": sent}
    for name in hub:
        with pytest.raises(DataError, match=f"(expected {SHA256}; it is not kept|bytes, expected {len(CONTENT)})"):
            fetch(name, table=hub)
    assert not (folder / "tiny").exists()
    assert not (folder / "w.pt").exists()


@pytest.mark.timeout(60)
def test_a_file_of_a_hub_is_compared_with_its_published_hash(hub, folder):
    assert fetch("w", table=hub).read_bytes() == CONTENT
    assert (folder / "w.pt.sha256").read_text() == f"{SHA256}  w.pt\n"
    (folder / "w.pt").unlink()
    (folder / "w.pt.sha256").write_text(f"{'0' * 64}  w.pt\n")
    asked = Hub.asked
    with pytest.raises(DataError, match=rf"now has the sha256 {SHA256}, expected 0000.*w\.pt\.sha256 to accept"):
        fetch("w", table=hub)
    assert Hub.asked == asked  # 17 GB would come in vain


@pytest.mark.timeout(60)
def test_a_repository_without_what_is_looked_for_is_refused(hub, folder):
    Hub.repository = {"pytorch_model.bin": b"may run code", "config.json": b"{}"}
    with pytest.raises(DataError, match=r"publishes no \*\.safetensors"):
        fetch("tiny", table=hub)
    with pytest.raises(DataError, match=r"has no file ckpt/w\.pt"):
        fetch("w", table=hub)
    nobody = {"x": Weights("x", "x", hub["tiny"].page.replace("tiny", "none"))}
    with pytest.raises(DataError, match=r"none cannot be fetched: .*hf auth login"):
        fetch("x", table=nobody)


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


def test_the_token_of_the_user_goes_to_the_hub_alone(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    assert weights._credentials(WEIGHTS["sam3"]) == {"Authorization": "Bearer hf_secret"}
    assert weights._credentials(WEIGHTS["sam2_hiera_l"]) == {}


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
    hashes = [entry.sha256 for entry in WEIGHTS.values() if entry.sha256 is not None]
    assert len(hashes) == len(set(hashes)) == len(MODELS)  # a hash copied from the line above would be here twice
    assert all(re.fullmatch("[0-9a-f]{64}", known) for known in hashes)


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_row_says_what_it_was_trained_on_or_that_it_is_unknown(name):
    declared = WEIGHTS[name].training_data
    assert declared or name.endswith("-tokenizer")  # it has seen no image
    assert set(declared) <= {*TRAINING_SETS, UNKNOWN_DATA}
    assert len(set(declared)) == len(declared)
