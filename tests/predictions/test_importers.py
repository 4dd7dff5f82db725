import codecs
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from earthinstruct import score
from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.files import as_json
from earthinstruct.predictions import hash_predictions, read_predictions

RESULT = {"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "score": 0.5}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def results(tmp_path):
    return lambda content: write(tmp_path / "results.json", content)


def test_coco_results_keep_their_order_and_answer_for_every_image(results, dataset):
    path = results(
        [{**RESULT, "score": 0.1}, {**RESULT, "label": "Harbors", "category_id": 4}, {**RESULT, "image_id": 7}]
    )
    records = read_predictions(path, dataset)
    assert records[0].labels == ["ship", "Harbors"]
    assert records[0].scores == [0.1, 0.5]
    assert records[0].masks is None
    assert (records[9].labels, records[9].error) == ([], None)


def test_a_missing_box_is_taken_from_the_mask(results, dataset):
    path = results(
        [{"image_id": 0, "label": "ship", "segmentation": {"size": [20, 30], "counts": [21, 4, 16, 4, 555]}}]
    )
    records = read_predictions(path, dataset)
    assert records[0].boxes == [(1, 1, 2, 4)]
    assert records[0].scores is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nothing", 'column 1 is not JSON: Expecting value, found "nothing". Expected COCO results'),
        ({"boxes": []}, "the file is an object with 'boxes'. Expected COCO results"),
        (
            [{**RESULT, "image_id": 8}],
            r"entry 0 \(image id 8\): dataset 'set' has no image 8; its images",
        ),
        ([{**RESULT, "category_id": 9}], r"category_id 9, which is unknown, and no label; known ids: 1, 4"),
        ([{"image_id": 0, "bbox": [1, 1, 4, 4]}], "has no category_id and no label"),
        ([{**RESULT, "score": "high"}], 'score is "high"; expected a number'),
        ([{"image_id": 0, "label": "ship"}], "neither a bbox nor a segmentation"),
        (
            [RESULT, {"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4]}],
            r"entry 1 .*no score, but 1 of 2",
        ),
        ([{**RESULT, "segmentation": {"size": [20, 30], "counts": [1]}}], "add up to 1 pixels"),
    ],
)
def test_malformed_results_are_named(results, dataset, content, message):
    with pytest.raises(DataError, match=message):
        read_predictions(results(content), dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 1, -4, 4]}, r"entry 0 \(image id 0\) has the bbox \[1.0, 1.0, -4.0, 4.0\]; expected \[x, y"),
        ({"bbox": [1, 1, 1e300, 4]}, r"bbox \[1\.0, 1\.0, 1e\+300, 4\.0\]"),
        ({"segmentation": {"size": [20, 30], "counts": "~"}}, r"image 0: masks\[0\]: .*alphabet"),
        ({"segmentation": {"size": [30, 20], "counts": "hb0"}}, r"image 0.*size of its image"),
        ({"label": "boat"}, "label 'boat' is not one of the categories.*--label-map"),
    ],
)
def test_malformed_values_are_named_when_scored(results, dataset, change, message):
    with pytest.raises(DataError, match=message):
        score(results([{**RESULT, **change}]), dataset, "open_vocabulary")


def test_counts_and_proposals_join_the_predictions(results, dataset, tmp_path):
    (tmp_path / "counts").mkdir()
    (tmp_path / "counts" / "a.json").write_text('{"ship": 2, "harbor": 0}')
    proposals = tmp_path / "proposals.json"
    proposals.write_text(json.dumps({"b.png": {"bboxes": [[3, 3, 8, 8]], "scores": [0.9]}}))
    records = read_predictions(results([RESULT]), dataset, counts=tmp_path / "counts", proposals=proposals)
    assert records[0].counts == {"ship": 2, "harbor": 0}
    assert records[7].proposals.boxes == [(3, 3, 8, 8)]


