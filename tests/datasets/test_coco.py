import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from earthinstruct.datasets import coco as coco_reader
from earthinstruct.datasets import load_dataset, read_coco
from earthinstruct.errors import DataError
from earthinstruct.regions import decode_mask


def test_a_small_file_is_read_whole(dataset):
    assert dataset.name == "set"
    assert dataset.vocabulary.categories == ("ship", "harbor")
    assert dataset.vocabulary.parents == {"transport": ("ship",)}
    assert [image.id for image in dataset.images] == [0, 7, 9]
    assert dataset.annotations.image.tolist() == [0, 0, 0, 1]
    assert dataset.annotations.category.tolist() == [0, 0, 1, 0]
    assert dataset.annotations.boxes[1].tolist() == [10, 2, 5, 3]
    assert dataset.masks.take().areas.tolist() == [16, 15, 36, 64]
    assert dataset.read_image(0).shape == (20, 30, 3)


def test_rle_compressed_and_not_are_the_same_mask(coco, write_coco):
    coco["annotations"] = [{**entry, "bbox": [1, 1, 1, 4]} for entry in coco["annotations"][:2]]
    coco["annotations"][0]["segmentation"] = {"size": [20, 30], "counts": [21, 4, 575]}
    coco["annotations"][1]["segmentation"] = {"size": [20, 30], "counts": "e04oa0"}
    masks = load_dataset(str(write_coco(coco))).masks.take()
    assert masks.starts.tolist() == [21, 21]
    assert masks.ends.tolist() == [25, 25]


def test_the_first_of_several_polygons_is_kept_for_protocol_paper(coco, write_coco):
    coco["annotations"][0]["segmentation"].append([20, 1, 22, 1, 22, 3, 20, 3])
    dataset = load_dataset(str(write_coco(coco)))
    assert dataset.masks.take().areas[0] == 20
    assert dataset.masks.take(first_polygon_only=True).areas[0] == 16
    assert dataset.masks.take(first_polygon_only=True).areas[1:].tolist() == dataset.masks.take().areas[1:].tolist()


def test_a_missing_segmentation_leaves_no_masks_and_says_why(coco, write_coco):
    del coco["annotations"][2]["segmentation"]
    dataset = load_dataset(str(write_coco(coco)))
    assert dataset.masks is None
    assert "annotations[2] (id 2) has no segmentation" in dataset.no_masks_reason


