"""JSON is read the same way from every file, whatever tool wrote it; errors name the place and the value."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.datasets import load_dataset
from earthinstruct.errors import DataError
from earthinstruct.files import decode_counted, decode_json, is_clear_beside, read_json


class Entry(msgspec.Struct):
    image_id: int | str
    bbox: tuple[float, float] | None = None
    score: float | None = None


PLAIN = '[{"image_id": "é", "bbox": [1, 2.5]}]'


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        gzip.compress(PLAIN.encode(), mtime=0),
        gzip.compress(PLAIN.encode("utf-16"), mtime=0),
        PLAIN.replace(" ", "\r\n").encode(),
    ],
    ids=["plain", "mark", "utf16", "utf16le", "utf16be", "utf32", "gzip", "gzip of utf16", "Windows lines"],
)
def test_every_encoding_is_read(tmp_path: Path, content: bytes):
    (tmp_path / "f.json").write_bytes(content)
    assert read_json(tmp_path / "f.json", list[Entry], "results", "") == [Entry("é", (1, 2.5))]


def test_a_number_out_of_range_is_named_in_a_mapping_too(tmp_path: Path):
    (tmp_path / "f.json").write_text('{"Infinity": {"image_id": 1}, "b": {"image_id": 2, "bbox": [0, -1e999]}}')
    with pytest.raises(DataError, match=r"'?b'?.*bbox\[1\] is -Infinity; expected a smaller"):
        read_json(tmp_path / "f.json", dict[str, Entry], "results", "{error}")


def test_whole_floats_are_whole_numbers(tmp_path: Path):
    (tmp_path / "f.json").write_text('{"ship 1.0": 1.0, "a \\" 2.0": -2.0, "big": 1.2e2}')
    assert read_json(tmp_path / "f.json", dict[str, int], "counts", "") == {"ship 1.0": 1, 'a " 2.0': -2, "big": 120}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "the file is empty"),
        ('[{"image_id": NaN, "image_id": 1}, 3', "column 37 is not JSON"),
        (" \n", "the file is empty"),
        ("```json\n{}\n```", 'line 1, column 1 is not JSON: Expecting value, found "```json"'),
        ('[{"image_id": 1}\n{"image_id": 2}]', "line 2, column 1 is not JSON"),
        ('[{"image_id": 1', "column 16 is not JSON: Expecting ',' delimiter, found the end of the file"),
        (
            '[{"image_id": 1},\n{"image_id": 7, "image_id": 8}]',
            'entry 1 has the key "image_id" twice, as 7 and 8; keep one',
        ),
        ('[{"image_id": 4, "score": NaN}]', "entry 0 (image id 4), score is NaN, which is no number"),
        ('[{"image_id": 4, "bbox": [0, -Infinity]}]', "entry 0 (image id 4), bbox[1] is -Infinity"),
        ('[{"image_id": 4, "bbox": [0, 1e999]}]', "entry 0 (image id 4), bbox[1] is Infinity; expected a smaller"),
        ('[{"image_id": 4, "score": "high"}]', 'score is "high"; expected a number or null'),
        ('[{"image_id": 4, "bbox": [1]}]', "bbox is [1]; expected a list of length 2"),
        ('[{"image_id": 1.5}]', "entry 0, image_id is 1.5; expected a whole number or text"),
        ('[{"image": 1}]', 'entry 0 has no "image_id"; it has "image"'),
        ('{"image_id": 1}', 'the file is {"image_id": 1}; expected a list'),
        ('["\\ud800"]', "surrogate"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_an_error_names_the_place_and_the_value(tmp_path: Path, content: str, error: str):
    path = tmp_path / "f.json"
    path.write_text(content)
    with pytest.raises(DataError) as raised:
        read_json(path, list[Entry], "results file", "a list")
    assert str(raised.value).startswith(f"results file {path}: ")
    assert error in str(raised.value)
    assert str(raised.value).endswith(". The form of a results file: a list")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"ship": 1, "plane": "about 20"}, 'plane is "about 20"; expected a whole number'),
        ({"ship": 1, "storage tank": None}, '"storage tank" is null; expected a whole number'),
        ({"counts": {"ship": 1}}, 'counts is {"ship": 1}; expected a whole number'),
        ({"ship": True}, "ship is true; expected a whole number"),
    ],
)
def test_an_error_names_the_key(tmp_path: Path, content: dict[str, object], error: str):
    (tmp_path / "f.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"counts .*: ") as raised:
        read_json(tmp_path / "f.json", dict[str, int], "counts", "counts")
    assert error in str(raised.value)


def test_a_key_that_is_no_number_is_named(tmp_path: Path):
    (tmp_path / "f.json").write_text('{"0": null, "ship": "ship"}')
    with pytest.raises(DataError, match="ship is the key of an entry; expected a whole number"):
        read_json(tmp_path / "f.json", dict[int, str | None], "classes", "classes")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b'{"a\n\xe9": 1}', "line 2 has the byte 0xe9, which is not UTF-8; save the file as UTF-8"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-9], "the gzip file is damaged"),
        (b"\x1f\x8bnothing", "the gzip file is damaged"),
        ('{"a": 1}'.encode("utf-16")[:-1], "which is not UTF-16"),
    ],
    ids=["latin1", "cut", "no gzip", "half"],
)
def test_damaged_bytes_are_refused(tmp_path: Path, content: bytes, error: str):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_json(tmp_path / "f.json", dict[str, int], "counts", "counts")
    assert error in str(raised.value)


def test_a_gzip_file_that_fills_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("earthinstruct.files._MOST_UNPACKED", 1 << 10)
    (tmp_path / "f.json").write_bytes(gzip.compress(b" " * 2000 + b"{}"))
    with pytest.raises(DataError, match=r"holds more than .* unpack it first"):
        read_json(tmp_path / "f.json", dict[str, int], "counts", "counts")


TRICKY = st.sampled_from(
    ['"image_id": 1', '"image_id" : "a\\"b: "', '"score": 0.5', '"score":null', '"bbox": [0, 1]', '"area": {"a": ":"}']
)


def texts_of(entries: list[Entry]) -> int:
    values = [value for entry in entries for value in msgspec.structs.astuple(entry)]
    return sum(value is not None for value in values) + sum(isinstance(value, str) for value in values)


@given(
    st.lists(st.lists(TRICKY, max_size=4).map(", ".join), max_size=3).map(lambda rows: [f"{{{row}}}" for row in rows])
)
def test_what_is_read_by_counting_is_what_is_read_with_checks(rows: list[str]):
    content, decoder = f"[{', '.join(rows)}]".encode(), msgspec.json.Decoder(list[Entry])
    found = decode_counted(content, decoder.decode, texts_of)
    if found is not None:
        assert decode_json(content, decoder, "{error}") == found
    keys = [re.findall('"(image_id|score|bbox|area)" ?:', row) for row in rows]
    if all(len(set(row)) == len(row) and "image_id" in row for row in keys) and "area" not in str(keys):
        assert found is not None or b"null" in content or b"\\" in content


@pytest.mark.parametrize(
    ("content", "clear"),
    [
        ('{"images": [{"id": 1}], "annotations": [{"id": 1, "id": 2}]}', True),
        ('{"images": [{"id": 1, "id": 2}], "annotations": []}', False),
        ('{"images": [], "annotations": [], "images": [{"id": "1"}]}', False),
        ('{"images": [{"id": NaN}], "annotations": []}', False),
        ("[]", False),
    ],
)
def test_only_the_large_field_may_have_a_key_twice(content: str, clear: bool):
    assert is_clear_beside(content.encode(), "annotations") is clear


@pytest.mark.parametrize("field", ["id", "area", "category_id", "counts"])
def test_a_key_twice_in_an_annotation_is_refused(coco: dict, write_coco: Callable, field: str):
    coco["annotations"][1] |= {"area": 4, "segmentation": {"size": [20, 30], "counts": "0" * 3}}
    path = write_coco(coco)
    content = path.read_text()
    at = content.index(f'"{field}"', content.index('"annotations"'))
    path.write_text(f'{content[:at]}"{field}": 1, {content[at:]}')
    with pytest.raises(DataError, match=f'has the key "{field}" twice'):
        load_dataset(str(path))
