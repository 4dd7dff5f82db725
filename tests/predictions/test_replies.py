"""Replies of language models are read as instances; what cannot be read is refused or becomes an event."""

import json
from pathlib import Path

import pytest

from earthinstruct import score
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.predictions import Conventions, read_predictions

UPRIGHT = Conventions(order="xyxy", frame="hundredths")
TURNED = Conventions(order="xyxy+degrees", frame="hundredths")


@pytest.fixture
def read(tmp_path, dataset):
    def read(lines, conventions=UPRIGHT):
        path = tmp_path / "replies.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)) + "\n")
        return read_predictions(path, dataset, conventions=conventions)

    return read


def reply(answer, image="a.png", **more):
    return {"image": image, "answer": answer, "label": "ship", **more}


@pytest.mark.parametrize(
    "answer",
    [
        "[10, 20, 40, 60]",
        "[[10, 20, 40, 60]]",
        "There is 1 ship: [10.0,20.0,40.0,60.0].",
        "{<10><20><40><60>}",
        "<box>(10, 20), (40, 60)</box>",
        "<|box_start|>(10,20),(40,60)<|box_end|>",
        "<p>a ship</p> {<10><20><40><60>}",
        "<think>[1, 2, 3, 4]?</think>[10, 20, 40, 60]",
        '```json\n[{"bbox_2d": [10, 20, 40, 60]}]\n```',
        json.dumps([{"bbox_2d": [10, 20, 40, 60]}], indent=12),
    ],
)
def test_every_way_to_write_a_box(read, answer):
    # hundredths of 30 x 20 pixels
    assert read([reply(answer)])[0].boxes == [pytest.approx((3, 4, 9, 8))]


@pytest.mark.parametrize(
    "answer", ["[[10, 20, 40, 60, 180]]", "{<10><20><40><60>|<180>}", "[10, 20, 40, 60]", "{<10><20><40><60>}"]
)
def test_a_box_with_or_without_an_angle(read, answer):
    assert read([reply(answer)], TURNED)[0].boxes == [pytest.approx((3, 4, 9, 8))]


@pytest.mark.parametrize("part", ["(", "<p>", "[1,", "{<1>", "(1,2),", "1, ", "<ref>x"])
def test_long_replies_without_an_end_are_read(read, part):
    record = read([reply(part * 50_000 + "x"), reply("[10, 20, 40, 60]", image="b")])[0]
    assert (record.boxes, sum(record.events.values())) == ([], 1)


def test_one_odd_reply_does_not_refuse_the_others(read):
    odd = reply("[5, 5, 9, 9], <p>a dam</p> [1, 2, 3, 4, 90], [20, 30, 40, 60]", label=None)
    records = read([odd, reply("[10, 20, 40, 60]", image="b")])
    assert (records[0].labels, records[7].events) == (["a dam"], {})
    assert records[0].events == {"boxes without a label": 1, "unreadable elements": 1, "questions without a reply": 1}


def test_several_boxes_and_images(read):
    records = read(
        [
            reply("[[0, 0, 10, 10, 0]][[50, 50, 60, 60, 0]]"),
            reply("{<0><0><10><10>|<90>}<delim>{<20><20><30><30>|<0>}", label="harbor"),
            reply("none", image="c"),
            reply("[[0, 0, 100, 100]]", image="b", label="harbor"),
        ],
        TURNED,
    )
    assert records[0].labels == ["ship", "ship", "harbor", "harbor"]
    assert [tuple(map(round, box)) for box in records[7].boxes] == [(0, 0, 30, 20)]
    assert (records[0].scores, records[0].masks, records[9].boxes) == (None, None, [])


def test_phrases_name_the_boxes_after_them(read):
    answer = "<p>two ships</p> {<0><0><10><10>|<0>}<delim>{<20><20><30><30>|<0>} at <ref>a quay</ref>[[5, 5, 9, 9]]"
    assert read([reply(answer, label=None)], TURNED)[0].labels == ["two ships", "two ships", "a quay"]


def test_names_in_objects_are_those_of_their_boxes(read):
    answer = json.dumps(
        [
            {"bbox_2d": [10, 20, 40, 60], "label": "Ships"},
            {"label": "harbor", "bbox": [1, 2, 3, 4]},
            {"bbox": [5, 6, 7, 8], "label": "red hull"},
        ]
    )
    assert read([reply(answer, label=None)])[0].labels == ["Ships", "harbor", "red hull"]
    record = read([reply(answer)])[0]  # asked about ships
    assert (record.labels, record.events) == (["ship", "ship"], {"labels not asked for": 1})


