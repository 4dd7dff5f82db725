"""Counts and boxes are read from any form that says them clearly; all that is not read is an error or an event."""

import json

import pytest
from earthinstruct_models.lvlm import LvlmError, Reply, find_json, parse_counts, read_boxes, read_counts
from earthinstruct_models.lvlm.parsing import LARGEST_COUNT
from hypothesis import example, given
from hypothesis import strategies as st

PIECES = ('"ship"', '"count"', "true", "None", "nan", "-inf", "Infinity", "1e999", "9" * 400, "\\ud800", "```")
MESS = st.lists(st.sampled_from((*"[]{}\"'\\:,.-+0123eEntf \n/*#aNu", *PIECES))).map("".join)
LABELS = st.lists(st.text("abcdefgh", min_size=2, max_size=6), min_size=1, max_size=3).map(" ".join)
COUNTS = st.dictionaries(LABELS, st.integers(0, 999), min_size=1, max_size=5)
CORNERS = st.tuples(*[st.integers(0, 99)] * 2, *[st.integers(100, 999)] * 2).map(list)
BOXES = st.dictionaries(LABELS, st.lists(CORNERS, min_size=1, max_size=3, unique_by=tuple), min_size=1, max_size=4)


@given(text=MESS | st.text())
def test_nothing_breaks_the_reader(text):
    assert all(isinstance(value, dict | list) for value in find_json(text).values)
    try:
        counts = parse_counts(Reply(text))
    except LvlmError as error:
        assert error.reply == Reply(text)
        str(error).encode()
    else:
        assert all(isinstance(count, int) and 0 <= count <= LARGEST_COUNT for count in counts.values())
        assert all(label.strip() == label != "" for label in counts)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('{"ship": 3}', {"ship": 3}),
        ("{}", {}),
        ("[]", {}),
        ('{"counts": {}}', {}),
        ('{"counts": []}', {}),
        ('{"ship": 3.0, "dam": "3", "tower": " 3.0 ", "car": "1,200"}', {"ship": 3, "dam": 3, "tower": 3, "car": 1200}),
        ('{"ship": "three", "dam": "Zero", "car": null}', {"ship": 3, "dam": 0, "car": 0}),
        ('{"Counts": {"ship": 3}, "explanation": "one by one"}', {"ship": 3}),
        ('{"image": {"ship": 3}}', {"ship": 3}),
        ('{"result": {"counts": [{"label": "ship", "count": 3}]}}', {"ship": 3}),
        ('{"ship": {"count": 3, "confidence": "high"}, "dam": {"number": "1"}}', {"ship": 3, "dam": 1}),
        ('{"ship": {"count": 3}}', {"ship": 3}),
        ('[{"label": "ship", "count": 3}, {"category": "dam", "number": "1"}]', {"ship": 3, "dam": 1}),
        ('[{"Label": "ship", "Count": 1}, {"label": "ship", "count": 2}]', {"ship": 3}),
        ('[{"ship": 3}, {"dam": 1}]', {"ship": 3, "dam": 1}),
        ('{"label": "ship", "count": 3}', {"ship": 3}),
        ('{"  storage\\n tank ": 3}', {"storage tank": 3}),
        ('{"ship": 3, "ship": 3}', {"ship": 3}),
        ('{"ship": 3, " ship": 3}', {"ship": 3}),
        ('{"船": 3}', {"船": 3}),
        # several structures are one answer
        ('{"ship": 3}\n{"dam": 1}', {"ship": 3, "dam": 1}),
        ('{"ship": 3},\n{"dam": 1}', {"ship": 3, "dam": 1}),
        ('```json\n{"ship": 3}\n```\ndams:\n```json\n{"dam": 1}\n```', {"ship": 3, "dam": 1}),
        ('```json\n```json\n{"ship": 3}\n```', {"ship": 3}),
        ('```json\n{"ship": 3}', {"ship": 3}),
        ('{"ship": 3}\n```', {"ship": 3}),
        ('{"ship": 3} {}', {"ship": 3}),
        ('{} [] {"ship": 3}', {"ship": 3}),
        ('{"ship": 3}, that is {"ship": 3}', {"ship": 3}),
        ('{"label": "ship", "count": 3} or {"ship": 3}', {"ship": 3}),
        ('{"label": "ship", "count": 1}\n{"label": "ship", "count": 2}', {"ship": 3}),
        ('["ship", 3]\n["dam", 1]', {"ship": 3, "dam": 1}),
        ('["ship", "dam", "car"]: {"ship": 3} in [800, 800]', {"ship": 3}),
        ('{"ship": 3}\nFormat: {"category": 0}', {"ship": 3}),
        ('{"<category>": <count>}\n{"ship": 3}', {"ship": 3}),
        # more forms
        ('{"1": {"label": "ship", "count": 3}, "2": {"label": "dam", "count": 1}}', {"ship": 3, "dam": 1}),
        ('{"ship": {"type": "cargo", "count": 3}}', {"ship": 3}),
        ('{"id": 7, "label": "ship", "count": 3, "score": 1, "seen": true}', {"ship": 3}),
        ('{"ship": {"value": 3}}', {"ship": 3}),
        ('[{"ship": 3, "dam": 1}]', {"ship": 3, "dam": 1}),
        ('[["ship", 3], ["dam", "1"]]', {"ship": 3, "dam": 1}),
        ("[('ship', 3), ('dam', 1)]", {"ship": 3, "dam": 1}),
        ("{ship: 3, storage tank: 1}", {"ship": 3, "storage tank": 1}),
        ('{"ship": 3 "dam": 1}', {"ship": 3, "dam": 1}),
        ('[{"class": "ship", "count": 3}, {"object": "dam", "n": 1}]', {"ship": 3, "dam": 1}),
        ('[{"class_name": "ship", "quantity": 3}]', {"ship": 3}),
        ('{"ship": {"count": 2, "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]}, "dam": {"count": 0}}', {"ship": 2, "dam": 0}),
        ('{"counts": {"ship": 3}, "dam": 1}', {"ship": 3, "dam": 1}),
        ('{"counts": {"ship": 3}, "objects": [{"dam": 1}]}', {"ship": 3, "dam": 1}),
        (
            '{"ship": "twenty-one", "dam": "Forty two", "car": "one hundred and five"}',
            {"ship": 21, "dam": 42, "car": 105},
        ),
        ('{"ship": "none", "dam": "No", "car": "null"}', {"ship": 0, "dam": 0, "car": 0}),
        ('{"reasoning": "two ships", "ship": 2, "notes": ["a", "b"], "confidence": 0.9}', {"ship": 2}),
        ('{"reasoning": "no ship", "counts": {}}', {}),
        ('{"note": "clear", "unit": 2, "width": 800}', {"unit": 2}),
        ('{"ship": 2, "dam": 1, "total": 3}', {"ship": 2, "dam": 1}),
        ('{"counts": {"ship": 2}, "Total_Count": 2}', {"ship": 2}),
        ('[{"label": "ship", "count": 2}, {"label": "Total", "count": 2}]', {"ship": 2}),
        ('{"Ship": 3, "ship": 3}', {"Ship": 3}),
        ('{"storage_tank": 3, "storage tanks": 3}', {"storage_tank": 3}),
        ('{"categories": [{"name": "ship", "count": 3}]}', {"ship": 3}),
        ('{"found": [{"name": "ship", "count": 3}], "object-counts": {"dam": 1}}', {"ship": 3, "dam": 1}),
        ('[{"label": "Ship", "count": 1}, {"label": "ship", "count": 2}]', {"Ship": 3}),
        ("[{'type': 'text', 'text': '{\"ship\": 3}'}]", {"ship": 3}),
        ('<think>maybe {"ship": 12}</think>\n{"ship": 9}', {"ship": 9}),
        ('counts = {"ship": 3}', {"ship": 3}),
    ],
)
def test_counts(text, counts):
    assert parse_counts(Reply(text)) == counts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("null", "no JSON"),
        ("There are three ships.", "no JSON"),
        ('{"ship": 3.5}', "not a whole number"),
        ('{"ship": "3.5"}', "not a whole number"),
        ('{"ship": NaN}', "not a whole number"),
        ('{"ship": 1e999}', "not a whole number"),
        ("{'ship': nan}", "not a whole number"),
        ("{'ship': -inf}", "not a whole number"),
        (f'{{"ship": {"9" * 5000}}}', "not a whole number"),
        ('{"ship": -1}', "outside 0 to 100,000"),
        ('{"ship": "-1"}', "outside 0 to 100,000"),
        ('{"ship": 100001}', "outside 0 to 100,000"),
        ('{"ship": true}', "not a number"),
        ('{"ship": "many"}', "not a number"),
        ('{"ship": "3-5"}', "not a number"),
        ('{"ship": ""}', "not a number"),
        ('{"ship": [1, 2], "dam": 3}', "not a number"),
        ('{"": 3}', "without a label"),
        ('{"a\\u0000b": 3}', "no text"),
        ('{"\\ud800": 3}', "no text"),
        ('{"ship": 3, "ship": 4}', "two different values"),
        ('{"Ship": 3, "ship": 4}', "'Ship' two different values"),
        ('draft {"ship": 12}, on reflection {"ship": 9}', "two different values"),
        ('{"ship": 3}\n{"ship": 4}', "two different values"),
        ('{"ship": 1}\n{"ship": 1}', "'ship' twice in a row"),
        ('{"counts": {"ship": 3}, "objects": {"ship": 4}}', "two different values"),
        ('{"ship": 3}. For example {"dam": 1}', "an example beside the answer, the piece"),
        ('{"ship": 3}, "dam": 1}', "broken or cut off JSON: the piece"),
        ('{"ship": 3}\n{dam: many}', "the piece '{dam: many}'"),
        ('{"ship": 3}\n{"dam"', "broken or cut off"),
        ('{"ship": 3}\n[', "broken or cut off"),
        ('{"ship": 3, ...}', "the piece '...'"),
        ('{"ship": 3}\n{"dam" 1}', "broken or cut off"),
        ('{"ship": 3}\n{dam = 1}', "broken or cut off"),
        ('{"ship": 3}\n["dam": 1]', "broken or cut off"),
        ('{"ship": 3}\n[dam: 1]', "broken or cut off"),
        ('{"1": 3}', "no text"),
        ('{"label": "ship", "count": 3, "dam": 1}', "'dam' a number beside a label"),
        ('{"ship": 3}\n["dam", "2", "car", 1]', "not an object"),
        ('{"ship": 3}\n["dam", "2-3"]', "'2-3', which is not a number"),
        ('{"category": 0}', "no JSON"),
        ('[{"label": "name", "count": 0}]', "no JSON"),
        ("<think>{'ship': 3}", "no JSON"),
        ("- ship: 3\n- dam: 1", "no JSON"),
        ("| category | count |\n|-|-|\n| ship | 3 |", "no JSON"),
        ("I'm sorry, I cannot count in this image.", "no JSON"),
        ('{"count": 3}', "'count', a count without a label"),
        ('{"total": 0}', "'total', a count without a label"),
        ('{"reasoning": "two ships"}', "without counts"),
        ('{"ship": 3, "weather": "sunny"}', "'weather' the count 'sunny'"),
        ('{"ship": false}', "not a number"),
        ('{"ship": "about 20"}', "not a number"),
        ('{"ship": "~20"}', "not a number"),
        ('{"ship": ~20}', "broken or cut off"),
        ('{"ship": 1/2}', "broken or cut off"),
        ('{"ship": "three four"}', "not a number"),
        ('{"ship": [], "dam": 2}', "not a number"),
        ('{"ship": [[1, 2, 3, 4]]}', "not a number"),
        ('{"ship": {"small": 2, "large": 3}}', "'ship' the count .* not a number"),
        ('{"ship": {"min": 3, "max": 5}}', "'ship' the count .* not a number"),
        ('{"ship": {"estimated_count": 3}}', "'ship' the count .* not a number"),
        ('{"ships": 3, "ship": 4}', "'ships' two different values"),
        ('{"storage_tank": 3, "storage tank": 4}', "'storage_tank' two different values"),
        ('{"answer": "{\\"ship\\": 3}"}', "not a number"),
        ('"{\\"ship\\": 3}"', "broken or cut off"),
        ('{"type": "object", "properties": {"ship": {"type": "integer"}}}', "without a label or a count"),
        ('{"ship": 3, " ship": 4}', "two different values"),
        ('{"ship": 3, "har', "broken or cut off"),
        ('{"ship": 3, "dam": 1', "broken or cut off"),
        ('{"ship": 3 to 5}', "broken or cut off|no JSON"),
        ("[3, 4]", "not an object"),
        ('[{"label": "ship", "colour": "red"}]', "without a label or a count"),
        ('[{"label": "ship", "box": [1, 2, 3, 4]}]', "without a label or a count"),
        ('{"data": {"data": ' * 20 + "{}" + "}}" * 20, "nested too deep"),
    ],
)
def test_no_counts(text, reason):
    with pytest.raises(LvlmError, match=reason) as caught:
        parse_counts(Reply(text, input_tokens=5))
    assert caught.value.reply == Reply(text, input_tokens=5)


