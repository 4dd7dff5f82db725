import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from earthinstruct.datasets import dataset_sources, load_dataset, prepare_dior
from earthinstruct.datasets.samrs import parse_samrs
from earthinstruct.errors import DataError, UnknownNameError

from .fake_dior import make_dior, make_samrs, xml


@pytest.mark.parametrize("layout", [{}, {"suffix": "-002"}, {"lists": "Main"}])
def test_dior_is_prepared_and_found_by_its_name(tmp_path, layout):
    root = make_dior(tmp_path / "dior", **layout)
    assert "data prepare dior ROOT" in dataset_sources()["dior"].missing(tmp_path)
    prepared = prepare_dior(root)
    assert prepared.path == root / "earthinstruct-dior-val.json"
    assert {name: count for name, count in prepared.counts.items() if count} == {
        "expressway service area": 1,
        "ground track field": 1,
        "ship": 1,
    }
    for data in (root, tmp_path):  # the folder itself, or the one that holds it as dior/
        dataset = load_dataset("dior", data)
        assert [image.id for image in dataset.images] == [11, 12, 13]
        assert dataset.annotations.boxes.tolist() == [[1, 1, 4, 3], [5, 5, 3, 3], [0, 2, 8, 4]]
        assert [dataset.vocabulary.categories[c] for c in dataset.annotations.category] == [
            "expressway service area",
            "ship",
            "ground track field",
        ]
        assert dataset.read_image(0).shape == (8, 8, 3)
        assert "has no segmentation" in dataset.no_masks_reason
    assert dataset_sources()["dior"].missing(tmp_path) is None


def test_every_split_is_its_own_file(tmp_path):
    root = make_dior(tmp_path)
    assert prepare_dior(root, "test").path.name == "earthinstruct-dior-test.json"
    assert [image.file_name for image in load_dataset("dior-test", root).images] == ["JPEGImages-test/11726.jpg"]
    assert prepare_dior(root, "train").known is None
    with pytest.raises(UnknownNameError, match="unknown split 'valid'; did you mean 'val'"):
        prepare_dior(root, "valid")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_masks_are_those_of_samrs_and_may_give_the_boxes(tmp_path, protocol):
    root, masks = make_dior(tmp_path / "dior"), make_samrs(tmp_path / "ins", protocol)
    prepared = prepare_dior(root, masks=masks)
    assert prepared.masks
    dataset = load_dataset("dior", root)
    assert dataset.annotations.boxes[0].tolist() == [1, 1, 4, 3]
    assert dataset.masks.take().areas.tolist() == [9, 6, 28]
    prepare_dior(root, masks=masks, gt_boxes="mask")
    dataset = load_dataset("dior", root)
    assert dataset.annotations.boxes[0].tolist() == [1, 1, 3, 3]
    info = json.loads(prepared.path.read_text())["info"]
    assert (info["gt_boxes"], info["masks"], info["split"]) == ("mask", "SAMRS", "val")
    assert [(entry["what"], entry["files"]) for entry in info["read"]] == [
        ("split list", 1),
        ("annotations", 3),
        ("masks", 3),
    ]
    assert all(len(entry["sha256"]) == 64 for entry in info["read"])


def test_an_object_without_a_mask_is_named(tmp_path):
    root, masks = make_dior(tmp_path / "dior"), make_samrs(tmp_path / "ins")
    (masks / "00012.pkl").unlink()
    prepared = prepare_dior(root, masks=masks)
    assert not prepared.masks
    assert prepared.notes == (
        "1 objects have no mask and were kept without one, so that mask scores will be null: 00012.xml, object 1",
    )
    prepared = prepare_dior(root, masks=masks, gt_boxes="mask")
    assert prepared.masks
    assert sum(prepared.counts.values()) == 2
    assert prepared.notes == ("1 objects have no mask and were left out: 00012.xml, object 1",)


def test_what_does_not_fit_is_left_out_and_named(tmp_path):
    root, masks = make_dior(tmp_path / "dior"), make_samrs(tmp_path / "ins")
    file = root / "Annotations" / "Horizontal Bounding Boxes" / "00011.xml"
    file.write_text(xml("00011", [("ship", (5, 5, 8, 8)), ("ship", (4, 4, 4, 6)), ("ship", (6, 2, 2, 4))], size=9))
    with pytest.raises(DataError, match=r"2 of 4 objects cannot be found .* leave them out with --skip-invalid"):
        prepare_dior(root, masks=masks)
    prepared = prepare_dior(root, masks=masks, skip_invalid=True)
    sizes, unmasked, unmatched, left_out = prepared.notes
    assert sum(prepared.counts.values()) == len(json.loads(prepared.path.read_text())["annotations"]) == 2
    assert "00011.xml says (9, 9), the image is (8, 8)" in sizes
    assert left_out.startswith("2 of 4 objects were left out (--skip-invalid): 1 without area (first: ")
    assert "00011.xml, object 2 (ship), [4, 4, 0, 2] in an image of 8x8 pixels); 1 with swapped corners" in left_out
    assert "00011.xml, object 2" in unmasked
    assert "1 masks belong to no annotated object and were left out: 00011 (1)" in unmatched