def test_a_folder_of_counts_is_a_prediction(dataset, tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "counts" / f"{name}.json", {"ships": 1})
    result = score(tmp_path / "counts", dataset, "open_ended")
    assert result.metrics.counting.tally["ship"].tp == 2
    assert result.metrics.counting.source == "counts"
    assert result.label_map["ships"].category == "ship"


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[20, 10, 26, 16], [1, 1, 5, 5]] * 10, "10 of 20 proposals leave their image, and 20 fit if they are x1, y1"),
        ([[0.1, 0.1, 0.4, 0.5]], "all 1 proposals lie within the first pixel; expected pixels, not fractions"),
    ],
)
def test_proposals_of_another_form_are_refused(results, dataset, tmp_path, boxes, message):
    proposals = tmp_path / "proposals.json"
    proposals.write_text(json.dumps({"b.png": {"bboxes": boxes}}))
    with pytest.raises(DataError, match=f"proposals.json: {message}"):
        read_predictions(results([]), dataset, proposals=proposals)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", "[]", r"the file is \[\]; expected an object"),
        ("a", '{"ship": -1}', "the count of 'ship' is -1"),
        ("a", '{"ship": 1.5}', "ship is 1.5; expected a whole number"),
        ("z", '{"ship": 1}', "has no image 'z'"),
    ],
)
def test_malformed_counts_are_named(dataset, tmp_path, name, content, message):
    write(tmp_path / "counts" / f"{name}.json", content)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "counts", dataset)


def test_an_empty_folder_is_no_prediction(dataset, tmp_path):
    (tmp_path / "counts").mkdir()
    with pytest.raises(DataError, match="has no count files"):
        read_predictions(tmp_path / "counts", dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"z.png": {"bboxes": []}}, "no image 'z.png'"),
        ({"a.2": {"bboxes": []}}, "no image 'a.2'"),
        ({"a.png": {"bboxes": []}, "a": {"bboxes": []}}, "'a.png' and 'a' name the same image of dataset 'set'"),
        ({"a.png": {"bboxes": [[1, 2, 3, 4]], "scores": []}}, "1 bboxes and 0 scores"),
        ({"a.png": {"boxes": []}}, '"a.png" has no "bboxes"; it has "boxes"'),
    ],
)
def test_malformed_proposals_are_named(results, dataset, tmp_path, content, message):
    proposals = tmp_path / "proposals.json"
    proposals.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_predictions(results([]), dataset, proposals=proposals)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image_id": 0, "lables": ["ship"]}', 'unknown field "lables"'),
        ("{", "line 1"),
        ('{"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4]}', r"line 1 is one COCO result; .* \*\.json"),
        (
            '{"image_id": 0}\n{"image_id": 7, "seconds": {"a": NaN}}',
            "line 2: seconds, a is NaN",
        ),
        ('{"image_id": 0, "labels": [], "labels": ["ship"]}', 'line 1: the object has the key "labels" twice'),
        ('{"image_id": 8}', "dataset 'set' has no image 8; its images have the ids 0, 7, 9"),
        ('{"image_id": 0}\n{"image_id": 0}', "image 0 has two predictions"),
        ('{"image_id": 0, "labels": ["ship"]}', "1 label for 0 boxes"),
        ('{"image_id": 0, "labels": ["ship"], "boxes": [[1, 1, 2, 2]], "scores": []}', "0 scores for 1 box"),
        ('{"image_id": 0, "labels": ["ship"], "boxes": [[1, 1, 2]]}', r"line 1.*boxes\[0\]"),
        ('{"image_id": 0, "counts": {"ship": -2}}', "the count of 'ship' is -2"),
        (
            '{"image_id": 0, "labels": ["ship"], "boxes": [[1, 1, 2, 2]], "scores": [0.5]}\n'
            '{"image_id": 7, "labels": ["ship"], "boxes": [[1, 1, 2, 2]]}',
            "image 7 has no scores, but other images have",
        ),
    ],
)
def test_malformed_lines_are_named(dataset, tmp_path, line, message):
    path = tmp_path / "predictions.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        score(path, dataset, "open_ended")


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(dataset, tmp_path):
    (tmp_path / "p.jsonl").write_bytes(codecs.BOM_UTF8 + b'{"image_id": 0.0, "counts": {"ship": 2.0}}\n')
    assert read_predictions(tmp_path / "p.jsonl", dataset)[0].counts == {"ship": 2}