def test_an_error_shows_the_words_but_not_all_of_them():
    with pytest.raises(LvlmError) as caught:
        parse_counts(Reply("I see\nships. " * 1000))
    assert "I see\\nships. " in str(caught.value)
    assert "13,000 characters" in str(caught.value)
    assert len(str(caught.value)) < 450


@pytest.mark.parametrize(
    "key",
    [
        "detected_objects",
        "detectedObjects",
        "counts_by_category",
        "image_1",
        "scene",
        "Scene",
        "Final results",
        "ANSWER",
    ],
)
def test_a_single_name_that_says_what_it_holds_may_stand_before_the_counts(key):
    for counts in ({"ship": 3}, {"ship": 3, "dam": 1}):
        assert parse_counts(Reply(json.dumps({key: counts}))) == counts
        assert read_counts(Reply(json.dumps({key: counts, "total": 9})), ["ship"]).counts == counts
    with pytest.raises(LvlmError, match="not a number"):
        parse_counts(Reply(json.dumps({key: {"ship": {"small": 2}}})))


def test_a_single_name_that_is_no_category_may_stand_before_categories():
    text = '{"Port of Rotterdam": {"Ships": 3, "car": 2}}'
    assert read_counts(Reply(text), ["ship", "dam"]).counts == {"Ships": 3, "car": 2}
    for text, categories in (
        ('{"Port of Rotterdam": {"ship": 3}}', ["dam"]),
        ('{"ship": {"small": 2, "large": 3}}', ["dam"]),
        ('{"Ships": {"ship": 2, "large": 3}}', ["ship"]),
        ('{"detection tower": {"small": 2}}', ["detection tower"]),
        ('{"north": {"ship": 2}, "south": {"ship": 2}}', ["ship"]),
        ('{"image 1": {"ship": 2}, "dam": 2}', ["ship"]),
    ):
        with pytest.raises(LvlmError, match="not a number"):
            read_counts(Reply(text), categories)


