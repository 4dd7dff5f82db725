"""Downloads from a server on this machine that cuts, lies, changes its file, and answers what was not asked."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from earthinstruct.download import download
from earthinstruct.errors import DataError

OLD, NEW = bytes(range(256)) * 4000, bytes(reversed(range(256))) * 4000
SHA256 = hashlib.sha256(OLD).hexdigest()
CUT = 600_000


class Server(BaseHTTPRequestHandler):
    """Serves one file. Attributes change what it does; `requests` are the headers that came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if self.path == "/away":
            self.head(302, Location="http://example.org/file")
            return
        content, start, status = server.content, 0, 200
        if "Range" in self.headers and server.ranges:
            asked = self.headers.get("If-Range")
            if asked in (None, server.etag) or server.ignores_if_range:
                start, status = int(self.headers["Range"][6:-1]), 206
        if start >= len(content) > 0 and status == 206:
            self.head(416, **{"Content-Range": f"bytes */{len(content)}"})
            return
        body = content[start:]
        headers = {"Content-Length": str(len(body))} | ({"ETag": server.etag} if server.etag else {})
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers |= server.headers
        headers = {name: value for name, value in headers.items() if value is not None}
        self.head(server.status or status, **headers)
        cut, server.cut = server.cut, None
        body = body if server.body is None else server.body
        if headers.get("Transfer-Encoding") == "chunked":
            body = b"%x\r\n%b\r\n" % (len(body), body) + b"0\r\n\r\n"
        self.wfile.write(body[:cut])
        if cut is not None or "Content-Length" not in headers:
            self.close_connection = True

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in (
            {"Content-Length": "0"} if status in (302, 416) else {} | headers
        ).items() | headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.content, running.etag, running.cut, running.requests = OLD, '"old"', None, []
        running.headers, running.status, running.body = {}, None, None
        running.ranges, running.ignores_if_range = True, False
        running.url = f"http://127.0.0.1:{running.server_port}/file"
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "file.pt"


def here(target):
    return sorted(path.name for path in target.parent.iterdir())


def broken(server, target, **options):
    """A download that breaks after most of the file; returns the length that was kept."""
    server.cut = CUT
    with pytest.raises(DataError, match="run the same command to continue"):
        download(server.url, target, **options)
    assert not target.exists()
    return (target.parent / "file.pt.part").stat().st_size


def test_a_file_is_fetched_whole_with_progress(server, target):
    seen = []
    assert download(server.url, target, progress=lambda *done: seen.append(done)) == SHA256
    assert target.read_bytes() == OLD
    assert here(target) == ["file.pt"]
    assert seen[-1] == (len(OLD), len(OLD))


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_broken_download_continues_where_it_stopped(server, target, sha256):
    kept = broken(server, target, sha256=sha256)
    assert 0 < kept <= CUT
    download(server.url, target, sha256=sha256)
    assert target.read_bytes() == OLD
    assert server.requests[1]["Range"] == f"bytes={kept}-"
    assert server.requests[1]["If-Range"] == '"old"'
    assert here(target) == ["file.pt"]


def test_a_part_whose_hash_is_known_continues_without_an_etag(server, target):
    server.etag = None
    kept = broken(server, target, sha256=SHA256)
    download(server.url, target, sha256=SHA256)
    assert server.requests[1]["Range"] == f"bytes={kept}-"
    assert "If-Range" not in server.requests[1]


@pytest.mark.parametrize("etag", [None, 'W/"old"'], ids=["none", "weak"])
def test_a_part_of_which_nothing_is_known_starts_again(server, target, etag):
    server.etag = etag
    broken(server, target)
    server.content = NEW
    assert download(server.url, target) == hashlib.sha256(NEW).hexdigest()
    assert "Range" not in server.requests[1]


def test_a_file_that_changed_meanwhile_is_fetched_anew_and_never_mixed(server, target):
    broken(server, target)
    server.content, server.etag = NEW, '"new"'
    download(server.url, target)
    assert target.read_bytes() == NEW


def test_a_server_that_ignores_if_range_is_found_by_its_etag(server, target):
    broken(server, target)
    server.content, server.etag, server.ignores_if_range = NEW, '"new"', True
    with pytest.raises(DataError, match="has changed since its download began"):
        download(server.url, target)
    assert here(target) == []
    download(server.url, target)
    assert target.read_bytes() == NEW


def test_a_server_without_ranges_sends_all_of_it(server, target):
    broken(server, target)
    server.ranges = False
    download(server.url, target)
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("about", [b"", b"{", b'{"url": 1}', None])
def test_a_part_that_is_described_badly_starts_again(server, target, about):
    broken(server, target)
    described = target.parent / "file.pt.part.json"
    described.write_bytes(about) if about is not None else described.unlink()
    download(server.url, target)
    assert target.read_bytes() == OLD
    assert "Range" not in server.requests[1]


def test_the_part_of_another_address_or_another_hash_starts_again(server, target):
    broken(server, target)
    download(server.url.replace("file", "other"), target)
    assert "Range" not in server.requests[1]
    target.unlink()
    broken(server, target, sha256="0" * 64)
    download(server.url, target, sha256=SHA256)
    assert "Range" not in server.requests[3]


