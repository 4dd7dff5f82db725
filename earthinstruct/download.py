"""Download files: complete, unchanged and over https, or not at all. A broken download continues where it stopped.

A part is continued only if the server says that it is still of the same file (`ETag` and `If-Range`), or if the hash of
the whole file is known. What the server sends is checked: the range, the length, and the kind of content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from earthinstruct.errors import DataError
from earthinstruct.files import replace_file

if TYPE_CHECKING:
    import requests

Progress = Callable[[int, int | None], None]  # bytes so far, and in total if the server says so

_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 16  # bytes; the most that a broken connection loses
_LOCAL = ("localhost", "127.0.0.1", "::1")
_OK, _PART, _NO_SUCH_RANGE, _SERVER_ERRORS = 200, 206, 416, 500
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_AGAIN = "run the same command to start again"
_GO_ON = "The downloaded part is kept: run the same command to continue"


class _Version(msgspec.Struct):
    """Which file a part is of."""

    url: str
    etag: str | None
    sha256: str | None  # the known one


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> str:
    """Download one file. Only one process may download to a target at a time.

    Args:
        url: an https address; http only on this machine.
        target: where it is put when it is complete. Until then it is in `<target>.part`, described by
            `<target>.part.json`.
        sha256: its known hash; None: unknown. A file with another hash is not kept.
        size: its known size in bytes.
        headers: of the request; credentials are not sent on to another host.
        progress: a callback `(done, total)` in bytes.

    Returns:
        The sha256 of the file.

    Raises:
        DataError: the server cannot be reached, answers with an error or with something else than this file, or the
            file cannot be written.
    """
    import requests

    part = target.with_name(f"{target.name}.part")
    about = part.with_name(f"{part.name}.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _Download(url, part, about, sha256, size).run(headers or {}, progress)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 is not None and found != sha256:
            _discard(part, about, f"{url} has the sha256 {found}, expected {sha256}; it is not kept")
        part.replace(target)
        about.unlink(missing_ok=True)
    except requests.RequestException as error:
        refused = error.response is not None and error.response.status_code < _SERVER_ERRORS
        next_step = "Check the address, and whether it needs a login" if refused else _GO_ON
        raise DataError(f"{url} cannot be fetched: {error}. {next_step}") from error
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error}") from error
    return found


class _Download:
    def __init__(self, url: str, part: Path, about: Path, sha256: str | None, size: int | None) -> None:
        self.url = url
        self.part = part
        self.about = about
        self.sha256 = sha256
        self.size = size
        self.version = _read_version(about)

    def run(self, headers: Mapping[str, str], progress: Progress | None) -> None:
        """Fill the part until it is complete."""
        have = self._length_to_continue()
        etag = self.version.etag if self.version is not None and have else None
        asked = {"Accept-Encoding": "identity", **headers}
        asked |= {"Range": f"bytes={have}-"} if have else {}
        asked |= {"If-Range": etag} if etag else {}
        with _session() as session, session.get(self.url, headers=asked, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == _NO_SUCH_RANGE and answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # it is complete
            start, total = self._checked(answer, have)
            version = _Version(self.url, _strong(answer.headers.get("ETag")), self.sha256)
            replace_file(self.about, msgspec.json.encode(version))
            have = self._append(answer, start, total, progress)
        if total not in (None, have):
            raise DataError(f"{self.url} ended after {have} of {total} bytes; run the same command to continue")

    def _length_to_continue(self) -> int:
        """The length of a part that can be continued; any other is removed."""
        if self.part.is_symlink() or not self.part.exists():
            self.part.unlink(missing_ok=True)
            return 0
        of = self.version
        other_hash = of is not None and of.sha256 not in (None, self.sha256)
        same_file = of is not None and of.url == self.url and of.etag is not None
        if other_hash or (self.sha256 is None and not same_file):
            self.part.unlink()
            return 0
        return self.part.stat().st_size

    def _checked(self, answer: requests.Response, have: int) -> tuple[int, int | None]:
        """The first byte that is sent, and the size of the whole file if the server says it."""
        status, headers = answer.status_code, answer.headers
        if status == _NO_SUCH_RANGE:
            self._discard(f"has changed since its download began; {_AGAIN}")
        answer.raise_for_status()
        if status not in (_OK, _PART):
            raise DataError(f"{self.url} answers with the status {status}, expected {_OK}")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise DataError(f"{self.url} sends the file in the encoding {headers['Content-Encoding']}, not as it is")
        if headers.get("Content-Type", "").startswith("text/html"):
            raise DataError(
                f"{self.url} sends a web page and not the file; open it in a browser to see what it asks for"
            )
        length = int(headers["Content-Length"]) if headers.get("Content-Length", "").isdecimal() else None
        start, total = (0, length) if status == _OK else self._range(headers, have, length)
        if self.size is not None and total not in (None, self.size):
            self._discard(f"has {total} bytes, expected {self.size}; {_AGAIN}")
        total = self.size if total is None else total
        if total is None and headers.get("Transfer-Encoding") != "chunked" and self.sha256 is None:
            raise DataError(
                f"{self.url} does not say how long the file is, and its hash is unknown: a part would look complete"
            )
        return start, total

    def _range(self, headers: Mapping[str, str], have: int, length: int | None) -> tuple[int, int | None]:
        """The same, from the range of a part of the file."""
        sent = headers.get("Content-Range", "")
        match = _RANGE.fullmatch(sent)
        first, last = (int(match[1]), int(match[2])) if match is not None else (-1, -1)
        total = int(match[3]) if match is not None and match[3] != "*" else self.size
        fits = have and first == have and length in (None, last + 1 - first)
        fits = fits and (last < total if total is not None else self.sha256 is not None)
        if not fits:
            self._discard(f"sends the range {sent or 'of nothing'!r}, asked for bytes {have}-; {_AGAIN}")
        etag = _strong(headers.get("ETag"))
        if self.version is not None and self.version.etag and etag not in (None, self.version.etag):
            self._discard(f"has changed since its download began; {_AGAIN}")
        return first, total

    def _append(self, answer: requests.Response, start: int, total: int | None, progress: Progress | None) -> int:
        """Write what is sent; return the length of the part."""
        have = start
        with self.part.open("ab" if start else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                if total is not None and have > total:
                    break
                if progress is not None:
                    progress(have, total)
        if total is not None and have > total:
            self._discard(f"sends more than {total} bytes; {_AGAIN}")
        return have

    def _discard(self, problem: str) -> NoReturn:
        _discard(self.part, self.about, f"{self.url} {problem}")


def _discard(part: Path, about: Path, problem: str) -> NoReturn:
    part.unlink(missing_ok=True)
    about.unlink(missing_ok=True)
    raise DataError(problem)


def _read_version(about: Path) -> _Version | None:
    try:
        return msgspec.json.decode(about.read_bytes(), type=_Version)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _strong(etag: str | None) -> str | None:
    """An ETag that names these very bytes; a weak one only says that the content is much the same."""
    return None if etag is None or etag.startswith("W/") else etag


def _session() -> requests.Session:
    """A session that only connects to https addresses and to this machine, also after a redirect."""
    import requests

    class HttpsSession(requests.Session):
        def get_adapter(self, url: str) -> Any:
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in _LOCAL:
                raise DataError(f"{parts.scheme}://{parts.hostname} is not allowed: only https addresses are")
            return super().get_adapter(url)

    return HttpsSession()