def test_a_total_that_is_not_the_sum_is_an_event():
    assert read_counts(Reply('{"ship": 2, "dam": 1, "total": 4}')).events == {"totals that differ": 1}
    assert read_counts(Reply('{"ship": 2, "dam": 1, "total": 3}')).events == {}


def spellings_of_counts(counts):
    """One answer in many forms: as one structure, and as several."""
    entries = [{"label": label, "count": count} for label, count in counts.items()]
    alone = [{label: count} for label, count in counts.items()]
    whole = [counts, {"counts": counts}, entries, alone, list(map(list, counts.items())), [counts]]
    whole += [{label: {"count": count} for label, count in counts.items()}, {"result": {"objects": entries}}]
    one = [json.dumps(value, indent=indent) for value in whole for indent in (None, 2)]
    one += [repr(counts), str([tuple(pair) for pair in counts.items()]), f"```json\n{one[0]}\n```", f"Here: {one[0]}."]
    one += [json.dumps({"reasoning": "as seen", **counts, "total": sum(counts.values())})]
    one += ["{" + " ".join(json.dumps(member)[1:-1] for member in alone) + "}", one[0].replace('"', "")]
    one += [json.dumps([{"type": "text", "text": one[0]}]), f"<think>{{}}</think>{one[0]}"]
    several = [
        between.join(map(json.dumps, parts)) for between in ("\n", ",\n", "\nand\n") for parts in (alone, entries)
    ]
    several += ["\n".join(f"```json\n{json.dumps(part)}\n```" for part in alone), f"{one[0]}\n{{}}", f"[]\n{one[0]}"]
    return one, several