def damaged(path, value):
    def damage(content):
        *parents, last = path
        for key in parents:
            content = content[key]
        content[last] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.pop("images"), 'the object has no "images"'),
        (damaged(["images"], []), "'images' is empty"),
        (damaged(["categories"], []), "'categories' is empty"),
        (damaged(["images", 1, "id"], 0), r"images\[1\] repeats the id 0"),
        (damaged(["images", 1, "file_name"], "a.png"), r"images\[1\] repeats the file_name 'a.png'"),
        (damaged(["images", 1, "id"], "0"), r"images\[1\] repeats the id as text '0'"),
        (damaged(["categories", 1, "name"], "har\x1bbor"), r"category 'har\\x1bbor' has a control character"),
        (damaged(["categories", 1, "supercategory"], "trans\nport"), r"supercategory 'trans\\nport' has a control"),
        (damaged(["images", 1, "width"], 0), r"images\[1\] has size 0x20"),
        (damaged(["images", 1, "width"], "30"), r"images\[1\] \(id 7\), width is"),
        (damaged(["images", 0, "file_name"], "../a.png"), "'../a.png' leads out of the image folder"),
        (damaged(["images", 0, "file_name"], "/etc/passwd"), "is an absolute path"),
        (damaged(["images", 0, "file_name"], "C:/a.png"), "is an absolute path"),
        (damaged(["images", 0, "file_name"], "https://host/a.png"), "is an address; download the image"),
        (damaged(["images", 0, "file_name"], "x\\a.png"), "has a backslash; write 'x/a.png'"),
        (damaged(["images", 0, "file_name"], ""), "is empty"),
        (damaged(["categories", 1, "id"], 1), r"categories\[1\] repeats the id 1"),
        (damaged(["categories", 1, "name"], "ship"), "categories 1 and 4 have the same name, 'ship'"),
        (
            damaged(["categories", 1, "name"], "_Ship"),
            "categories 1 and 4 differ in case or separators alone, 'ship' and '_Ship'; rename",
        ),
        (damaged(["categories", 1, "name"], " "), r"categories\[1\] \(id 4\) has no name"),
        (damaged(["annotations", 3, "id"], 0), r"annotations\[3\] repeats the id 0"),
        (damaged(["annotations", 3, "image_id"], 8), r"annotations\[3\] \(id 3\) names image 8"),
        (damaged(["annotations", 3, "category_id"], 2), r"names category 2, which is not in 'categories' \(\[1, 4\]\)"),
        (damaged(["annotations", 3, "bbox"], [1, 1, -2, 3]), r"1 with swapped corners.*\[1, 1, -2, 3\]"),
        (
            damaged(["annotations", 3, "bbox"], [1, 1, 2]),
            r"annotations\[3\] \(id 3\), bbox is \[1, 1, 2\]; expected a list of length 4",
        ),
        (damaged(["annotations", 3, "bbox"], [1, 1, 2, 1e300]), r"has the box .*e\+300\]; expected"),
        (damaged(["annotations", 3, "bbox"], [1, 1, 2, 1e999]), r"annotations\[3\] \(id 3\), bbox\[3\] is Infinity"),
        (
            damaged(["annotations", 3, "iscrowd"], "many"),
            r"annotations\[3\] \(id 3\) has iscrowd 'many'; expected 0 or 1",
        ),
        (damaged(["annotations", 3, "image_id"], "7"), "names image '7', .*; this is text, the ids there are numbers"),
        (damaged(["annotations", 3, "segmentation"], [[1, 1, 2, 2]]), "polygon of 4 numbers"),
        (
            damaged(["annotations", 3, "segmentation"], [[1, 1, 2, 2, 3, 1e9]]),
            r"1 of 4 objects .* with a polygon far outside their image \(first: annotations\[3\]",
        ),
        (damaged(["annotations", 3, "segmentation"], {"size": [30, 20], "counts": "0"}), r"mask of size \[30, 20\]"),
        (damaged(["annotations", 3, "segmentation"], {"size": [20, 30], "counts": "0"}), "do not add up"),
        (damaged(["annotations", 3, "segmentation"], {"size": [20, 30], "counts": "e"}), "ends in the middle|alphabet"),
        (damaged(["annotations", 3, "segmentation"], {"size": [20, 30], "counts": [1, 2]}), "add up to 3 pixels"),
        (damaged(["annotations", 3, "segmentation"], {"size": [20, 30], "counts": [-1, 601]}), "run length 0"),
        (damaged(["annotations", 3, "segmentation"], {"counts": "0"}), "'size' and 'counts'"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_place(coco, write_coco, damage, message):
    damage(coco)
    file = write_coco({"images": []})
    file.write_text(json.dumps(coco))
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(str(file))
    assert str(file) in str(caught.value)


def test_what_may_be_a_mistake_is_noted(coco, write_coco):
    (found,) = coco["annotations"][:1]
    coco["annotations"] += [{**found, "id": 9}]
    coco["annotations"][0]["score"] = 0.5
    coco["categories"][1]["name"] = "1"
    assert load_dataset(write_coco(coco)).notes == (
        "1 of 5 objects are copies of others, with the same box and category; remove them",
        "1 of 2 categories have names without a letter, such as '1', and methods are asked for these names: write the "
        "names of the objects",
        "annotations[0] has a score, as predictions have: is this a file of annotations?",
    )


def test_objects_that_are_all_in_one_corner_are_noted(coco, write_coco):
    for image in coco["images"]:
        image |= {"file_name": f"no/{image['id']}.png", "width": 300, "height": 250}
    found = coco["annotations"]
    coco["annotations"] = [{**found[i % 4], "id": i, "bbox": [3 * i, 2, 4, 4], "segmentation": []} for i in range(10)]
    (note,) = load_dataset(write_coco(coco)).notes
    assert note.startswith(
        "all 10 objects in larger images lie within the first 100 x 100 pixels: are they in percent?"
    )
    coco["annotations"][0]["bbox"] = [200, 200, 4, 4]
    assert load_dataset(write_coco(coco)).notes == ()


def test_boxes_before_a_rotation_are_refused(coco, write_coco):
    for number, angle in enumerate((45.0, 0.0, 45.0)):  # the first has a polygon
        coco["annotations"][number]["attributes"] = {"occluded": False, "rotation": angle}
    coco["annotations"][2]["segmentation"] = []
    with pytest.raises(DataError, match=r"1 of 4 objects.* 1 with a rotation, .* \(first: annotations\[2\] \(id 2\)"):
        load_dataset(write_coco(coco))


def test_what_is_no_rotation_or_is_ignored_is_read(coco, write_coco):
    for annotation, angle in zip(coco["annotations"], ("0.00", 180, "clockwise", 30), strict=True):
        annotation |= {"attributes": {"rotation": angle}, "segmentation": []}
    coco["annotations"][3]["ignore"] = 1
    assert len(load_dataset(write_coco(coco)).annotations) == 3


def test_a_rotation_gets_no_advice_on_corners(coco, write_coco):
    # corners would fit as well, but they do not explain a rotation
    coco["annotations"][0] |= {"attributes": {"rotation": 30}, "bbox": [1, 1, 6, 6], "segmentation": []}
    with pytest.raises(DataError, match=r"1 with a rotation, .*\)\. Correct them"):
        load_dataset(write_coco(coco))


def test_a_file_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("images:")
    with pytest.raises(DataError, match=r"x\.json is not a COCO annotation file"):
        load_dataset(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        load_dataset(str(tmp_path / "none.json"))


def test_an_image_of_another_size_is_refused(coco, write_coco):
    file = write_coco(coco)
    coco["images"][0]["width"] = 31
    file.write_text(json.dumps(coco))
    with pytest.raises(DataError, match="is 30x20 pixels, but the annotation file says 31x20"):
        load_dataset(str(file)).read_image(0)


def test_a_truncated_image_is_refused(coco, write_coco):
    file = write_coco(coco)
    image = file.parent / "images" / "a.png"
    image.write_bytes(image.read_bytes()[:200])
    dataset = load_dataset(str(file))
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        dataset.read_image(0)


def test_without_an_image_folder_only_reading_images_fails(coco, write_coco):
    dataset = read_coco(write_coco(coco), name="bare", image_root=None)
    with pytest.raises(DataError, match="give one with --images"):
        dataset.read_image(0)


def test_masks_are_those_of_the_polygons(dataset):
    drawn = decode_mask(dataset.masks.take().encode()[2])
    expected = np.zeros((20, 30), dtype=bool)
    expected[10:16, 20:26] = True
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize("parent", ["none", "None", "", None])
def test_a_supercategory_that_says_none_is_no_parent(coco, write_coco, parent):
    coco["categories"][0]["supercategory"] = parent
    assert load_dataset(str(write_coco(coco))).vocabulary.parents == {}


def test_a_byte_order_mark_does_no_harm(coco, write_coco):
    file = write_coco(coco)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b",", b",\r\n"))
    assert len(load_dataset(str(file)).images) == 3


