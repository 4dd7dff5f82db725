"""What a preparer has read so far, kept beside its file: an interrupted preparation goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from earthinstruct.datasets.ground_truth import Sources, TrueImage
from earthinstruct.errors import DataError

Progress = Callable[[int, int], None]  # images read, images in all


class ImageRead(msgspec.Struct):
    """One image, and what did not fit together in it: kind -> sentences."""

    image: TrueImage
    differences: dict[str, list[str]] = {}


class _Line(msgspec.Struct):
    """One line of the journal; `stamps` are (bytes, nanoseconds of the last change) of the files it was read from."""

    stem: str
    stamps: list[tuple[int, int]]
    hashes: dict[str, dict[str, str]]
    read: ImageRead


_LINES: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


def read_images(
    journal: Path,
    settings: Mapping[str, Any],
    stems: Sequence[str],
    files_of: Callable[[str], Sequence[Path]],
    read: Callable[[str, Sources], ImageRead],
    sources: Sources,
    progress: Progress | None,
) -> list[ImageRead]:
    """Read every image, or take it from the journal where its files have not changed since.

    Args:
        journal: where to keep what was read; the caller removes it when the preparation is whole.
        settings: everything that changes what `read` gives; a journal of other settings is started again.
        stems: the images, by name.
        files_of: the files an image is read from.
        read: reads one image, its files through the `Sources` it is given.
        sources: collects the hashes of all that was read, now or before.
        progress: called after each image.

    Raises:
        DataError: a file is missing or malformed, or the journal cannot be written.
    """
    header = msgspec.json.encode(dict(settings), order="sorted") + b"\n"
    known, whole = _known(journal, header)
    images = []
    with _writable(journal, "r+b" if whole else "wb") as file:
        file.truncate(whole)
        file.seek(whole)
        if not whole:
            file.write(header)
        for done, stem in enumerate(stems, start=1):
            stamps = [_stamp(path) for path in files_of(stem)]
            line = known.get(stem)
            if line is None or line.stamps != stamps:
                of_image = Sources(sources.root)
                image = read(stem, of_image)
                line = _Line(stem, stamps, of_image.hashes, image)
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
            sources.add(line.hashes)
            images.append(line.read)
            if progress is not None:
                progress(done, len(stems))
    return images


def _known(journal: Path, header: bytes) -> tuple[dict[str, _Line], int]:
    """The lines of a journal under the same settings, and how many bytes of it are good: all before a torn line."""
    lines: dict[str, _Line] = {}
    if not journal.is_file():
        return lines, 0
    with journal.open("rb") as file:
        if file.readline() != header:
            return lines, 0
        whole = len(header)
        for content in file:
            try:
                line = _LINES.decode(content)
            except (msgspec.DecodeError, UnicodeDecodeError):
                break
            if not content.endswith(b"\n"):
                break
            lines[line.stem] = line
            whole += len(content)
    return lines, whole


@contextmanager
def _writable(journal: Path, mode: str) -> Iterator[BinaryIO]:
    try:
        with journal.open(mode) as file:
            yield cast(BinaryIO, file)
    except OSError as error:
        raise DataError(
            f"{journal} cannot be written: {error.strerror}; make room or give it write permission"
        ) from error


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:  # whoever reads it says so
        return -1, -1
    return status.st_size, status.st_mtime_ns