def test_a_part_that_is_already_whole_is_taken(server, target):
    broken(server, target)
    (target.parent / "file.pt.part").write_bytes(OLD)
    download(server.url, target)
    assert target.read_bytes() == OLD


def test_a_part_that_is_longer_than_the_file_is_not(server, target):
    broken(server, target)
    (target.parent / "file.pt.part").write_bytes(OLD + b"more")
    with pytest.raises(DataError, match="has changed since its download began"):
        download(server.url, target)
    assert here(target) == []


@pytest.mark.parametrize(
    "sent",
    [
        *("bytes 0-1023999/1024000", "bytes 700000-1023999/1024000", "bytes {kept}-1023998/1024000"),
        *("bytes */1024000", None, "items {kept}-1023999/1024000"),
        *("bytes {kept}-2000000/1024000", "bytes {kept}-1023999/*"),
    ],
)
def test_another_range_than_the_one_asked_for_is_refused(server, target, sent):
    kept = broken(server, target)
    server.headers = {"Content-Range": sent and sent.format(kept=kept)}
    with pytest.raises(DataError, match=rf"sends the range .*, asked for bytes {kept}-; run the same command to start"):
        download(server.url, target)
    assert here(target) == []


def test_a_range_that_nobody_asked_for_is_refused(server, target):
    server.status, server.headers = 206, {"Content-Range": f"bytes 0-{len(OLD) - 1}/{len(OLD)}"}
    with pytest.raises(DataError, match="asked for bytes 0-"):
        download(server.url, target)


def test_a_range_that_is_cut_short_continues(server, target):
    """Some servers send a limited number of bytes at a time, and say so."""
    kept = broken(server, target)
    server.headers = {"Content-Range": f"bytes {kept}-{kept + 999}/{len(OLD)}", "Content-Length": "1000"}
    server.body = OLD[kept : kept + 1000]
    with pytest.raises(DataError, match=f"ended after {kept + 1000} of {len(OLD)} bytes"):
        download(server.url, target)
    server.headers, server.body = {}, None
    assert download(server.url, target) == SHA256


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_body_without_a_length_needs_a_known_hash(server, target, sha256):
    """A body that ends when the connection does can be cut anywhere."""
    server.headers, server.cut = {"Content-Length": None}, CUT
    with pytest.raises(DataError, match="its hash is unknown" if sha256 is None else f"expected {SHA256}; it is not"):
        download(server.url, target, sha256=sha256)
    assert not target.exists()
    server.cut = None
    if sha256 is not None:
        assert download(server.url, target, sha256=sha256) == SHA256


def test_a_body_in_chunks_is_whole_or_refused(server, target):
    server.headers = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    broken(server, target)
    server.headers |= {"Content-Length": None}
    server.ranges = False
    assert download(server.url, target) == SHA256


@pytest.mark.parametrize(
    ("headers", "body", "problem"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(OLD), "sends the file in the encoding gzip"),
        ({"Content-Type": "text/html; charset=utf-8"}, None, "sends a web page and not the file"),
        ({"Content-Length": "10"}, OLD[:10], "has 10 bytes, expected 1024000"),
    ],
)
def test_what_is_not_the_file_is_refused(server, target, headers, body, problem):
    server.headers, server.body = headers, body
    if body is not None:
        server.headers = {**headers, "Content-Length": str(len(body))}
    with pytest.raises(DataError, match=problem):
        download(server.url, target, size=len(OLD))
    assert not target.exists()


def test_more_than_the_known_size_does_not_fill_the_disk(server, target):
    server.headers, server.content = {"Content-Length": None, "Transfer-Encoding": "chunked"}, OLD * 10
    with pytest.raises(DataError, match="sends more than 1000 bytes"):
        download(server.url, target, size=1000)
    assert here(target) == []


@pytest.mark.parametrize("status", [204, 404, 500])
def test_another_status_is_an_error(server, target, status):
    server.status, server.headers, server.body = status, {"Content-Length": "0"}, b""
    with pytest.raises(DataError, match=str(status)):
        download(server.url, target)
    assert not target.exists()


def test_a_file_of_another_hash_is_not_kept(server, target):
    with pytest.raises(DataError, match=f"has the sha256 {SHA256}, expected 0000"):
        download(server.url, target, sha256="0" * 64)
    assert here(target) == []


@pytest.mark.parametrize("url", ["http://example.org/file", "{server}/away"])
def test_only_https_is_followed(server, target, url):
    with pytest.raises(DataError, match="only https"):
        download(url.format(server=server.url.removesuffix("/file")), target)


def test_no_link_is_followed_in_the_place_of_a_part(server, target, tmp_path):
    target.parent.mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (target.parent / "file.pt.part").symlink_to(tmp_path / "mine")
    download(server.url, target, sha256=SHA256)
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert target.read_bytes() == OLD


def test_a_server_out_of_reach_is_an_error(no_server, target):
    with pytest.raises(DataError, match="cannot be fetched"):
        download(f"{no_server}/file", target)


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be written"):
        download(server.url, tmp_path / "file" / "a.pt")
