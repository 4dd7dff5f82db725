import json
import math

import pytest
from earthinstruct_models.lvlm import Found, find_json
from hypothesis import example, given
from hypothesis import strategies as st


def containers(text):
    """Objects and arrays with such texts in them."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | text
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=20
    )
    return st.lists(values, max_size=4) | st.dictionaries(text, values, max_size=4)


CONTAINERS = containers(st.text())
# Python writes these as they are, or with an escape that JSON has
SHOWN = st.text(st.characters(categories="LMNPS") | st.sampled_from("\t\n\r\\\"'"))
BOXES = st.lists(
    st.fixed_dictionaries({"label": st.text(), "box": st.lists(st.floats(0, 9), min_size=4, max_size=4)}), max_size=5
)
PROSE = st.text(alphabet=st.characters(blacklist_characters="[]{}\"'#/,"))


def read(text):
    found = find_json(text)
    return found.values, len(found.unread), found.truncated


@given(value=CONTAINERS, before=PROSE, after=PROSE, indent=st.none() | st.integers(0, 3), escape=st.booleans())
def test_json_is_found_in_any_text(value, before, after, indent, escape):
    text = json.dumps(value, indent=indent, ensure_ascii=escape)
    for around in (text, f"{before}{text}{after}", f"{before}\n```json\n{text}\n```\n{after}"):
        assert repr(read(around)) == repr(([value], 0, False))  # in which 1 is not True, and nan is nan


@given(value=containers(SHOWN))
@example([math.inf])
@example([-math.inf, math.nan])
@example({"ship": math.nan})
def test_python_is_found_too(value):
    assert repr(find_json(repr(value))) == repr(Found([[value]]))


@given(boxes=BOXES, data=st.data())
def test_a_cut_list_keeps_every_whole_element(boxes, data):
    text = json.dumps(boxes)
    end = data.draw(st.integers(0, len(text) - 1))
    whole = sum(end >= len(json.dumps(boxes[: i + 1])) - 1 for i in range(len(boxes)))  # but for the bracket behind all
    found = find_json(text[:end])
    assert (found.values[0] if found.values else []) == boxes[:whole]
    assert not end or (found.truncated and len(found.unread) <= 1)


@given(value=CONTAINERS, data=st.data())
def test_cut_json_is_never_passed_off_as_whole(value, data):
    text = json.dumps(value)
    end = data.draw(st.integers(0, len(text) - 1))
    found = find_json(text[:end])
    assert found.problem and (found.truncated or not found.values)


@pytest.mark.parametrize(
    "piece",
    [
        *("[", "{", '{"a":', '["a",', '[{"a":', "[[1],", "{'", '{"', "/*", "[1,", '{"a":"', "//", "(", "[(", "{a:"),
        *("{x: y} ", "<think>", "</think>", "example ", '{"category": ', '{"label": [n, ', "[ ", '{"class": "n", '),
    ],
)
@pytest.mark.timeout(30)
def test_long_nonsense_takes_little_time(piece):
    """Under a second in all; hours, were it quadratic."""
    found = find_json(piece * 30_000)
    assert not found.values or found.problem


@pytest.mark.parametrize(
    ("text", "values", "unread", "truncated"),
    [
        ("{'ship': 3, 'tower': None,}", [{"ship": 3, "tower": None}], 0, False),
        ("{ship: 3, storage tank: 1}", [{"ship": 3, "storage tank": 1}], 0, False),
        ("{“ship”: 3}", [{"ship": 3}], 0, False),
        ('[("ship", 3), ("dam", 1)]', [[["ship", 3], ["dam", 1]]], 0, False),
        ('{"ship": 3, // three\n "dam": 0 # none\n /* end */}', [{"ship": 3, "dam": 0}], 0, False),
        ('see [note: the {"ship": 3}]', [{"ship": 3}], 0, False),
        ('{of things} {"ship": 3}', [{"ship": 3}], 0, False),
        ('{"ship": 12}, on reflection {"ship": 9}', [{"ship": 12}, {"ship": 9}], 0, False),
        ('{"ship": 3} in an image of [800, 800]', [{"ship": 3}, [800, 800]], 0, False),
        ("{'a': 'it\\'s \"so\"'}", [{"a": 'it\'s "so"'}], 0, False),
        ('{"a": "C:\\dir"}', [{"a": "C:\\dir"}], 0, False),
        ('{"a": "two\nlines"}', [{"a": "two\nlines"}], 0, False),
        # a missing comma is no loss
        ('{"a": 1 "b": 2, "c": 3}', [{"a": 1, "b": 2, "c": 3}], 0, False),
        ('[{"a": 1} {"a": 2}\n{"a": 3}]', [[{"a": 1}, {"a": 2}, {"a": 3}]], 0, False),
        # thoughts, and a format without an answer
        ('<think>maybe {"ship": 12}</think>\n{"ship": 9}', [{"ship": 9}], 0, False),
        ('maybe {"ship": 12}</think>\n{"ship": 9}', [{"ship": 9}], 0, False),
        ('{"ship": 9}\n<THINKING>{"ship": 12}', [{"ship": 9}], 0, False),
        ('{"ship": 9} as {"category": 0}', [{"ship": 9}], 0, False),
        ('{"ship": 9} as [{"label": "name", "count": <number>}, ...]', [{"ship": 9}], 0, False),
        ('{"ship": 9} as {category_name: count, ...}', [{"ship": 9}], 0, False),
        ('{"ship": {"count": 0}}', [{"ship": {"count": 0}}], 0, False),
        # the text parts of a message
        ('[{"type": "text", "text": "{\\"ship\\": "}, {"type": "text", "text": "3}"}]', [{"ship": 3}], 0, False),
        ('[{"type": "thinking"}, {"type": "output_text", "text": "[1]"}]', [[1]], 0, False),
        # broken pieces are left out and named, as is what Python has and JSON has not
        ('{"a": {1, 2}, "b": 3}', [{"b": 3}], 1, False),
        ("{'a': b'x', 'b': 3}", [{"b": 3}], 1, False),
        ("{'a': 1, 2: 3, 'b': 4}", [{"a": 1, "b": 4}], 1, False),
        ('[{"a": 1}, {"a": oops}, {"a": 3}]', [[{"a": 1}, {}, {"a": 3}]], 1, False),
        ('{"ship": 3 (about), "dam": 1}', [{"dam": 1}], 1, False),
        ('{"ship": 3, oops, "dam": 1}', [{"ship": 3, "dam": 1}], 1, False),
        ('{"ship": 1,234, "dam": 1}', [{"ship": 1, "dam": 1}], 1, False),
        ('{"counts": {"ship": 3}, oops}', [{"counts": {"ship": 3}}], 1, False),
        ('{"boxes": [1, 2}', [{"boxes": [1, 2]}], 1, False),
        ('{"ship": 3, ...}', [{"ship": 3}], 1, False),
        ('{"ship": 3}\n{dam: many}', [{"ship": 3}], 1, False),
        ('{"ship": 3}, "dam": 1}', [{"ship": 3}], 1, False),
        ('{"ship": 3},', [{"ship": 3}], 1, False),
        ('{"ship": 3}. For example {"dam": 1}', [{"ship": 3}], 1, False),
        ('{"a": 1, "a": 2, "b": 3, "b": 3}', [{"a": 2, "b": 3}], 1, False),
        ('{"ship": 3} ' + "[" * 100, [{"ship": 3}], 1, False),
        # texts that end early
        ('{"ship": 3, "har', [{"ship": 3}], 1, True),
        ('{"ship": 3,', [{"ship": 3}], 0, True),
        ('{"ship": 3, "dam": 1', [{"ship": 3}], 1, True),
        ('{"ship": 3}\n{"dam"', [{"ship": 3}], 1, True),
        ('{"ship": 3}\n{', [{"ship": 3}], 0, True),
        ('{"objects": [{"box": [1, 2]}, {"box": [3', [{"objects": [{"box": [1, 2]}]}], 1, True),
        ("[[1, 2, 3, 4], [5, 6", [[[1, 2, 3, 4]]], 1, True),
        ('{"counts": {"ship": 3, "da', [{"counts": {"ship": 3}}], 1, True),
        ("[1, 2", [[1]], 1, True),
    ],
)
def test_reading(text, values, unread, truncated):
    assert read(text) == (values, unread, truncated)
    assert (find_json(text).problem is None) == (not unread and not truncated)


def test_elements_of_one_answer_are_a_run():
    assert find_json('{"a": 1}\n{"a": 2}, {"a": 3} and\n```[4]```\n[5]').runs == [
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [[4]],
        [[5]],
    ]


def test_the_lost_piece_is_named():
    assert find_json('{"ship": 3 to 5}').unread == ("the piece '\"ship\": 3 to 5'",)
    assert find_json('{"a": 1, "a": 2}').problem == "broken or cut off JSON: 'a' has two different values"


@pytest.mark.parametrize("text", ["", "null", "3", "no ships", "{ship}", "[a, b]", "| ship | 3 |", "<think>{}"])
def test_no_json(text):
    assert (find_json(text), find_json(text).problem) == (Found(), "no JSON")


@pytest.mark.parametrize("text", ["{", '{"', "[", "{" * 100, "{ship: many}"])
def test_broken_json_alone(text):
    assert not find_json(text).values
    assert "broken or cut off" in find_json(text).problem


def test_numbers():
    (numbers,) = find_json("[1, -2, +3, 1.5, 2e3, 007, NaN, Infinity, -Infinity]").values
    assert numbers[:6] == [1, -2, 3, 1.5, 2000.0, 7]
    assert math.isinf(find_json(f"[{'9' * 5000}]").values[0][0])