@given(counts=COUNTS, data=st.data())
@example({"ship": 3, "storage tank": 21}, None)
def test_any_spelling_of_counts_gives_the_same_counts(counts, data):
    one, several = spellings_of_counts(counts)
    for text in one + several if data is None else [data.draw(st.sampled_from(one + several))]:
        assert read_counts(Reply(text)).counts == counts, text
        assert read_counts(Reply(text)).events == {}


@given(counts=COUNTS, data=st.data())
def test_a_cut_reply_of_counts_is_an_error_or_the_whole_answer(counts, data):
    one, several = spellings_of_counts(counts)
    text = data.draw(st.sampled_from(one + several))
    cut = text[: data.draw(st.integers(0, len(text)))]
    with pytest.raises(LvlmError):
        parse_counts(Reply(cut, finish="truncated"))
    if text in one:  # a cut between two structures can be known from the server alone
        try:
            assert parse_counts(Reply(cut)) == counts
        except LvlmError as error:
            assert error.reply.text == cut


SHIP, TANK = ("ship", [1, 2, 30, 40]), ("storage tank", [50, 60, 70, 80])
ONE, TWO = '{"bbox_2d": [1, 2, 30, 40], "label": "ship"}', '{"bbox_2d": [50, 60, 70, 80], "label": "storage tank"}'