def test_a_last_line_that_only_lacks_its_line_break_is_read(dataset, tmp_path):
    lines = b'{"image_id": 0}\n{"image_id": 7, "counts": {"ship": 2}}'
    (tmp_path / "p.jsonl").write_bytes(lines)
    assert read_predictions(tmp_path / "p.jsonl", dataset)[7].counts == {"ship": 2}


def test_a_torn_last_line_is_dropped_in_the_file_of_a_run_alone(dataset, tmp_path):
    (tmp_path / "predictions.jsonl").write_bytes(b'{"image_id": 0}\n{"image_id": 7, "counts": {"ship": 2}')
    with pytest.raises(DataError, match=r"predictions\.jsonl, line 2: column 38 is not JSON"):
        read_predictions(tmp_path, dataset)
    (tmp_path / "run.json").write_text("{}")
    assert list(read_predictions(tmp_path, dataset)) == [0]


def stored(folder: Path, compressed: bool = False) -> list[bytes]:
    """Three lines, written as one file or as two shards, the second compressed."""
    lines = [
        json.dumps({"image_id": i, "labels": ["ship"], "boxes": [[1, 1, 4, 4]], "scores": [0.5]}).encode() + b"\n"
        for i in (0, 7, 9)
    ]
    folder.mkdir()
    if not compressed:
        (folder / "predictions.jsonl").write_bytes(b"".join(lines))
        return lines
    (folder / "predictions-0.jsonl").write_bytes(lines[0])
    (folder / "predictions-1.jsonl.zst").write_bytes(zstandard.compress(b"".join(lines[1:])))
    return lines


def test_shards_score_as_the_whole(tmp_path: Path, dataset: Dataset) -> None:
    stored(tmp_path / "whole")
    stored(tmp_path / "shards", compressed=True)
    results = [score(tmp_path / name, dataset, "open_vocabulary", sweep=True) for name in ("whole", "shards")]
    assert as_json(results[0].metrics) == as_json(results[1].metrics)
    assert results[0].predictions == results[1].predictions


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("theirs.jsonl", lambda text: text.encode("utf-8-sig")),
        ("theirs.jsonl", lambda text: text.encode("utf-16")),
        ("theirs.jsonl", lambda text: text.encode("utf-16-le")),
        ("theirs.jsonl", lambda text: text.encode("utf-32")),
        ("theirs.jsonl", lambda text: text.replace("\n", "\r\n").encode()),
        ("theirs.jsonl", lambda text: text.replace("\n", "\r").encode()),
        ("theirs.jsonl", lambda text: text.replace("\n", "\r").removesuffix("\r").encode()),
        ("theirs.jsonl", lambda text: text.removesuffix("\n").encode()),
        ("theirs.jsonl", lambda text: text.replace("\n", "\r").encode("utf-16")),
        ("theirs.jsonl.gz", lambda text: gzip.compress(text.encode(), mtime=0)),
        ("theirs.jsonl.gz", lambda text: gzip.compress(text.encode("utf-16"), mtime=0)),
        ("theirs.jsonl.zst", lambda text: zstandard.compress(text.encode("utf-16"))),
    ],
    ids=[
        "mark",
        "utf16",
        "utf16le",
        "utf32",
        "crlf",
        "cr",
        "cr without end",
        "without end",
        "cr in utf16",
        "gzip",
        "gzip of utf16",
        "zstd of utf16",
    ],
)
def test_lines_in_any_encoding_score_the_same(
    tmp_path: Path, dataset: Dataset, name: str, encode: Callable[[str], bytes]
) -> None:
    stored(tmp_path / "whole")
    text = (tmp_path / "whole" / "predictions.jsonl").read_text(encoding="utf-8")
    (tmp_path / name).write_bytes(encode(text))
    paths = (tmp_path / "whole", tmp_path / name)
    results = [score(path, dataset, "open_vocabulary", sweep=True) for path in paths]
    assert as_json(results[0].metrics) == as_json(results[1].metrics)


