"""Any body of an error is read; what is read is bounded. The shapes of real servers are in test_lvlm_openai.py."""

import json

import pytest
from earthinstruct_models.lvlm.server_errors import error_in_success, read_error
from hypothesis import given
from hypothesis import strategies as st

KEYS = (
    *("error", "errors", "message", "msg", "detail", "details", "metadata", "raw", "code", "type", "status", "param"),
    *("loc", "field", "fieldViolations", "choices", "object", "title", "reason", "flagged_input", "innererror"),
)
OPTIONS = {"temperature": 0.01, "top_p": 1.0, "max_tokens": 9, "response_format": {"type": "json_object"}}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(list(OPTIONS))
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner) | inner.map(json.dumps),
    max_leaves=20,
)


@given(BODIES)
def test_any_body_is_read(body):
    said = read_error(body)
    assert all(isinstance(code, str) for code in said.codes)
    assert "\n" not in said.message
    assert said.lacking(400, OPTIONS) in {None, *OPTIONS}
    assert said.lacking(400, {}) is None
    assert said.hopeless(500) in (True, False)
    found = error_in_success(body)
    assert found is None or (400 <= found[0] < 600 and json.dumps(found[1]))


def test_deep_and_long_bodies_are_bounded():
    deep = "out of memory"
    for _ in range(900):
        deep = {"error": deep}
    assert read_error(deep).message == ""
    text = "out of memory"
    for _ in range(12):
        text = json.dumps({"error": text})
    assert len(read_error(text).message) < 10_000
    assert len(read_error("x" * 10**7).message) == 2000
    assert len(read_error({"detail": ["x" * i for i in range(1, 1000)]}).message) < 100


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        ({"param": "temperature", "code": "unsupported_value"}, "temperature"),
        ({"param": "temperature", "message": "top_p"}, "temperature"),
        ({"param": "messages", "message": "temperature and top_p"}, None),
        ({"param": "temperature", "code": "decimal_above_max_value"}, None),
        ({"param": "response_format.json_schema", "code": "invalid_value"}, "response_format"),
        ({"message": "Use max_completion_tokens instead of max_tokens"}, "max_tokens"),
        ({"message": "`temperature` and `top_p` cannot both be specified"}, "top_p"),
        ({"message": "the schema of the image"}, None),
    ],
)
def test_the_parameter_decides_and_words_only_without_one(error, lacking):
    assert read_error({"error": error}).lacking(400, OPTIONS) == lacking
    unsupported = error.get("code") == "unsupported_value"
    assert read_error({"error": error}).lacking(500, OPTIONS) == (lacking if unsupported else None)