def test_what_is_lost_becomes_events(read):
    records = read(
        [
            reply(""),
            reply("I'm sorry, the image has no such object.", label="harbor"),
            reply("[[10, 20, 40, 60]], [[1, 2]], [[5, 5, 2, 9]], [[0, 0, 200, 50]], [[80, 80, 9", image="b"),
        ]
    )
    assert records[0].events == {"empty replies": 1, "replies without a box": 1}
    assert (records[0].labels, records[0].boxes) == ([], [])
    assert records[7].events == {
        "unreadable elements": 1,  # two numbers
        "boxes outside the image": 1,  # no width: x2 is less than x1
        "boxes beyond the frame": 1,  # 200 of 100
        "truncated replies": 1,
        "questions without a reply": 1,  # about harbors
    }
    assert [tuple(map(round, box)) for box in records[7].boxes] == [(3, 4, 9, 8), (0, 0, 30, 10)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [reply("[1, 2, 3, 4, 90]")],
            r"reply 0 has a box of 5 numbers, \[1.0, 2.0, 3.0, 4.0, 90.0\], and no .*give another --order",
        ),
        ([reply("[1, 2, 3, 4]", label=None)], "reply 0 has a box without a label; give the lines a 'label'"),
        ([reply("ship <loc0312><loc0100><loc0512><loc0400>")], "reply 0 has '<loc0312><loc0100><.*', and no box of"),
        ([reply('{"x1": 4, "y1": 5, "x2": 6, "y2": 7}')], "and no box of the file can be read; expected boxes as"),
        ([reply("[40, 60, 10, 20]" * 10)], "10 of 10 boxes as xyxy have their second corner before the first"),
        ([reply("[10, 20, 400, 600]")], "1 of 1 boxes reach beyond 100, as far as 600, and are no hundredths"),
        ([reply("none"), reply("none", image="a.jpg")], "reply 1 is about image 0 and label 'ship' like an earlier"),
        ([reply("none", image="z.png")], "reply 0: dataset 'set' has no image 'z.png'"),
        ([reply("none", image=None)], "reply 0 names no image; give 'image_id' or 'image'"),
        ([reply("none"), {"image": "b"}], 'entry 1 has no "answer"; it has "image". Expected a line a reply'),
    ],
)
def test_what_has_no_meaning_is_refused(read, lines, message):
    with pytest.raises(DataError, match=message):
        read(lines)


@pytest.mark.parametrize(
    "answer",
    [
        "I checked tiles 1, 2, 3, 4 and found no ship.",
        "No ship at 2024-01-05 12:30.",
        "There are 0 ships: checked 2 docks, 3 quays and 4 beaches.",
        "no ship <image_1024>",
        "[40, 60, 10, 20]",
    ],
)
def test_a_reply_that_finds_nothing_is_read(read, answer):
    assert read([reply(answer)])[0].boxes == []


def test_numbers_in_few_replies_are_no_boxes(read):
    few = [reply("Tiles 1, 2, 3, 4 are empty."), reply("none", image="b")]
    assert read(few)[0].events == {"unreadable elements": 1}
    with pytest.raises(DataError, match="reply 0 has '1, 2, 3, 4', and no box of the file can be read"):
        read(few[:1])


def test_the_form_must_be_given(read):
    for given in (Conventions(order="xyxy"), Conventions()):
        with pytest.raises(EarthInstructError, match="holds replies; say with --order and --frame what the numbers of"):
            read([reply("none")], given)
    with pytest.raises(EarthInstructError, match="--classes says nothing about replies, which name their objects"):
        read([reply("none")], Conventions(Path("classes.json"), order="xyxy", frame="pixels"))


def test_images_without_a_reply_are_reported(tmp_path, dataset):
    path = tmp_path / "model.jsonl"
    path.write_text(json.dumps(reply("[[3.3, 5, 16.7, 25]]")) + "\n" + json.dumps(reply("", image="b")))
    result = score(path, dataset, "open_vocabulary", order="xyxy", frame="hundredths")
    assert result.metrics.box.tally["ship"].tp == 1
    assert (result.run.failed, result.run.events["empty replies"]) == ({"9": "no prediction"}, 1)
    assert result.method.parameters["imported"]["frame"] == "hundredths"
