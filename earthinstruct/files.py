"""Read JSON files, and write files and folders atomically. Malformed files raise a `DataError` that names the file.

JSON is read the same way from every file: gzip and any Unicode encoding are recognised; keys twice in one object, `NaN`
and `Infinity` are refused; `1.0` is read as the whole number 1 where one is expected.
"""

from __future__ import annotations

import codecs
import errno
import gc
import gzip
import io
import json
import lzma
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from earthinstruct.errors import DataError

_T = TypeVar("_T")
Kinds = Mapping[type, int]  # type -> how many values have it

# what zipfile raises for a damaged archive; RuntimeError: an entry is said to be encrypted
DAMAGED_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, LookupError, RuntimeError, ValueError),
)

_MARKS = (  # the marks of UTF-32 begin like those of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KEYS_OF_YAML = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")  # `<<`, which may be repeated, and `=`
_OF_MACOS = "__MACOSX"  # a folder that macOS adds to archives
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_GZIP = b"\x1f\x8b"
_MOST_UNPACKED = 1 << 32  # bytes; a few kilobytes of gzip could fill the memory otherwise
_PIECE = 1 << 16  # bytes
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # on some file systems
_DEVICES = (Path("/dev"), Path("/dev/fd"))  # /dev/stdout may be a link to a file
_SHOWN = 60  # characters of a value in an error
_LONGEST_NAME = 60  # characters of at most 4 bytes; file systems allow 255 bytes


def is_hidden(path: Path) -> bool:
    """Whether a path, relative to the folder that is searched, is hidden, such as the `._a.txt` that macOS writes."""
    return any((part.startswith(".") and part != "..") or part == _OF_MACOS for part in path.parts)


def plain_name(name: str) -> str:
    """A name for a file or a folder: unsafe characters are replaced, and a long name is cut.

    >>> plain_name("my method/v2")
    'my-method-v2'
    """
    plain = "".join(character if character.isalnum() or character in "-_." else "-" for character in name)
    return plain[:_LONGEST_NAME].strip(".") or "unnamed"


def read_bytes(path: Path, what: str) -> bytes:
    """Read a file.

    Raises:
        DataError: the file cannot be read; the message starts with `what`.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror}") from error


def read_text(path: Path, what: str) -> str:
    """Read a text file in UTF-8, or with the byte order mark of UTF-8, UTF-16 or UTF-32.

    Raises:
        DataError: the file cannot be read or has another encoding; the message starts with `what`.
    """
    return decode_text(read_bytes(path, what), f"{what} {path}")


def decode_text(content: bytes, where: str) -> str:
    """Decode the content of a text file, as `read_text` does.

    Raises:
        DataError: it has another encoding; the message starts with `where`.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: {_undecodable(error)}") from error


def decode_yaml(text: str) -> Any:
    """Decode YAML as plain values.

    Raises:
        yaml.YAMLError: it is malformed, or has a key twice in one mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            found = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag not in _KEYS_OF_YAML:
                    value = self.construct_object(key)
                    if value in found:
                        raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
                    found.add(value)
            return node

    try:
        loader = Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # for values such as the date 2024-13-45
        raise yaml.YAMLError(str(error)) from error


def read_json(path: Path, kind: type[_T], what: str, form: str) -> _T:
    """Read a JSON file.

    Args:
        path: the file.
        kind: the type of its content, for msgspec.
        what: what the file is, for errors ("label map").
        form: its form, for errors ('{"car": "vehicle"}').

    Raises:
        DataError: the file cannot be read or does not hold a value of that type.
    """
    problem = f"{what} {path}: {{error}}. The form of a {what}: {form}"
    return decode_json(read_bytes(path, what), msgspec.json.Decoder(kind), problem)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the search for reference cycles, of which decoded files have none: it would take longer than decoding."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def decode_json(content: bytes, decoder: msgspec.json.Decoder[_T], problem: str) -> _T:
    """Decode and check JSON.

    Args:
        content: the content of a file, as in `checked_json`.
        decoder: a decoder for the expected type.
        problem: the error message; `{error}` in it is replaced by the place and the reason.

    Raises:
        DataError: the content is not JSON of that type.
    """
    return decode_checked(checked_json(content, problem), decoder, problem)


def decode_counted(content: bytes, decode: Callable[[bytes], _T], texts: Callable[[_T], int]) -> _T | None:
    """Decode JSON of many small objects, faster than `decode_json`.

    Args:
        content: the content of a file.
        decode: decodes the content into the expected type, with msgspec.
        texts: counts the keys and the texts in a decoded value; keys that hold null may be left out. If the content has
            no more, no key is there twice or unknown.

    Returns:
        The value. None: the content must be read by `decode_json`, which finds out what is wrong, if anything.
    """
    try:
        value = decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if 2 * texts(value) == content.count(b'"') else None


def kinds_of(values: Sequence[object]) -> Kinds:
    """Count the values of each type; it is fast where all have the same one."""
    kinds = set(map(type, values))
    return {kinds.pop(): len(values)} if len(kinds) == 1 else Counter(map(type, values))


def is_clear_beside(content: bytes, field: str) -> bool:
    """Whether `checked_json` refuses nothing in a JSON object but, perhaps, in the value of a field.

    False also stands for content that only `checked_json` can read.
    """
    try:
        content.decode()
        values = _FIELDS.decode(content)
        quotes = 2 * len(values) + sum(bytes(value).count(b'"') for value in values.values())
        others = [bytes(value).decode() for name, value in values.items() if name != field]
        return quotes == content.count(b'"') and not any(map(_is_ambiguous, others))  # with a key twice, there are more
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def checked_json(content: bytes, problem: str, *, lines: bool = False) -> bytes:
    """Convert the content of a JSON file to plain JSON.

    Args:
        content: JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark, plain or in gzip.
        problem: as in `decode_json`.
        lines: whether JSON lines, one object a line, are read as a list.

    Returns:
        The JSON in UTF-8, without a byte order mark.

    Raises:
        DataError: the content is not JSON, has a key twice in one object, or has `NaN` or `Infinity`.
    """
    try:
        if content.startswith(_GZIP):
            content = _unpacked(content, problem)
        encoding = json.detect_encoding(content)
        text = content.decode(encoding)
        if _is_ambiguous(text):
            raise _error(problem, _ambiguity(text))
    except json.JSONDecodeError as error:
        if lines and error.msg == "Extra data" and text.lstrip().startswith("{"):
            return checked_json(_as_list(text), problem)
        raise _error(problem, _syntax(error)) from error
    except UnicodeDecodeError as error:
        raise _error(problem, _undecodable(error)) from error
    except RecursionError as error:
        raise _error(problem, "lists and objects are nested too deeply") from error
    return content if encoding == "utf-8" else text.encode("utf-8", "surrogatepass")


def decode_checked(content: bytes, decoder: msgspec.json.Decoder[_T], problem: str) -> _T:
    """Decode JSON that `checked_json` returned, or a part of it.

    Args:
        content: the JSON.
        decoder: as in `decode_json`.
        problem: as in `decode_json`.

    Raises:
        DataError: the JSON has another type.
    """
    try:
        try:
            return decoder.decode(content)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            return decoder.decode(_WITH_FRACTION.sub(_without_fraction, content))  # pandas writes ids as 1.0
    except msgspec.ValidationError as error:
        raise _error(problem, _misfit(content, decoder, error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _error(problem, f"invalid text, such as half of a surrogate pair ({error})") from error
    except RecursionError as error:
        raise _error(problem, "lists and objects are nested too deeply") from error


def _error(problem: str, reason: str) -> DataError:
    return DataError(problem.replace("{error}", reason))


def _undecodable(error: UnicodeDecodeError) -> str:
    line = error.object.count(b"\n", 0, error.start) + 1
    byte = error.object[error.start]
    return f"line {line} has the byte 0x{byte:02x}, which is not {error.encoding.upper()}; save the file as UTF-8"


def _as_list(lines: str) -> bytes:
    """Write JSON lines as a list, with line breaks at the same places."""
    entries = 0
    rows = []
    for line in lines.split("\n"):
        rows.append(f",{line}" if entries and line.strip() else line)
        entries += bool(line.strip())
    return f"[{chr(10).join(rows)}]".encode("utf-8", "surrogatepass")


def _unpacked(content: bytes, problem: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(_MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _error(problem, f"the gzip file is damaged ({error}); copy it again") from error
    if len(unpacked) > _MOST_UNPACKED:
        raise _error(problem, f"the gzip file holds more than {_MOST_UNPACKED >> 30} GiB; unpack it first")
    return unpacked


def _is_ambiguous(text: str) -> bool:
    """Whether an object of a JSON text has a key twice, or a number is `NaN` or infinite."""
    found = False

    def of_object(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found |= len(dict(pairs)) != len(pairs)

    def of_constant(constant: str) -> None:
        nonlocal found
        found = True

    # numbers are replaced by their lengths, and objects by None: a third of the time, and almost no memory
    json.loads(text, object_pairs_hook=of_object, parse_constant=of_constant, parse_int=len, parse_float=len)
    return found


@dataclass(frozen=True)
class _Fault:
    """Stands in decoded JSON for an ambiguous value."""

    reason: str


def _ambiguity(text: str) -> str:
    """Describe the first ambiguous value of a JSON text."""

    def of_object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Fault:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                return _Fault(f"has the key {_shown(key)} twice, as {_shown(found[key])} and {_shown(value)}; keep one")
            found[key] = value
        return found

    def of_constant(constant: str) -> _Fault:
        return _Fault(f"is {constant}, which is no number; write a number or null, or leave the entry out")

    data = json.loads(text, object_pairs_hook=of_object, parse_constant=of_constant)
    left: list[tuple[Any, _Path]] = [(data, ())]
    while left:
        value, path = left.pop()
        if isinstance(value, _Fault):
            return f"{_place(data, path) or 'the object'} {value.reason}"
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        left.extend(reversed([(item, (*path, key)) for key, item in items]))
    raise AssertionError("no ambiguous value")


def _syntax(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return "the file is empty"
    found = error.doc[error.pos :].splitlines()[:1] or [""]
    place = f"column {error.colno}" if "\n" not in error.doc.strip() else f"line {error.lineno}, column {error.colno}"
    return f"{place} is not JSON: {error.msg}, found {_shown(found[0]) if found[0] else 'the end of the file'}"


_Path = tuple[str | int, ...]
_WITH_FRACTION = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)')
_MISFIT = re.compile(r"(.*?)(?: - at (`key` in )?`\$(.*)`)?")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[(\.\.\.)\]")
_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "a list",
}


def _without_fraction(match: re.Match[bytes]) -> bytes:
    """Write a whole float as an integer; texts and other numbers stay."""
    text = match[0]
    if text.startswith(b'"'):
        return text
    number = float(text)
    return str(int(number)).encode() if number.is_integer() and abs(number) < 2**53 else text


def _misfit(content: bytes, decoder: msgspec.json.Decoder[Any], error: msgspec.ValidationError) -> str:
    """Describe the value that has the wrong type, with its place."""
    data = json.loads(content)
    message, of_key, steps = _split(error)
    if isinstance(data, dict) and (of_key or steps[:1] == ("...",)):  # msgspec names no key of a mapping
        for key, value in data.items():
            try:
                decoder.decode(json.dumps({key: value}).replace("Infinity", "1e999"))  # which was written so
            except msgspec.ValidationError as of_entry:
                message, of_key, steps = _split(of_entry)
                data, steps = {key: value}, (key, *steps[1:])
                break
    path = steps[: steps.index("...")] if "..." in steps else steps
    value = data
    for step in path:
        value = value[step]
    place = _place(data, path)
    if (missing := re.fullmatch("Object missing required field `(.*)`", message)) is not None:
        keys = ", ".join(map(_shown, value)) or "nothing"
        return f"{place or 'the object'} has no {_shown(missing[1])}; it has {keys}"
    if (unknown := re.fullmatch("Object contains unknown field `(.*)`", message)) is not None:
        return f"{place or 'the object'} has the unknown field {_shown(unknown[1])}"
    if of_key:
        return f"{place or 'the object'} is the key of an entry; expected {_expected(message)}"
    return f"{place or 'the file'} is {_shown(value)}; expected {_expected(message)}"


def _split(error: msgspec.ValidationError) -> tuple[str, bool, _Path]:
    """Split an error of msgspec into its message, whether it is about a key, and the path of the value."""
    match = _MISFIT.fullmatch(str(error))
    if match is None:
        return str(error), False, ()
    steps = (int(step[2]) if step[2] else step[1] or "..." for step in _STEP.finditer(match[3] or ""))
    return match[1], match[2] is not None, tuple(steps)


def _expected(message: str) -> str:
    words = message.removeprefix("Expected ").partition(", got ")[0]
    if words == "Number out of range":
        return "a smaller number"
    return re.sub(
        "`([^`]*)`", lambda match: " or ".join(_IN_WORDS.get(name, name) for name in match[1].split(" | ")), words
    )


def _place(data: Any, path: _Path) -> str:
    """Describe a place in JSON in words: `annotations[5] (id 12), bbox[0]`."""
    words: list[str] = []
    for step in path:
        data = data[step]
        if isinstance(step, str):
            words.append(step if step.isidentifier() else json.dumps(step, ensure_ascii=False))
        elif words and "(" not in words[-1]:
            words[-1] += f"[{step}]"
        else:
            words.append(f"entry {step}")
        name = next((key for key in ("id", "image_id") if isinstance(data, dict) and key in data), None)
        if name is not None and isinstance(data[name], str | int):
            words[-1] += f" ({name.replace('_', ' ')} {data[name]})"
    return ", ".join(words)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=lambda fault: fault.reason)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def as_json(value: Any) -> bytes:
    """Encode a value as indented JSON with a final line break, keys in the order of the fields."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file atomically: readers see the old or the new content, even if the program stops in between.

    Args:
        path: the file.
        content: the bytes, at once or in pieces.

    A device or a pipe is written to. A symbolic link is replaced by the file.

    Raises:
        OSError: the file cannot be written.
    """
    pieces = [content] if isinstance(content, bytes) else content
    if path.absolute().parent in _DEVICES or (path.exists() and not path.is_file()):
        with path.open("wb") as file:
            file.writelines(pieces)
        return
    with _beside(path, pieces) as whole:
        whole.replace(path)


@contextmanager
def writing(path: Path, next_step: str = "", *, folder: Path | None = None) -> Iterator[None]:
    """Make the folder of a file that is written inside; what fails is said in words.

    Args:
        path: the file.
        next_step: what the user can do.
        folder: the folder; None: that of the file.

    Raises:
        DataError: the folder cannot be made, or the file cannot be written, for example because the disk is full.
    """
    try:
        (folder or path.parent).mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        step = f"; {next_step}" if next_step else ""
        raise DataError(f"{path} cannot be written: {error.strerror or error}{step}") from error


def new_file(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, atomically.

    Raises:
        FileExistsError: it exists; it is not changed.
        OSError: it cannot be written; nothing of it is left.
    """
    with _beside(path, [content]) as whole:
        try:
            path.hardlink_to(whole)  # unlike a rename, it never replaces
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            whole.replace(path)


@contextmanager
def _beside(path: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """Write a file beside a path, onto the disk; what is left of it at the end is removed."""
    # a name of its own: two processes may write the same file, and nobody can have put a link there
    beside = path.with_name(f".{path.name[:_LONGEST_NAME]}.{uuid4().hex}.tmp")
    try:
        with beside.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut after the rename could leave an empty file
        yield beside
    finally:
        beside.unlink(missing_ok=True)


class LineFile:
    """A file of JSON lines that grows line by line; made if it is missing.

    A line is appended as a whole, or not at all. Only a program that is killed can leave a torn last line. Opening cuts
    it off, and ends a last line that only lacks its line break. Nobody else may write to the file meanwhile.

    Raises:
        OSError: the file cannot be opened or mended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._file = path.open("a+b", buffering=0)
        try:
            self._end_last_line()
        except BaseException:
            self._file.close()
            raise

    def append(self, line: bytes) -> None:
        """Append a line, and hand it to the operating system.

        Raises:
            OSError: it cannot be written, for example because the disk is full, or the file was removed; nothing of it
                is left in the file.
        """
        if not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "the file was replaced while it was written", str(self._path))
        end = self._file.seek(0, os.SEEK_END)
        rest = line + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) :]  # a full disk takes a part, then raises
        except BaseException:
            self._file.truncate(end)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> LineFile:
        """Nothing more is done."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def _end_last_line(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        last = b""
        while len(last) < end and b"\n" not in last:
            self._file.seek(max(0, end - max(2 * len(last), _PIECE)))
            last = self._file.readall()
        last = last[last.rfind(b"\n") + 1 :]
        if is_json(last):
            self.append(b"")
        elif last:
            self._file.truncate(end - len(last))


def is_json(line: bytes) -> bool:
    """Whether a line is JSON as a whole, unlike one that was cut."""
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def remove_unfinished(folder: Path) -> None:
    """Remove what `replace_file` left in a folder when the program was killed. Nobody else may write there meanwhile.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in folder.glob(f".*.{'[0-9a-f]' * 32}.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, next_step: str) -> Iterator[Path]:
    """Create a folder atomically: fill a temporary folder, which is renamed at the end, or removed after an error.

    Args:
        folder: the final name; must be missing or empty.
        next_step: advice for the error message if the folder is not empty.

    Raises:
        DataError: `folder` is not empty or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} exists already; {next_step}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f".{folder.name[:_LONGEST_NAME]}.{uuid4().hex}.tmp")
        unfinished.mkdir()
        try:
            yield unfinished
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
