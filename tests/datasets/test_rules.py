"""Objects that nobody can find: one set of rules for every format, refused with number and place, or left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct import evaluate, score
from earthinstruct.datasets import load_dataset, prepare_dior, prepare_nwpu
from earthinstruct.errors import DataError

from . import fake_dior
from .fake_tools import HEIGHT, NAMES, OBJECTS, WIDTH, coco, pictures, polygon, voc_files, yolo_labels

GOOD = (10, 10, 20, 20)
BAD = {  # xywh in pixels
    "without area": (10, 10, 0, 20),
    "with swapped corners": (30, 30, -20, -20),
    "outside their image": (300, 10, 20, 20),
    "with less than half of their area inside": (90, 70, 40, 40),
    "normalised to 0..1": (0.2, 0.25, 0.2, 0.25),
}


def as_coco(root, boxes):
    pictures(root / "images")
    content = coco()
    content["annotations"] = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": list(box)} for i, box in enumerate(boxes, start=1)
    ]
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def as_voc(root, boxes):
    pictures(root / "JPEGImages")
    (root / "Annotations").mkdir()
    objects = [("ship", (x, y, x + width, y + height)) for x, y, width, height in boxes]
    text = (
        fake_dior.xml("a", objects).replace("<width>8<", f"<width>{WIDTH}<").replace("<height>8<", f"<height>{HEIGHT}<")
    )
    (root / "Annotations" / "a.xml").write_text(text)
    return root


def as_csv(root, boxes):
    pictures(root)
    lines = [f"a.png,{x},{y},{x + width},{y + height},ship" for x, y, width, height in boxes]
    (root / "boxes.csv").write_text("\n".join(["image,xmin,ymin,xmax,ymax,label", *lines, "b.png,,,,,"]))
    return root


def as_yolo(root, boxes):
    pictures(root / "images")
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("ship\n")
    lines = [f"0 {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}" for x, y, w, h in boxes]
    (root / "labels" / "a.txt").write_text("\n".join(lines))
    return root


def as_dota(root, boxes):
    pictures(root / "images")
    (root / "labelTxt").mkdir()
    lines = [f"{' '.join(map(str, polygon(box)))} ship 0" for box in boxes]
    (root / "labelTxt" / "a.txt").write_text("\n".join(lines))
    return root


OTHER_WORDS = {
    ("yolo", "with swapped corners"): "with a number outside 0 to 1",
    ("yolo", "outside their image"): "with a number outside 0 to 1",
    ("yolo", "with less than half of their area inside"): "with a number outside 0 to 1",
    ("dota", "outside their image"): "with a polygon far outside their image",
}
FORMATS = {"coco": as_coco, "voc": as_voc, "csv": as_csv, "yolo": as_yolo, "dota": as_dota}
PLACES = {"coco": r"annotations\[1\] \(id 2\)", "voc": "object 2", "csv": "line 3", "yolo": "line 2", "dota": "line 2"}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("problem", BAD)
def test_an_object_that_nobody_can_find_is_refused_or_left_out(tmp_path, kind, problem):
    if (kind, problem) == ("dota", "with swapped corners"):
        return  # a polygon has none
    words = OTHER_WORDS.get((kind, problem), problem)
    folder = FORMATS[kind](tmp_path / "mine", [GOOD, BAD[problem], GOOD, GOOD])
    message = rf"1 of 4 objects cannot be found by any method: 1 .*{words}.* \(first: .*{PLACES[kind]}"
    with pytest.raises(DataError, match=message + ".*--skip-invalid"):
        load_dataset(str(folder))
    evaluation = evaluate("oracle", str(folder), setting="open_vocabulary", skip_invalid=True, output=tmp_path / "runs")
    (result,) = evaluation
    assert result.metrics.box.tally["ship"].tp == 3
    assert result.metrics.box.f1.value == result.metrics.counting.f1.value == 1
    (note,) = [note for note in result.task.dataset.notes if "left out" in note]
    assert note.startswith("1 of 4 objects were left out (--skip-invalid): 1 ")
    assert score(evaluation.folders[0], str(folder), "open_vocabulary", skip_invalid=True).metrics.box.f1.value == 1


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([[50, 40, 70, 40, 60, 40]], "whose mask has no pixel"),
        ({"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT]}, "whose mask has no pixel"),
        ([polygon((70, 40, 20, 20))], "in contradiction to their own mask"),
        ([polygon((40, 30, 20, 20))], "in contradiction to their own mask.*Are they centre x, centre y, width, height"),
    ],
)
def test_a_mask_must_have_pixels_in_its_box(tmp_path, segmentation, problem):
    content = coco()
    content["annotations"][1]["segmentation"] = segmentation
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"1 of 3 objects .*{problem}"):
        load_dataset(str(tmp_path))
    assert len(load_dataset(str(tmp_path), skip_invalid=True).annotations) == 2


def test_a_mask_that_fits_its_box_roughly_is_accepted(tmp_path):
    content = coco()
    content["annotations"][1]["segmentation"] = [polygon((50, 40, 8, 20))]  # IoU 0.4 of the boxes
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert len(load_dataset(str(tmp_path)).annotations) == 3


@pytest.mark.parametrize(
    ("boxes", "reading"),
    [
        ([(50, 40, 70, 60), (60, 50, 90, 70), (5, 5, 45, 35), (10, 10, 30, 30)], "x1, y1, x2, y2"),
        ([(WIDTH - 16, HEIGHT - 18, 20, 20), *[(12, 12, 20, 20)] * 9] * 10, None),  # the edge cuts one in ten
    ],
)
def test_boxes_in_another_form_are_refused_as_a_whole(tmp_path, boxes, reading):
    folder = as_coco(tmp_path / "mine", boxes)
    if reading is None:
        assert len(load_dataset(str(folder)).annotations) == len(boxes)
        return
    with pytest.raises(DataError, match=rf"2 of 4 boxes leave their image .*4 fit if the numbers are {reading}"):
        load_dataset(str(folder), skip_invalid=True)


def test_corners_that_are_width_and_height_are_named(tmp_path):
    objects = [(50, 40, 20 - 50, 20 - 40), (60, 50, 10 - 60, 10 - 50), (70, 20, 10 - 70, 12 - 20)]
    with pytest.raises(DataError, match=r"3 of 3 .*with swapped corners.*Are they x, y, width, height\?"):
        load_dataset(str(as_voc(tmp_path / "mine", objects)))


def test_a_false_size_is_named_before_the_objects_that_it_puts_outside(tmp_path):
    folder = as_coco(tmp_path, [GOOD, (WIDTH - 15, 10, 10, 20)])
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    content["images"][0] |= {"width": HEIGHT, "height": WIDTH}
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"is {WIDTH}x{HEIGHT} pixels, but .* says {HEIGHT}x{WIDTH}; swap them there"):
        load_dataset(str(folder))
    (folder / "images" / content["images"][0]["file_name"]).unlink()
    with pytest.raises(DataError, match="Are they y before x, or width and height of their image swapped"):
        load_dataset(str(folder))


def test_a_dataset_of_invalid_objects_alone_is_refused_in_any_case(tmp_path):
    with pytest.raises(DataError, match="1 of 1 objects"):
        load_dataset(str(as_voc(tmp_path / "mine", [BAD["without area"]])), skip_invalid=True)


MARKS = {
    "crowd": ({"iscrowd": 1}, True),
    "crowd as truth": ({"iscrowd": True}, True),
    "ignore": ({"ignore": 1}, True),
    "difficult": ({"difficult": "1"}, True),
    "none": ({"iscrowd": None, "ignore": False, "difficult": 0}, False),
}


@pytest.mark.parametrize("mark", MARKS)
def test_ignored_objects_are_read_counted_and_not_scored(tmp_path, mark):
    entry, ignored = MARKS[mark]
    content = coco()
    content["annotations"][1] |= entry
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = load_dataset(str(tmp_path))
    assert len(dataset.annotations) == len(dataset.masks) == 3 - ignored
    assert (dataset.ignored is None) != ignored
    (result,) = evaluate("oracle", str(tmp_path), setting="open_vocabulary", output=tmp_path / "runs")
    assert result.metrics.mask.f1.value == result.metrics.box.f1.value == 1
    assert [note[:31] for note in result.task.dataset.notes] == ["1 of 3 objects are ignored, nei"] * ignored


def test_masks_that_are_all_crowds_are_refused_with_the_way_out(tmp_path):
    content = coco()
    runs = [10 * HEIGHT + 10, *[20, HEIGHT - 20] * 19, 20]
    runs.append(WIDTH * HEIGHT - sum(runs))
    for entry in content["annotations"]:
        entry.pop("segmentation")
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}}
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'1 of 3 objects are crowds.*CVAT writes "iscrowd": 1 for every mask.*write'):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("value", ["0", "1", "true", "Unspecified", "maybe"])
def test_difficult_objects_of_voc_are_ignored(tmp_path, value):
    folder = as_voc(tmp_path / "mine", [GOOD, (50, 40, 20, 20)])
    file = folder / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("</name>", f"</name><difficult>{value}</difficult>", 1))
    if value == "maybe":
        with pytest.raises(DataError, match=r"object 1 \(ship\): <difficult> is 'maybe'; expected 0 or 1"):
            load_dataset(str(folder))
        return
    dataset = load_dataset(str(folder))
    assert len(dataset.annotations) == (1 if value in ("1", "true") else 2)


def test_a_harmless_variant_is_read(tmp_path):
    content = coco()
    for entry in content["annotations"]:
        entry |= {"id": f"n{entry['id']}", "image_id": float(entry["image_id"]), "iscrowd": False}
    del content["annotations"][0]["id"], content["annotations"][2]["bbox"]
    content["images"][0]["width"] = float(WIDTH)
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_bytes(json.dumps(content).encode("utf-16"))
    boxes = load_dataset(str(tmp_path)).annotations.boxes
    assert boxes.tolist() == [list(map(float, box)) for found in OBJECTS.values() for _, box in found]


def test_a_file_without_objects_says_so(tmp_path):
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(coco() | {"annotations": []}))
    assert load_dataset(str(tmp_path)).notes == ("annotations.json has no objects, so that no score is defined",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("image,xmin,ymin,xmax,label\n", r"line 1, has the columns .* \(missing: ymax\)"),
        ("image,x1,xmin,ymin,xmax,ymax,label\n", "line 1: two columns are 'xmin', 'x1' and 'xmin'"),
        ("a.png,1,2,about 20,30,ship\n", "line 1, has the columns"),
        (
            "image,xmin,ymin,xmax,ymax,label\na.png,1,2,about 20,30,ship\n",
            r"line 2: xmax is 'about 20'; expected a number",
        ),
        ("image,xmin,ymin,xmax,ymax,label\na.png,1,2,20,30,\n", "line 2 has no label"),
        ("image,xmin,ymin,xmax,ymax,label\na.png,1,2,20\n", "line 2 has 4 columns; expected 6"),
        ("image,xmin,ymin,xmax,ymax,label\nz.png,1,2,20,30,ship\n", r"1 of the 1 images of .* are not in .*: z\.png"),
        ("image,xmin,ymin,xmax,ymax,label\nx\\a.png,1,2,20,30,ship\n", "line 2: file name .* has a backslash"),
        ("", "is empty; expected the columns"),
        (
            "image,xmin,ymin,xmax,ymax,label\na.png,1,2,20,30,Ship\nb.png,1,2,20,30,ship\n",
            r"differ in case .*, 'Ship' and 'ship' \(first at .*, line 2 \(Ship\) and .*, line 3 \(ship\)\); rename",
        ),
        (
            "image,xmin,ymin,xmax,ymax,label\na.png,1,5,2,0,20,0,30,0,ship\n",
            "line 2 has 10 columns, and line 1 has 6: are there numbers with commas",
        ),
        ("image,xmin,ymin,xmax,ymax,label,probability\n", "the column 'probability' belongs to predictions"),
        ("image,xmin,ymin,xmax,ymax,label,score\n", "the column 'score' belongs to predictions"),
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,90,80,ship,1,2,20,30\n",
            "line 2 says 90x80",
        ),
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,wide,80,ship,1,2,20,30\n",
            "line 2: width is 'wide'; expected a number",
        ),
    ],
)
def test_a_malformed_table_is_named(tmp_path, line, message):
    pictures(tmp_path)
    (tmp_path / "boxes.csv").write_text(line)
    with pytest.raises(DataError, match=message):
        load_dataset(str(tmp_path / "boxes.csv"))


def test_the_line_of_an_error_is_that_of_the_file(tmp_path):
    pictures(tmp_path)
    rows = 'image,xmin,ymin,xmax,ymax,label\na.png,1,2,20,30,"storage\ntank"\n\na.png,x,2,20,30,ship\n'
    (tmp_path / "boxes.csv").write_text(rows)
    with pytest.raises(DataError, match=r"boxes\.csv, line 5: xmin is 'x'"):
        load_dataset(str(tmp_path / "boxes.csv"))


def test_a_line_break_in_quotes_stays_in_its_cell(tmp_path):
    pictures(tmp_path)
    (tmp_path / "boxes.csv").write_text(
        'image,seen by,xmin,ymin,xmax,ymax,label\na.png,"x\ny",1,2,20,30,"storage tank"\n'
    )
    assert load_dataset(str(tmp_path / "boxes.csv")).vocabulary.categories == ("storage tank",)


def test_a_voc_box_before_its_rotation_is_refused(tmp_path):
    folder = as_voc(tmp_path / "mine", [GOOD, GOOD])
    file = folder / "Annotations" / "a.xml"
    turned = "<attributes><attribute><name>rotation</name><value>{}</value></attribute></attributes></object>"
    first, second, rest = file.read_text().split("</object>")
    for nothing in ("0.0", "0.00", "", "180"):
        file.write_text(first + turned.format(nothing) + second + turned.format(nothing) + rest)
        assert len(load_dataset(str(folder)).annotations) == 2
    file.write_text(first + turned.format("0.0") + second + turned.format("45.0") + rest)
    with pytest.raises(DataError, match=r"1 of 2 objects .*: 1 with a rotation, .*a\.xml, object 2 "):
        load_dataset(str(folder))


@pytest.mark.parametrize("twice", ["<name>car</name>", "<bndbox></bndbox>", "<difficult>1</difficult>"])
def test_an_element_that_is_there_twice_is_refused(tmp_path, twice):
    folder = as_voc(tmp_path / "mine", [GOOD])
    file = folder / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("</object>", f"<difficult>0</difficult>{twice}</object>"))
    with pytest.raises(DataError, match=r"a\.xml, object 1.* has <\w+> 2 times; keep one"):
        load_dataset(str(folder))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3 4 5 6 7 ship 0", r"line 1 is '1 2 3 4 5 6 7 ship 0'; expected x1 y1"),
        ("1 2 3 4 5 6 7 nan ship 0", "line 1 is"),
        ("1 1 9 1 9 9 1 9 ship hard", "line 1 ends with 'hard'; expected 0, or 1"),
    ],
)
def test_a_malformed_line_of_dota_is_named(tmp_path, line, message):
    folder = as_dota(tmp_path / "mine", [GOOD])
    (folder / "labelTxt" / "a.txt").write_text(line)
    with pytest.raises(DataError, match=message):
        load_dataset(str(folder))


def test_splits_are_asked_for(tmp_path):
    for split in ("train", "valid"):
        pictures(tmp_path / split / "images")
        yolo_labels(tmp_path / split / "labels")
    (tmp_path / "data.yaml").write_text(f"names: {list(NAMES)}")
    with pytest.raises(DataError, match=r"has the splits train, valid; give one, such as --dataset .*valid"):
        load_dataset(str(tmp_path))


def test_two_files_of_one_image_are_refused_and_hidden_files_left_out(tmp_path):
    folder = as_yolo(tmp_path / "mine", [GOOD])
    (folder / "labels" / "._a.txt").write_bytes(b"\0\1")
    (folder / "images" / "._a.png").write_bytes(b"\0\1")
    assert load_dataset(str(folder)).notes == ("1 of 2 images have no .txt file, so no object: b.png",)
    (folder / "labels" / "a.txt").rename(folder / "labels" / "a.TXT")
    assert len(load_dataset(str(folder)).annotations) == 1
    (folder / "labels" / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"a\.TXT and .*a\.txt annotate the same image"):
        load_dataset(str(folder))


def test_images_that_are_elsewhere_are_found_before_a_run(tmp_path):
    content = coco()
    for image in content["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    pictures(tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=rf"0 of the 2 images .* are in .*images; images/a.png is in .*: give --images {tmp_path}"
    ):
        evaluate("oracle", str(tmp_path), output=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_split_list_of_dior_may_have_suffixes_and_no_repetition(tmp_path):
    root = fake_dior.make_dior(tmp_path)
    flat = root / "Annotations"
    for file in (flat / "Horizontal Bounding Boxes").iterdir():
        file.rename(flat / file.name)
    (flat / "Horizontal Bounding Boxes").rmdir()
    (root / "JPEGImages-trainval" / "00011.jpg").rename(root / "JPEGImages-trainval" / "00011.JPG")
    split = root / "ImageSets" / "Main" / "val.txt"
    split.write_text("00011.jpg\n00012.xml\n00013\n")
    assert sum(prepare_dior(root).counts.values()) == 3
    split.write_text("00011\n00012\n00011.jpg\n")
    with pytest.raises(DataError, match=r"val\.txt, line 3, repeats the image 00011 of line 1; keep one"):
        prepare_dior(root)


def test_all_text_files_of_nwpu_are_read(tmp_path, reference):
    root = tmp_path / "nwpu"
    (root / "positive image set").mkdir(parents=True)
    (root / "ground truth").symlink_to(reference / "nwpu_text")
    from PIL import Image

    Image.new("L", (2000, 2000)).save(root / "picture.jpg", quality=1)
    for file in (reference / "nwpu_text").glob("*.txt"):
        (root / "positive image set" / f"{file.stem}.jpg").symlink_to(root / "picture.jpg")
    prepared = prepare_nwpu(root)
    assert prepared.n_images == prepared.known_images == 650
    assert prepared.counts == prepared.known
    assert sum(prepared.counts.values()) == 3896
    assert "3,896 objects, as in all copies of the text files; the readme says 3,775" in prepared.notes[0]


def test_the_oracle_finds_every_tree_of_neon(tmp_path, reference):
    pytest.importorskip("rasterio")
    (result,) = evaluate("oracle", str(reference / "neon"), setting="open_vocabulary", output=tmp_path)
    assert result.run.n_failed == 0
    assert result.task.dataset.notes == ()
    assert result.metrics.box.f1.value == result.metrics.counting.f1.value == 1


NUMBERS = st.one_of(
    st.floats(-200, 200).map(str), st.sampled_from(["", "0", "nan", "1e999", "about 20", "1,5", "-0", "0x1f", "\u0661"])
)
LINES = st.lists(NUMBERS | st.sampled_from(["ship", "a.png", "(1,2)", "#"]), max_size=11)


@pytest.mark.parametrize("kind", ["csv", "yolo", "dota"])
@settings(max_examples=settings().max_examples // 5)
@given(lines=st.lists(LINES, max_size=4), separator=st.sampled_from([" ", ",", "\t", ";"]))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory, kind, lines, separator):
    folder = FORMATS[kind](tmp_path_factory.mktemp("fuzz") / "mine", [GOOD])
    (file,) = [path for path in folder.rglob("*") if path.name in ("a.txt", "boxes.csv")]
    file.write_text("\n".join(separator.join(line) for line in lines))
    read_or_refused(folder)


@settings(max_examples=settings().max_examples // 5)
@given(
    entry=st.dictionaries(
        st.sampled_from(["id", "image_id", "category_id", "bbox", "segmentation", "iscrowd", "ignore"]),
        st.none()
        | st.integers(-5, 200)
        | st.text(max_size=3)
        | st.lists(st.floats(-300, 300), max_size=8)
        | st.lists(st.lists(st.integers(-50, 150), max_size=8), max_size=2),
    )
)
def test_any_coco_entry_is_read_or_refused_in_words(tmp_path_factory, entry):
    folder = as_coco(tmp_path_factory.mktemp("fuzz") / "mine", [GOOD])
    content = json.loads((folder / "annotations.json").read_text())
    content["annotations"][0] |= entry
    (folder / "annotations.json").write_text(json.dumps(content))
    read_or_refused(folder)


@settings(max_examples=settings().max_examples // 5)
@given(
    st.lists(
        st.sampled_from(
            ["<object>", "</object>", "<bndbox>", "<xmin>1</xmin>", "<size>", "x", "&", "<name>ship</name>"]
        )
    )
)
def test_any_xml_is_read_or_refused_in_words(tmp_path_factory, parts):
    folder = as_voc(tmp_path_factory.mktemp("fuzz") / "mine", [GOOD])
    (folder / "Annotations" / "b.xml").write_text(f"<annotation>{''.join(parts)}</annotation>")
    read_or_refused(folder)


def read_or_refused(folder):
    """Every accepted object can be found; everything else is a `DataError` that names the folder."""
    try:
        dataset = load_dataset(str(folder))
    except DataError as error:
        assert str(folder) in str(error)
        return
    sides = dataset.annotations.boxes[:, 2:]
    assert (sides > 0).all()


def test_voc_files_and_labels_beside_each_other(tmp_path):
    # XML files beside the images win over YOLO text files, which may be a readme
    pictures(tmp_path)
    voc_files(tmp_path)
    (tmp_path / "readme.txt").write_text("made by hand")
    assert len(load_dataset(str(tmp_path)).annotations) == 3