@pytest.mark.parametrize(
    "text",
    [
        f"[{ONE}, {TWO}]",
        f"Here:\n```json\n[{ONE}, {TWO}]\n```",
        f"{ONE}\n{TWO}",
        f"{ONE},\n{TWO}",
        f"[{ONE}\n{TWO}]",
        f"[{ONE}, {TWO},]",
        f"{ONE}, {TWO}]",
        f"ships:\n[{ONE}]\ntanks:\n[{TWO}]\ndams: []",
        f"```json\n[{ONE}]\n```\n```json\n[{TWO}]\n```",
        f"[{ONE}, {TWO}] {{}}",
        f"[{ONE}, {TWO}]\nFinal answer: [{ONE}, {TWO}]",
        f"[{ONE}, {TWO}] in an image of [800, 800]",
        f'[{ONE}, {TWO}]\nFormat: [{{"bbox_2d": [x1, y1, x2, y2], "label": "name"}}]',
        f'{{"objects": [{ONE}, {TWO}], "total": 2, "image": "a.jpg", "notes": ["clear"]}}',
        f"[{{'type': 'text', 'text': '[{ONE}, {TWO}]'}}]",
        f"<think>[{TWO}]</think>[{ONE}, {TWO}]",
        '{"ship": [[1, 2, 30, 40]], "storage tank": [[50, 60, 70, 80]], "dam": [], "car": null, "bridge": 0}',
        '{"ship": [1, 2, 30, 40], "storage tank": {"bbox": [50, 60, 70, 80]}}',
        '{"ship": {"count": 1, "boxes": [[1, 2, 30, 40]]}, "storage tank": [{"bbox_2d": [50, 60, 70, 80]}]}',
        '{"ship": {"1": [1, 2, 30, 40]}, "storage tank": [{"left": 50, "top": 60, "right": 70, "bottom": 80}]}',
        f"[{ONE[:-1]}, 'parts': [{TWO}]}}]",
        '{"labels": ["ship", "storage tank"], "boxes": [[1, 2, 30, 40], [50, 60, 70, 80]]}',
        '[["ship", [1, 2, 30, 40]], ["storage tank", [[50, 60, 70, 80]]]]',
        '[("ship", (1, 2, 30, 40)), ("storage tank", 50, 60, 70, 80)]',
        '[{"bbox_2d": [[1, 2, 30, 40]], "class": "ship"}, {"box": [[50, 60], [70, 80]], "object": "storage tank"}]',
        '[{"bbox": ["1", "2", "30", "40"], "class_name": "ship"}, {"bbox": "50, 60, 70, 80", "name": "storage tank"}]',
        '[{"bbox": [30, 40, 1, 2], "category": "ship"}, {"bbox": [70, 60, 50, 80], "category_name": "storage tank"}]',
        '[{"x1": 1, "y1": 2, "x2": 30, "y2": 40, "label": "ship"}, '
        '{"bbox": {"xmin": 50, "ymin": 60, "xmax": 70, "ymax": 80}, "label": "storage tank"}]',
        f'[{ONE[:-1]}, "note": "not xywh but xyxy"}}, {TWO[:-1]}, "note": "a boxy white roof, the galaxy where"}}]',
        f'{{"format": "[x1, y1, x2, y2]", "notes": "as in coco", "objects": [{ONE}, {TWO}]}}',
        '[{"category": "ship", "boxes": [[1, 2, 30, 40]]}, {"label": "storage tank", "objects": [[50, 60, 70, 80]]}]',
    ],
)
def test_boxes(text):
    found = read_boxes(Reply(text))
    assert list(zip(found.labels, found.corners.tolist(), strict=True)) == [SHIP, TANK]
    assert (found.unreadable, found.truncated) == (0, False)