def test_nothing_is_written_where_a_file_is_malformed(tmp_path):
    root = make_dior(tmp_path)
    annotations = root / "Annotations" / "Horizontal Bounding Boxes"
    original = (annotations / "00012.xml").read_text()
    for text, message in (
        ("<annotation>", r"00012\.xml, line 1, column 13, is not XML: no element found"),
        ("<html></html>", "its root is <html>"),
        (original.replace("groundtrackfield", "castle"), "object 1 is a 'castle', which is not a DIOR category"),
        (original.replace("<xmin>0", "<xmin>left"), "<xmin> is 'left'; expected a number"),
        (original.replace("bndbox", "box"), "has no <bndbox>"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + original, r"00012\.xml defines entities or refers to other files"),
    ):
        (annotations / "00012.xml").write_text(text)
        with pytest.raises(DataError, match=message):
            prepare_dior(root)
    (annotations / "00012.xml").unlink()
    with pytest.raises(DataError, match=r"annotations .*00012\.xml cannot be read"):
        prepare_dior(root)
    assert not list(root.glob("*.json"))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/00011"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    root = make_dior(tmp_path)
    (root / "ImageSets" / "Main" / "val.txt").write_text(f"00011\n{name}\n")
    with pytest.raises(DataError, match=r"val\.txt, line 2"):
        prepare_dior(root)


def test_what_is_missing_is_named_with_the_next_step(tmp_path):
    with pytest.raises(DataError, match=r"split list not found: looked for .*ImageSets/Main/val\.txt and .*Main/val"):
        prepare_dior(tmp_path)
    root = make_dior(tmp_path / "dior")
    with pytest.raises(DataError, match="give the folder of the SAMRS files"):
        prepare_dior(root, gt_boxes="mask")
    (root / "JPEGImages-trainval").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"image 00011\.jpg not found: looked in .*JPEGImages-trainval"):
        prepare_dior(root)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'touch pwned'\ntR.", r"refers to os\.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", r"refers to __builtin__\.eval|builtins\.eval"),
        (pickle.dumps(np.array([object()], dtype=object)), "refers to|array of 'O8'"),
        (pickle.dumps({"a": 1}), "holds a dict"),
        (pickle.dumps([1]), "object 0 has no category name"),
        (pickle.dumps([{"category": "ship", "bbox": [1, 2], "mask": {}}]), "no 'bbox' of four numbers"),
        (pickle.dumps([{"category": "ship", "bbox": [1, 2, 3, 4], "mask": {}}]), "must be a COCO RLE"),
        (b"\x80\x04nonsense", "is not a pickle"),
        (b"", "is not a pickle: EOFError"),
    ],
)
def test_a_mask_file_is_read_without_running_it(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    root, masks = make_dior(tmp_path / "dior"), make_samrs(tmp_path / "ins")
    (masks / "00011.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        prepare_dior(root, masks=masks)
    assert "00011.pkl" in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_a_malicious_object_is_never_made(tmp_path):
    root, masks = make_dior(tmp_path / "dior"), make_samrs(tmp_path / "ins")
    (masks / "00011.pkl").write_bytes(pickle.dumps([Malicious(tmp_path / "pwned")]))
    with pytest.raises(DataError, match="it was refused, and nothing was executed"):
        prepare_dior(root, masks=masks)
    assert not (tmp_path / "pwned").exists()


NUMBERS = st.one_of(st.floats(), st.integers(), st.just(10**400), st.text(max_size=3), st.none(), st.booleans())
MASKS = st.fixed_dictionaries(
    {"size": st.lists(NUMBERS, max_size=3), "counts": st.text(max_size=6) | st.binary(max_size=6)}
)
OBJECTS = st.fixed_dictionaries(
    {"category": st.just("ship") | NUMBERS, "bbox": st.lists(NUMBERS, max_size=5) | NUMBERS, "mask": MASKS | NUMBERS}
)


def test_a_damaged_number_in_a_mask_file_costs_no_memory():
    tracemalloc.start()
    try:
        assert parse_samrs(b"\x80\x02]r\xff\xff\xff\0.", Path("a.pkl")) == []  # a list, noted as number 16,777,215
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.lists(OBJECTS, max_size=3).map(pickle.dumps) | st.binary(max_size=40))
@example(pickle.dumps([{"category": "ship", "bbox": [10**400, 0, 1, 1], "mask": {"size": [1, 1], "counts": "01"}}]))
def test_a_mask_file_is_read_or_refused(content):
    try:
        objects = parse_samrs(content, Path("masks.pkl"))
    except DataError as error:
        assert "masks.pkl" in str(error)
    else:
        assert all(len(one.corners) == 4 for one in objects)


XML = st.sampled_from(
    ["<object>", "</object>", "<bndbox>", "</bndbox>", "<name>ship</name>", "<size>", "x", "&", "<pose>Left</pose>"]
)
CORNERS = st.sampled_from(["xmin", "ymin", "xmax", "ymax"]).flatmap(
    lambda name: NUMBERS.map(lambda value: f"<{name}>{value}</{name}>")
)


def box_of(corners: str) -> str:
    return f"<object><name>ship</name><bndbox>{corners}</bndbox></object>"


@settings(max_examples=settings().max_examples // 5)
@given(st.lists(XML | CORNERS).map("".join) | st.lists(CORNERS, min_size=4, max_size=5).map("".join).map(box_of))
def test_any_xml_is_prepared_or_refused(tmp_path_factory, content):
    root = make_dior(tmp_path_factory.mktemp("fuzz") / "dior")
    file = root / "Annotations" / "Horizontal Bounding Boxes" / "00012.xml"
    file.write_text(f"<annotation>{content}</annotation>", encoding="utf-8", errors="surrogatepass")
    try:
        prepare_dior(root)
    except DataError as error:
        assert str(root) in str(error)
    else:
        assert (load_dataset("dior", root).annotations.boxes[:, 2:] > 0).all()
