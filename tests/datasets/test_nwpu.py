import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from earthinstruct.datasets import load_dataset, prepare_nwpu
from earthinstruct.datasets.nwpu import parse_text
from earthinstruct.errors import DataError

from .fake_nwpu import make_nwpu, reannotation


def test_the_text_files_are_read_as_they_are(tmp_path):
    prepared = prepare_nwpu(make_nwpu(tmp_path))
    assert (prepared.n_images, prepared.masks, sum(prepared.known.values())) == (2, False, 3775)
    dataset = load_dataset("nwpu", tmp_path)
    assert [(image.id, image.file_name) for image in dataset.images] == [
        (0, "positive image set/001.jpg"),
        (1, "positive image set/002.jpg"),
    ]
    names = [dataset.vocabulary.categories[c] for c in dataset.annotations.category]
    assert names == ["airplane", "vehicle", "baseball_field"]
    assert dataset.annotations.boxes.tolist() == [[1, 1, 3, 4], [2, 3, 5, 5], [0, 0, 8, 8]]
    assert dataset.read_image(1).shape == (8, 8, 3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_text_files_may_have_a_byte_order_mark(tmp_path, encoding):
    root = make_nwpu(tmp_path)
    for path in (root / "ground truth").glob("*.txt"):
        path.write_text(path.read_text(), encoding=encoding)
    assert sum(prepare_nwpu(root).counts.values()) == 3


PARTS = ["(1,2)", "(3,4)", "( 7 , 8 )", "(1e999,2)", "(-1,2)", "(a,b)", ",", "1", "11", "0", "9" * 400, "\n", "\ufeff"]


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join).map(str.encode) | st.binary(max_size=40))
@example(b"(1,2),(3,4),1\n")
def test_a_text_file_is_read_or_refused(content):
    try:
        objects = parse_text(content, Path("001.txt"))
    except DataError as error:
        assert "001.txt" in str(error)
    else:
        assert len(objects) <= len(content.splitlines())


@pytest.mark.parametrize(("gt_boxes", "box"), [("annotated", [1, 1, 4, 4]), ("mask", [1, 1, 3, 4])])
def test_the_re_annotation_gives_masks_and_ids_from_1(tmp_path, gt_boxes, box):
    root = make_nwpu(tmp_path)
    (root / "annotations.json").write_text(json.dumps(reannotation()))
    prepared = prepare_nwpu(root, gt_boxes=gt_boxes)
    assert (prepared.masks, sum(prepared.known.values()), prepared.notes) == (True, 3921, ())
    written = json.loads(prepared.path.read_text())
    assert [entry["id"] for entry in written["annotations"]] == [1, 2]
    assert written["info"]["gt_boxes"] == gt_boxes
    dataset = load_dataset("nwpu", root)
    assert [image.id for image in dataset.images] == [0, 1]
    assert dataset.annotations.boxes[0].tolist() == box
    assert [dataset.vocabulary.categories[c] for c in dataset.annotations.category] == ["airplane", "baseball_field"]


def test_the_real_re_annotation_is_prepared_without_loss(reference, tmp_path):
    prepared = prepare_nwpu(tmp_path, annotations=reference / "nwpu" / "annotations.json")
    assert prepared.counts == prepared.known
    assert prepared.n_images == prepared.known_images == 650
    assert "the images are not there" in prepared.notes[0]
    ours, theirs = load_dataset("nwpu", tmp_path), load_dataset("nwpu", reference)
    assert [image.id for image in ours.images] == [image.id for image in theirs.images]
    for name in ("image", "category", "boxes"):
        assert np.array_equal(getattr(ours.annotations, name), getattr(theirs.annotations, name))
    assert np.array_equal(ours.masks.take().starts, theirs.masks.take().starts)
    assert np.array_equal(
        ours.masks.take(first_polygon_only=True).areas, theirs.masks.take(first_polygon_only=True).areas
    )


def test_images_in_the_folder_images_are_found_by_name_and_by_path(tmp_path):
    root = make_nwpu(tmp_path)
    (root / "positive image set").rename(root / "images")
    (root / "annotations.json").write_text(json.dumps(reannotation()))
    prepared = prepare_nwpu(root)
    for dataset in (load_dataset("nwpu", root), load_dataset(str(prepared.path))):
        assert dataset.images[0].file_name == "images/001.jpg"
        assert dataset.read_image(0).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("(1,1),(4,5)", r"001\.txt, line 1 is '\(1,1\),\(4,5\)'; expected"),
        ("(1,1),(4,5),11", "line 1 has category 11; expected 1 to 10"),
        ("(1,1),(1,5),1", r"1 without area \(first: .*001\.txt, line 1 \(airplane\), \[1, 1, 0, 4\]"),
        ("(4,5),(1,1),1", r"1 with swapped corners: .*001\.txt, line 1 \(airplane\), \[4, 5, -3, -4\]"),
        ("(1,1),(4,inf),1", "expected"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    root = make_nwpu(tmp_path)
    (root / "ground truth" / "001.txt").write_text(line)
    with pytest.raises(DataError, match=message):
        prepare_nwpu(root)
    assert not list(root.glob("*.json"))


def test_what_is_missing_is_named_with_the_next_step(tmp_path):
    with pytest.raises(DataError, match=r"positive image set\. Unpack the official download there"):
        prepare_nwpu(tmp_path)
    with pytest.raises(DataError, match="give the folder into which NWPU VHR-10 was unpacked"):
        prepare_nwpu(tmp_path / "none")
    root = make_nwpu(tmp_path / "nwpu")
    with pytest.raises(DataError, match="give it with --annotations FILE"):
        prepare_nwpu(root, gt_boxes="mask")
    (root / "ground truth" / "003.txt").write_text("")
    with pytest.raises(DataError, match=r"annotates images that are not in .*: 003"):
        prepare_nwpu(root)


def test_an_image_of_another_size_or_outside_the_folder_is_refused(tmp_path):
    root = make_nwpu(tmp_path)
    content = reannotation()
    content["images"][0]["width"] = 9
    (root / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"differ in size from .*positive image set/001\.jpg"):
        prepare_nwpu(root)
    content["images"][0]["file_name"] = "../../secret.jpg"
    (root / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="leads out of the image folder"):
        prepare_nwpu(root)