@pytest.mark.parametrize("text", ["[]", "{}", '{"objects": []}', '{"ship": [], "dam": null}', '{"ship": "none"}'])
def test_no_boxes(text):
    found = read_boxes(Reply(text))
    assert (found.labels, found.corners.shape, found.unreadable, found.truncated) == ([], (0, 4), 0, False)


@pytest.mark.parametrize(
    ("text", "unreadable", "truncated"),
    [
        (f'[{ONE}, {{"label": "dam"}}]', 1, False),
        (f'[{ONE}, {{"bbox_2d": [1, 2, 3, 4]}}]', 1, False),
        (f'[{ONE}, {{"label": "", "bbox_2d": [1, 2, 3, 4]}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "bbox_2d": [1, 2, 3]}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "bbox_2d": [true, 2, 3, 4]}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "bbox_2d": [1, 2, 3, NaN]}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "bbox_2d": null}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "bbox_xywh": [1, 2, 3, 4]}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "bbox": [1, 2, 3, 4], "format": "xywh"}}]', 1, False),
        (f'[{ONE}, {{"label": "dam", "box_cx_cy_w_h": [1, 2, 3, 4]}}]', 1, False),
        *(
            (f'[{ONE}, {{"label": "dam", "{key}": [1, 2, 3, 4]}}]', 1, False)
            for key in ("bboxXYWH", "box_xc_yc_w_h", "bbox_x_y_w_h", "xywh", "x_center_y_center_width_height")
        ),
        *(
            (f'[{ONE}, {{"label": "dam", "bbox": [1, 2, 3, 4], "format": "{form}"}}]', 1, False)
            for form in (
                "[x, y, w, h]",
                "[x,y,width,height]",
                "coco",
                "YOLO",
                "left, top, width, height",
                "not xyxy: xywh",
            )
        ),
        (f'{ONE}\n{{"format": "top-left x, top-left y, width, height", "objects": [{TWO}, {TWO}, {ONE}]}}', 3, False),
        (f'{ONE}\n{{"format": "xywh", "objects": []}}', 0, False),
        (f'[{ONE}, {{"label": "dam", "bbox_2d": oops}}]', 2, False),
        (f"[{ONE}, ...]", 1, False),
        (f'{ONE[:-1]}, "dam": [5, 6, 7, 8]}}', 1, False),
        (f'[{ONE}, "dam"]', 1, False),
        (f"{ONE}\n[1, 2, 3, 4]", 1, False),
        (f'{ONE}\n["dam", 3]', 1, False),
        (f'{ONE}\n{{"dam": 3}}', 1, False),
        (f"{ONE}\n{{dam: here}}", 1, False),
        (f'{ONE}, "dam"', 1, False),
        (f"{ONE}. For example {TWO}", 1, False),
        (f'{ONE[:-1]}, "label": "ship", "score": 1, "score": 2}}', 1, False),
        (f'[{ONE}, {{"bbox', 1, True),
        (f"[{ONE}", 0, True),
        (f'{ONE}\n{{"bbox', 1, True),
        ('{"ship": [[1, 2, 30, 40], [5, 6', 1, True),
        ('{"dam": [[5, 6, 7, 8]], "dam": [], "ship": [[1, 2, 30, 40]]}', 1, False),
    ],
)
def test_boxes_that_are_lost_are_counted(text, unreadable, truncated):
    found = read_boxes(Reply(text))
    assert (found.labels, found.corners.tolist()) == (["ship"], [SHIP[1]])
    assert (found.unreadable, found.truncated) == (unreadable, truncated)