def test_a_folder_without_any_of_the_images_is_refused_with_the_place_of_the_first(coco, write_coco):
    file = write_coco(coco)
    root = file.parent / "images"
    dataset = load_dataset(str(file))
    dataset.refuse_missing_images()
    names = [image.file_name for image in dataset.images]
    for name in names:
        (root / name).rename(file.parent / name)
    with pytest.raises(DataError, match=rf"0 of the 3 images .* are in {root}; {names[0]} is in .*: give --images"):
        dataset.refuse_missing_images()
    (file.parent / names[0]).unlink()
    with pytest.raises(DataError, match="give their folder with --images DIR"):
        dataset.refuse_missing_images()


def test_a_picture_that_is_turned_says_so(coco, write_coco):
    dataset = load_dataset(str(write_coco(coco)))
    Image.new("RGB", (20, 30)).save(dataset.image_root / "a.png")
    with pytest.raises(DataError, match="20x30 pixels, but the annotation file says 30x20; swap them there, or save"):
        dataset.read_image(0)


def test_annotations_read_in_parts_are_those_read_at_once(coco, write_coco, monkeypatch):
    path = str(write_coco(coco))
    whole = load_dataset(path)
    monkeypatch.setattr(coco_reader, "_ANNOTATIONS_AT_ONCE", 1)
    parts = load_dataset(path)
    for name in ("image", "category", "boxes"):
        assert np.array_equal(getattr(parts.annotations, name), getattr(whole.annotations, name))
    assert parts.masks.take().encode() == whole.masks.take().encode()
    assert parts.masks.take(first_polygon_only=True).encode() == whole.masks.take(first_polygon_only=True).encode()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda text: text.replace(b'"category_id"', b'"category"'),
            r'annotations\[0\] \(id 0\) has no "category_id"',
        ),
        (lambda text: text.replace(b"[20, 10, 6", b'["a", 10, 6'), r'annotations\[2\] \(id 2\), bbox\[0\] is "a"'),
        (
            lambda text: text.replace(b'"image_id": 7', b'"image_id": "\xff"'),
            "line 1 has the byte 0xff, which",
        ),
    ],
)
def test_a_malformed_annotation_is_named_by_its_place_in_the_file(coco, write_coco, monkeypatch, damage, message):
    monkeypatch.setattr(coco_reader, "_ANNOTATIONS_AT_ONCE", 1)
    path = write_coco(coco)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    with pytest.raises(DataError, match=message):
        load_dataset(str(path))


