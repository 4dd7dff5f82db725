"""Instructions in a person's own words."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks.free import read_instruction

WORDS = (
    "please",
    "count",
    "all",
    "every",
    "the",
    "kinds of",
    "everything",
    "ships",
    "and",
    ",",
    "in this image",
    "s",
    "-",
)


@pytest.mark.parametrize(
    ("text", "setting", "parent", "categories"),
    [
        ("count every sports field", "open_subclass", "sports field", ()),
        ("Detect all means of transport in this image.", "open_subclass", "means of transport", ()),
        ("find every kind of building", "open_subclass", "building", ()),
        ("Segment everything!", "open_ended", None, ()),
        ("count all the objects", "open_ended", None, ()),
        ("ships", "open_vocabulary", None, ("ship",)),
        ("please count the ships, the harbors and ships", "open_vocabulary", None, ("ship", "harbor")),
    ],
)
def test_an_instruction_in_ones_own_words(text, setting, parent, categories):
    instruction = read_instruction(text)
    assert (instruction.setting, instruction.parent, instruction.categories) == (setting, parent, categories)
    assert instruction.text.splitlines()[0] == f"{text.rstrip('.!')}."


@given(st.lists(st.sampled_from(WORDS) | st.text()).map(" ".join))
@example("every kind of -")
@example("count class s")
def test_any_text_is_an_instruction_or_names_nothing(text):
    try:
        instruction = read_instruction(text)
    except EarthInstructError as error:
        assert "names nothing to find" in str(error)
    else:
        assert all(name == name.strip() for name in (*instruction.categories, instruction.parent or ""))