@pytest.mark.parametrize("text", ["I see two ships.", "", '[{"bbox_2d": [1', "- ship: [x]"])
def test_a_reply_without_anything_to_read_has_no_boxes(text):
    with pytest.raises(LvlmError, match=r"the reply holds (no JSON|broken or cut off JSON)"):
        read_boxes(Reply(text))
    with pytest.raises(LvlmError, match="refused"):
        read_boxes(Reply("[]", finish="refused"))


def spellings_of_boxes(boxes):
    pairs = [(label, corners) for label, many in boxes.items() for corners in many]
    elements = [{"label": label, "bbox_2d": corners} for label, corners in pairs]
    whole = [elements, {"objects": elements}, boxes, list(map(list, pairs))]
    whole += [{label: [{"box": corners} for corners in many] for label, many in boxes.items()}]
    whole += [[{"class": label, "bbox_2d": many} for label, many in boxes.items()]]
    whole += [[{"name": label, "bbox": list(map(str, corners[2:] + corners[:2]))} for label, corners in pairs]]
    one = [json.dumps(value, indent=indent) for value in whole for indent in (None, 2)] + list(map(repr, whole))
    several = [between.join(map(json.dumps, elements)) for between in ("\n", ",\n", " ")]
    several += ["\n".join(f"{label}: {json.dumps([x for x in elements if x['label'] == label])}" for label in boxes)]
    return one, several


@given(boxes=BOXES, data=st.data())
def test_any_spelling_of_boxes_gives_the_same_boxes_and_a_cut_is_an_event(boxes, data):
    one, several = spellings_of_boxes(boxes)
    expected = [(label, corners) for label, many in boxes.items() for corners in many]
    text = data.draw(st.sampled_from(one + several))
    found = read_boxes(Reply(text))
    assert list(zip(found.labels, found.corners.tolist(), strict=True)) == expected, text
    assert (found.unreadable, found.truncated) == (0, False)
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        found = read_boxes(Reply(cut))
    except LvlmError:
        return
    some = list(zip(found.labels, found.corners.tolist(), strict=True))
    assert some == expected[: len(some)], cut
    assert len(some) == len(expected) or found.truncated or found.unreadable or text in several


def test_what_qwen_answered_is_read(reference):
    """Each recorded reply is one fenced object; it is read as the json module reads it."""
    files = sorted((reference / "dior_mini_replies_qwen2.5-vl").glob("*.jsonl"))
    replies = [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()]
    assert len(replies) == 16
    for text in replies:
        assert parse_counts(Reply(text)) == json.loads(text.removeprefix("```json").removesuffix("```"))