def test_a_malformed_mask_is_named_by_its_place_in_the_file(coco, write_coco, monkeypatch):
    monkeypatch.setattr(coco_reader, "_ANNOTATIONS_AT_ONCE", 1)
    image = coco["images"][0]
    bad = {"size": [image["height"], image["width"]], "counts": "0"}
    coco["annotations"][1] |= {"image_id": image["id"], "segmentation": bad}
    with pytest.raises(DataError, match=r"segmentation of annotations\[1\]: the run lengths do not add up"):
        load_dataset(str(write_coco(coco)))


def test_an_object_of_several_polygons_counts_whole_or_with_its_first(coco, write_coco):
    coco["annotations"][3]["segmentation"].append([20, 1, 22, 1, 22, 3, 20, 3])
    masks = load_dataset(str(write_coco(coco))).masks
    assert masks.take(first_polygon_only=True).areas.tolist() == [16, 15, 36, 64]
    assert masks.take(np.array([3, 0]), first_polygon_only=True).areas.tolist() == [64, 16]
    assert masks.take(np.array([3, 0])).areas.tolist() == [68, 16]


def test_masks_are_held_as_text(coco, write_coco):
    entry = coco["annotations"][0] | {"bbox": [1, 1, 25, 14], "segmentation": [[1, 1, 26, 1, 26, 15, 1, 15]]}
    coco["annotations"] = [{**entry, "id": i} for i in range(8_000)]
    path = str(write_coco(coco))
    load_dataset(path)  # what is imported on first use is not counted
    tracemalloc.start()
    dataset = load_dataset(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset.masks) == 8_000
    # beside its text: 16 bytes for the place of a mask, and 56 for its columns; as runs it would take 8 bytes a column
    text = len(dataset.masks.take(np.array([0])).encode()[0]["counts"])
    assert held < 8_000 * 1.2 * (text + 16 + 8 * 7) + 100_000 < 8_000 * 25 * 8
