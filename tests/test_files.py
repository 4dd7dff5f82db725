"""Files are replaced as a whole, and folders appear as a whole, whatever happens in between."""

import errno
import os
from pathlib import Path

import pytest

from earthinstruct.errors import DataError
from earthinstruct.files import new_folder, replace_file

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def parts_then_full():
    yield b"new, "
    raise FULL


def test_a_file_is_replaced(tmp_path):
    file = tmp_path / "file"
    replace_file(file, b"old")
    replace_file(file, iter([b"new, ", b"whole"]))
    assert file.read_bytes() == b"new, whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_is_the_old_one(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, parts_then_full())
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_the_old_one_until_the_new_one_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    seen = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (seen.append(file.read_bytes()), sync(number)))
    replace_file(file, b"new")
    assert seen == [b"old"]
    assert file.read_bytes() == b"new"


def test_a_folder_is_there_when_it_is_whole(tmp_path):
    with new_folder(tmp_path / "set", "name another") as part:
        (part / "file").write_text("")
        assert not (tmp_path / "set").exists()
    assert (tmp_path / "set/file").exists()
    with pytest.raises(DataError, match="exists already; name another"), new_folder(tmp_path / "set", "name another"):
        pass


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupt"])
def test_nothing_is_left_of_a_folder_that_was_not_finished(tmp_path, error):
    with pytest.raises((DataError, KeyboardInterrupt)), new_folder(tmp_path / "set", "") as part:
        Path(part / "file").write_text("")
        raise error
    assert list(tmp_path.iterdir()) == []