def test_records_are_read_when_asked_for(tmp_path: Path, dataset: Dataset) -> None:
    stored(tmp_path / "shards", compressed=True)
    records = read_predictions(tmp_path / "shards", dataset)
    assert list(records) == [0, 7, 9]
    assert records[9].scores == [0.5]
    assert 4 not in records


def frame(n_blocks: int, window: int = 17, last: bool = True) -> bytes:
    """A Zstandard frame of blocks that each stand for 128 KiB of line ends: 4 bytes a block (RFC 8878, 3.1.1)."""
    magic, descriptor = b"\x28\xb5\x2f\xfd\x00", bytes([(window - 10) << 3])
    block = (1 << 20 | 1 << 1).to_bytes(3, "little") + b"\n"
    return magic + descriptor + block * (n_blocks - 1) + bytes([block[0] | last]) + block[1:]


def test_a_shard_that_grows_a_thousandfold_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl.zst"
    path.write_bytes(frame(1024) + frame(512))  # 192 MiB in 6 kB
    tracemalloc.start()
    try:
        found = hash_predictions([path])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    digest = hashlib.sha256()
    for _ in range(1536):
        digest.update(b"\n" * (1 << 17))
    assert found == digest.hexdigest()
    assert peak < 1 << 27  # pieces of 32 MiB, at most three at a time
    path.write_bytes(frame(1024) + frame(512, last=False))
    with pytest.raises(DataError, match="the file is incomplete"):
        hash_predictions([path])


def test_a_line_without_an_end_is_refused(tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthinstruct.predictions.file._LONGEST_LINE", 1 << 20)
    path = tmp_path / "predictions.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"image_id": 0}\n' + b" " * (1 << 21)))
    with pytest.raises(DataError, match=r"predictions.jsonl.zst, line 2: longer than 1 MiB"):
        score(path, dataset, "open_vocabulary")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_temporary_folder_is_named(tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "shards", compressed=True)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: PTH123, SIM115
    with pytest.raises(DataError, match=r"\.zst cannot be decompressed into .*: No space left on device; .*TMPDIR"):
        score(tmp_path / "shards", dataset, "open_vocabulary")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("predictions-0.jsonl.zst", b"no frame", "predictions-0.jsonl.zst cannot be decompressed"),
        ("predictions-0.jsonl.zst", zstandard.compress(b"x" * 1000)[:-8], "predictions-0.jsonl.zst"),
        ("predictions-0.jsonl.gz", b"no gzip", r"predictions-0.jsonl.gz cannot be decompressed: .*; copy it again"),
        ("predictions-0.jsonl.gz", gzip.compress(b"x" * 1000, mtime=0)[:-8], "cannot be decompressed: .*; copy it"),
        ("predictions-0.jsonl", "ship".encode("utf-16")[:-1], "predictions-0.jsonl are not UTF-16: truncated data"),
        ("predictions-0.jsonl.zst", frame(1, window=28), "cannot be decompressed: .*requires too much memory"),
        ("predictions-0.jsonl", b'{"image_id": 0}\n{"image_id": 7, "lab', r"predictions-0.jsonl, line 2: .*not JSON"),
        ("predictions-0.jsonl", b'{"image_id": 0}\r{"image_id": 7, "lab', r"predictions-0.jsonl, line 2: .*not JSON"),
        ("predictions-1.jsonl", b'{"image_id": 0}\n', r"predictions-1.jsonl, line 1: image 0 has two predictions"),
        ("predictions-0.jsonl.zst", zstandard.compress(b"{}\n"), "expected either"),
        ("predictions.jsonl", b'{"image_id": 7}\n', "expected either"),
        ("predictions-1.jsonl", b'{"image_id": 7, "labels": 1}\n', "line 1: labels is 1; expected a list"),
    ],
)
def test_broken_shards(tmp_path: Path, dataset: Dataset, name: str, content: bytes, problem: str) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    if not name.startswith("predictions-0") or problem == "expected either":
        (folder / "predictions-0.jsonl").write_bytes(b'{"image_id": 0}\n')
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        score(folder, dataset, "open_vocabulary")
