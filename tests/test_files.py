"""Files are replaced as a whole, and folders appear as a whole, whatever happens in between."""

import errno
import json
import os
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from earthinstruct.errors import DataError
from earthinstruct.files import LineFile, decode_yaml, new_folder, replace_file

POSIX = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
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


@POSIX
def test_a_file_is_written_under_a_name_of_its_own_and_no_link_is_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    target = folder / "file"
    for name in ("file", "file.tmp", ".file.tmp", "file.part"):
        (folder / name).symlink_to(victim)
    names = []
    monkeypatch.setattr("earthinstruct.files.uuid4", lambda: names.append(uuid4()) or names[-1])
    replace_file(target, b"new")
    assert (victim.read_bytes(), target.read_bytes(), target.is_symlink()) == (b"mine", b"new", False)
    # not even one with the name that is drawn next
    monkeypatch.setattr("earthinstruct.files.uuid4", lambda: names[0])
    taken = folder / f".file.{names[0].hex}.tmp"
    taken.symlink_to(victim)
    with pytest.raises(FileExistsError):
        replace_file(target, b"newer")
    assert (victim.read_bytes(), target.read_bytes()) == (b"mine", b"new")


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_and_folders_have_the_permissions_that_the_user_asked_for(tmp_path, mask):
    before = os.umask(mask)
    try:
        replace_file(tmp_path / "file", b"")
        with new_folder(tmp_path / "set", ""):
            pass
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "set")]
    assert modes == [0o666 & ~mask, 0o777 & ~mask]


def test_a_file_with_the_longest_name_is_replaced(tmp_path):
    for name in ("n" * 255, "\u00e9" * 127):
        replace_file(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"


@POSIX
def test_a_device_or_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_file(pipe, b"new")
    assert os.read(reader, 9) == b"new"
    os.close(reader)
    assert pipe.is_fifo()
    replace_file(Path(os.devnull), b"new")
    assert not Path(os.devnull).is_file()


def whole_lines(file):
    content = file.read_bytes()
    assert not content or content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


@POSIX
def test_a_line_that_a_full_disk_takes_in_part_is_not_there_and_the_next_one_is_whole(tmp_path):
    """The disk is full after each number of bytes, and has room again later."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in range(1, 120, 7):
        path = tmp_path / f"{room}.jsonl"
        kept = []
        with LineFile(path) as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
            try:
                with pytest.raises(OSError, match="File too large"):
                    for number in range(100):
                        file.append(b'{"number": %d}' % number)
                        kept.append(number)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert [line["number"] for line in whole_lines(path)] == kept
            file.append(b'{"number": 100}')
        with LineFile(path) as file:
            file.append(b'{"number": 101}')
        assert [line["number"] for line in whole_lines(path)] == [*kept, 100, 101]


@POSIX
def test_a_file_that_is_no_longer_there_takes_no_line(tmp_path):
    for number, lose in enumerate((Path.unlink, lambda path: path.rename(tmp_path / "elsewhere"))):
        path = tmp_path / f"{number}.jsonl"
        with LineFile(path) as file:
            file.append(b"[1]")
            lose(path)
            with pytest.raises(FileNotFoundError):
                file.append(b"[2]")
            path.write_bytes(b"")  # another file
            with pytest.raises(FileNotFoundError, match="the file was replaced"):
                file.append(b"[3]")
            assert path.read_bytes() == b""


def test_a_line_that_is_interrupted_is_not_there(tmp_path):
    class Interrupted:
        """A file that takes three bytes, then the user stops the program."""

        def __init__(self, file):
            self.file = file
            self.taken = 0

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            if self.taken:
                raise KeyboardInterrupt
            self.taken = self.file.write(content[:3])
            return self.taken

    path = tmp_path / "lines.jsonl"
    with LineFile(path) as file:
        file.append(b"[1]")
        file._file, raw = Interrupted(file._file), file._file
        with pytest.raises(KeyboardInterrupt):
            file.append(b"[2, 2]")
        file._file = raw
        file.append(b"[3]")
    assert whole_lines(path) == [[1], [3]]


@pytest.mark.parametrize("size", [1, 60_000, 150_000])
def test_a_file_of_a_killed_program_is_cut_back_to_its_whole_lines(tmp_path, size):
    path = tmp_path / "lines.jsonl"
    first, second = (b'{"text": "%s"}' % (letter * size) for letter in (b"a", b"\\u00e9"))
    whole = first + b"\n" + second + b"\n"
    for cut in (0, 1, len(first) - 1, len(first), len(first) + 1, len(first) + 9, len(whole) - 3, len(whole) - 2):
        path.write_bytes(whole[:cut])
        with LineFile(path) as file:
            file.append(b"[]")
        lines = [line for end, line in ((len(first), first), (len(whole) - 1, second)) if cut >= end]
        assert path.read_bytes().splitlines() == [*lines, b"[]"]
    for torn in (b"\0" * 5000, b"\xff", b"[" * 100_000):
        path.write_bytes(whole + torn)
        LineFile(path).close()
        assert path.read_bytes() == whole


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


def test_anchors_of_yaml_may_loop_and_nest():
    loop = decode_yaml("&a\nb: *a\n")
    assert loop["b"] is loop
    nested = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 26))
    assert len(decode_yaml(nested)) == 26


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('1: a\n"1": b', {1: "a", "1": "b"}),
        ("a: &a {x: 1}\nb: &b {y: 1}\nc:\n  <<: *a\n  <<: *b\n  x: 2\n", {"x": 2, "y": 1}),
        ("=: 1", {"=": 1}),
        ("", None),
    ],
)
def test_keys_of_yaml_that_are_not_there_twice(text, value):
    read = decode_yaml(text)
    assert (read["c"] if "<<" in text else read) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: [{a: 1, a: 2}]", "'a' is there twice"),
        ("0: a\n0x0: b", "'0x0' is there twice"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("[" * 500, "recursion"),
    ],
)
def test_what_is_no_yaml_is_an_error(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        decode_yaml(text)
