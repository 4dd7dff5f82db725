import json
import math

import pytest
from earthinstruct_models.lvlm import Found, LvlmError, Reply, find_json, parse_counts
from earthinstruct_models.lvlm.parsing import LARGEST_COUNT
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
PROSE = st.text(alphabet=st.characters(blacklist_characters="[]{}\"'#/"))
PIECES = ('"ship"', '"count"', "true", "None", "nan", "-inf", "Infinity", "1e999", "9" * 400, "\\ud800", "```")
MESS = st.lists(st.sampled_from((*"[]{}\"'\\:,.-+0123eEntf \n/*#aNu", *PIECES))).map("".join)


def read(text):
    found = find_json(text)
    return None if found is None else (found.value, found.dropped, found.truncated)


@given(value=CONTAINERS, before=PROSE, after=PROSE, indent=st.none() | st.integers(0, 3), escape=st.booleans())
def test_json_is_found_in_any_text(value, before, after, indent, escape):
    text = json.dumps(value, indent=indent, ensure_ascii=escape)
    for around in (text, f"{before}{text}{after}", f"{before}\n```json\n{text}\n```\n{after}"):
        assert repr(read(around)) == repr((value, 0, False))  # in which 1 is not True, and nan is nan


@given(value=containers(SHOWN))
@example([math.inf])
@example([-math.inf, math.nan])
@example({"ship": math.nan})
def test_python_is_found_too(value):
    assert repr(find_json(repr(value))) == repr(Found(value))


@given(boxes=BOXES, data=st.data())
def test_a_cut_list_keeps_every_whole_element(boxes, data):
    text = json.dumps(boxes)
    end = data.draw(st.integers(0, len(text) - 1))
    whole = sum(end >= len(json.dumps(boxes[: i + 1])) - 1 for i in range(len(boxes)))  # but for the bracket behind all
    found = find_json(text[:end])
    assert (found.value if found else []) == boxes[:whole]
    assert found is None or (found.truncated and found.dropped <= 1)


@given(text=MESS | st.text())
def test_nothing_breaks_the_reader(text):
    found = find_json(text)
    if found is not None:
        assert isinstance(found.value, dict | list)
    try:
        counts = parse_counts(Reply(text))
    except LvlmError as error:
        assert error.reply == Reply(text)
        str(error).encode()
    else:
        assert all(isinstance(count, int) and 0 <= count <= LARGEST_COUNT for count in counts.values())
        assert all(label.strip() == label != "" for label in counts)


@given(value=CONTAINERS, data=st.data())
def test_cut_json_is_never_passed_off_as_whole(value, data):
    text = json.dumps(value)
    found = find_json(text[: data.draw(st.integers(0, len(text) - 1))])
    assert found is None or found.truncated


@pytest.mark.parametrize(
    "piece", ["[", "{", '{"a":', '["a",', '[{"a":', "[[1],", "{'", '{"', "/*", "[1,", '{"a":"', "//"]
)
@pytest.mark.timeout(30)
def test_long_nonsense_takes_little_time(piece):
    """Under a second in all; hours, were it quadratic."""
    found = find_json(piece * 30_000)
    assert found is None or found.truncated or found.dropped


@pytest.mark.parametrize(
    ("text", "value", "dropped", "truncated"),
    [
        ("{'ship': 3, 'tower': None,}", {"ship": 3, "tower": None}, 0, False),
        ('{"ship": 3, // three\n "dam": 0 # none\n /* end */}', {"ship": 3, "dam": 0}, 0, False),
        ('see [note: the {"ship": 3}]', {"ship": 3}, 0, False),
        ('{of things} {"ship": 3}', {"ship": 3}, 0, False),
        ('draft {"ship": 12}, on reflection {"ship": 9}', {"ship": 9}, 0, False),
        ('{"ship": 3} in an image of [800, 800]', {"ship": 3}, 0, False),
        ("first [1, 2], then [3]", [3], 0, False),
        ("{'a': 'it\\'s \"so\"'}", {"a": 'it\'s "so"'}, 0, False),
        ('{"a": "C:\\dir"}', {"a": "C:\\dir"}, 0, False),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}, 0, False),
        # broken pieces are left out and counted, as is what Python has and JSON has not
        ('{"a": {1, 2}, "b": 3}', {"b": 3}, 1, False),
        ("{'a': b'x', 'b': 3}", {"b": 3}, 1, False),
        ("{'a': 1, 2: 3, 'b': 4}", {"a": 1, "b": 4}, 1, False),
        ('[{"a": 1}, {"a": oops}, {"a": 3}]', [{"a": 1}, {}, {"a": 3}], 1, False),
        ('{"ship": 3 (about), "dam": 1}', {"dam": 1}, 1, False),
        ('{"ship": 3, oops, "dam": 1}', {"ship": 3, "dam": 1}, 1, False),
        ('{"ship": 1,234, "dam": 1}', {"ship": 1, "dam": 1}, 1, False),
        ('{"a": 1 "b": 2, "c": 3}', {"c": 3}, 1, False),
        ('{"counts": {"ship": 3}, oops}', {"counts": {"ship": 3}}, 1, False),
        ('{"boxes": [1, 2}', {"boxes": [1, 2]}, 1, False),
        # texts that end early
        ('{"ship": 3, "har', {"ship": 3}, 1, True),
        ('{"ship": 3,', {"ship": 3}, 0, True),
        ('{"ship": 3, "dam": 1', {"ship": 3}, 1, True),
        ('{"objects": [{"box": [1, 2]}, {"box": [3', {"objects": [{"box": [1, 2]}]}, 1, True),
        ("[[1, 2, 3, 4], [5, 6", [[1, 2, 3, 4]], 1, True),
        ('{"counts": {"ship": 3, "da', {"counts": {"ship": 3}}, 1, True),
        ("[1, 2", [1], 1, True),
    ],
)
def test_reading(text, value, dropped, truncated):
    assert read(text) == (value, dropped, truncated)
    assert find_json(text).complete == (not dropped and not truncated)


@pytest.mark.parametrize(
    "text", ["", "null", "3", "no ships", "{", '{"', "[", "{ship}", "[a, b]", "{" * 100, '"{}"' * 0]
)
def test_no_json(text):
    assert find_json(text) is None


def test_numbers():
    assert find_json("[1, -2, +3, 1.5, 2e3, 007, NaN, Infinity, -Infinity]").value[:6] == [1, -2, 3, 1.5, 2000.0, 7]
    assert math.isinf(find_json(f"[{'9' * 5000}]").value[0])


def test_repeated_keys():
    assert find_json('{"a": 1, "a": 2, "b": 3, "b": 3}') == Found({"a": 2, "b": 3}, repeated=("a",))


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
        ('{"ship": 3, " ship": 4}', "two different values"),
        ('{"ship": 3, "har', "broken or cut off"),
        ('{"ship": 3, "dam": 1', "broken or cut off"),
        ('{"ship": 3 to 5}', "broken or cut off|no JSON"),
        ("[3, 4]", "not an object"),
        ('[{"label": "ship", "colour": "red"}]', "without a label or a count"),
        ('[{"label": "ship", "box": [1, 2, 3, 4]}]', "without a label or a count"),
        ('{"a": {"a": ' * 20 + "{}" + "}}" * 20, "nested too deep"),
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
