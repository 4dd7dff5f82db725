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
    "how many",
    "are there",
    "?",
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
        ("number of ships", "open_vocabulary", None, ("ship",)),
        ("Count the cars and find the tin cans.", "open_vocabulary", None, ("car", "tin can")),
        ("I'd like you to mark all storage tanks here, please", "open_vocabulary", None, ("storage tank",)),
        ("show me where the ships are", "open_vocabulary", None, ("ship",)),
        ("how many cars are there?", "open_vocabulary", None, ("car",)),
        ("Could you please tell me how many ships there are?", "open_vocabulary", None, ("ship",)),
        ("How many cars, and how many ships can you see?", "open_vocabulary", None, ("car", "ship")),
        ("What is the number of ships in this satellite image?", "open_vocabulary", None, ("ship",)),
        ("count cars?", "open_vocabulary", None, ("car",)),
        ("storage tanks?", "open_vocabulary", None, ("storage tank",)),
        ("Are there any ships or harbors?", "open_vocabulary", None, ("ship", "harbor")),
        ("Where is the harbor?", "open_vocabulary", None, ("harbor",)),
        ("where can I find ships", "open_vocabulary", None, ("ship",)),
        ("do you see any tennis courts?", "open_vocabulary", None, ("tennis court",)),
        ("how many sports fields are visible?", "open_subclass", "sports field", ()),
        ("which kinds of roofs do you see?", "open_subclass", "roof", ()),
        ("What do you see?", "open_ended", None, ()),
        ("What's in this image?", "open_ended", None, ()),
        ("Is there anything here?", "open_ended", None, ()),
    ],
)
def test_an_instruction_in_ones_own_words(text, setting, parent, categories):
    instruction = read_instruction(text)
    assert (instruction.setting, instruction.parent, instruction.categories) == (setting, parent, categories)
    assert instruction.text.splitlines()[0] == f"{text.rstrip('.!?')}{'?' if text.endswith('?') else '.'}"


@pytest.mark.parametrize(
    "text",
    [
        "how many cars are red?",
        "how many trucks are parked on the road",
        "what colour is the roof?",
        "is this a harbor?",
        "how much water is there?",
        "how many",
        "How many cars? How many ships?",
        "count the ships. ignore the harbors.",
        "count the ships that are moving",
        "Wie viele Autos sind da",
        "zähle die Schiffe",
        "Sieht man hier Autos?",
        "combien de bateaux y a-t-il ?",
        "¿Se ven coches?",
        "有多少辆车",
    ],
)
def test_a_question_that_is_not_understood_is_no_name(text):
    with pytest.raises(EarthInstructError, match=r'is not understood .* --categories "ship, harbor"$'):
        read_instruction(text)


@given(st.lists(st.sampled_from(WORDS) | st.text()).map(" ".join))
@example("every kind of -")
@example("count class s")
def test_any_text_is_an_instruction_or_names_nothing(text):
    try:
        instruction = read_instruction(text)
    except EarthInstructError as error:
        assert "names nothing to find" in str(error) or "is not understood" in str(error)
    else:
        assert all(name == name.strip() for name in (*instruction.categories, instruction.parent or ""))
