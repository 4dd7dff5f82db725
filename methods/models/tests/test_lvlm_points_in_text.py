"""The points of Molmo and Molmo 2 are read exactly; what is not understood is counted."""

import re

import numpy as np
import pytest
from earthinstruct_models.lvlm import LvlmError, Reply, read_points

PERCENT = '<point x="51.2" y="26.4" alt="cat">cat</point>'
SEVERAL = '<points x1="5.5" y1="81.0" x2="9.5" y2="73.5" x3="14.0" y3="78.8" alt="faders.">faders.</points>'
THOUSANDTHS = '<points coords="1 1 193 076 2 226 144 3 1000 000" alt="ships">ships</points>'


@pytest.mark.parametrize(
    ("text", "labels", "places"),
    [
        (f"there is text around this {PERCENT} point", ["cat"], [[0.512, 0.264]]),
        (SEVERAL, ["faders."] * 3, [[0.055, 0.81], [0.095, 0.735], [0.14, 0.788]]),
        (THOUSANDTHS, ["ships"] * 3, [[0.193, 0.076], [0.226, 0.144], [1, 0]]),
        ('<points coords="1 193 076 2 226 144">a</points>', ["a"] * 2, [[0.193, 0.076], [0.226, 0.144]]),
        ('<points coords="1 1 193 076"/>', [""], [[0.193, 0.076]]),
        ('<points alt="a &amp; b" coords="1 1 193 076"></points>', ["a & b"], [[0.193, 0.076]]),
        (f"{PERCENT} and {THOUSANDTHS}"[:200], ["cat", *["ships"] * 3], None),
        ("There are none in this image.", [], []),
        ("", [], []),
    ],
)
def test_both_forms_are_read(text, labels, places):
    found = read_points(Reply(text))
    assert (found.labels, found.unreadable, found.truncated) == (labels, 0, False)
    if places is not None:
        np.testing.assert_allclose(found.places, np.array(places).reshape(-1, 2))


@pytest.mark.parametrize(
    ("text", "read", "unreadable"),
    [
        ('<points x1="1.0" y1="2.0" x2="3.0" x3="5.0" y3="6.0" alt="a">a</points>', 2, 1),  # y2 is missing
        ('<point x="left" y="2.0" alt="a">a</point>', 0, 1),
        ('<point alt="a">a</point>', 0, 1),
        ('<points coords="1 1 193 076 2 226 144 99">a</points>', 0, 1),  # not in threes
        ('<points coords="1 1 193 076 2 22 144">a</points>', 1, 1),  # x has two digits
        ('<points coords="1 1 19.3 07.6">a</points>', 0, 1),
        ('<points coords="1 1 193 076\t2 2 226 144">a</points>', 1, 1),  # the second image of one
        ('<points coords="">a</points>', 0, 0),
        ("The ship is at (51.2, 26.4).", 0, 1),  # no tag
        ('[{"point_2d": [512, 264], "label": "ship"}]', 0, 1),
        ('<POINT x="51.2" y="26.4">a</POINT>', 0, 1),
        ("<think>At (51.2, 26.4)?</think>I count 3.5 at most, of 2 kinds.", 0, 0),
        ("No ships; taken on 2024-05-01.", 0, 0),
        ("No ships on 01.05.2024, and none at 10:30.", 0, 0),
        ("There are 1,200 trees and 12,345 cars, but no ships.", 0, 0),
        ("No ships (0/5), or 0 - 1.", 0, 0),
        ("A ship at (512,264).", 0, 1),
        ("A ship at [12,264].", 0, 1),
        ("A ship at 51.2 26.4.", 0, 1),
        ('<tracks coords="0.0 1 193 076">a</tracks>', 0, 1),  # of a video
    ],
)
def test_what_is_not_understood_is_counted(text, read, unreadable):
    found = read_points(Reply(text))
    assert (len(found.places), found.unreadable) == (read, unreadable)


@pytest.mark.parametrize("text", [SEVERAL, THOUSANDTHS])
def test_a_reply_cut_anywhere_gives_the_first_points_alone(text):
    """No number that may have been cut is read: every point is one of the whole reply, in its order."""
    whole = read_points(Reply(text)).places
    for end in range(len(text)):
        found = read_points(Reply(text[:end], finish="truncated"))
        assert found.truncated
        np.testing.assert_array_equal(found.places, whole[: len(found.places)])
        closed = len(re.findall(r' y\d="[^"]*"|\d \d{3,4} \d{3} ', text[:end]))
        assert len(found.places) >= closed - 1


def test_a_refusal_is_an_error():
    with pytest.raises(LvlmError, match="refus"):
        read_points(Reply("", finish="refused"))
