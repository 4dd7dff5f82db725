import numpy as np
import pytest
from earthinstruct_models.parameters import check_choice, check_flag, check_integer, check_number

from earthinstruct.errors import EarthInstructError, UnknownNameError


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_integers_pass_numpys_too(value):
    assert type(check_integer("limit", value)) is int
    assert check_integer("limit", value) == value


@pytest.mark.parametrize("value", [0, 1.0, True, "1", None])
def test_all_else_is_no_integer(value):
    with pytest.raises(EarthInstructError, match="limit must be an integer >= 1, got "):
        check_integer("limit", value)


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.1)])
def test_numbers_of_the_range_pass(value):
    assert type(check_number("threshold", value, 0, 1)) is float
    assert check_number("threshold", value, 0, 1) == value


@pytest.mark.parametrize("value", [-0.1, 2, float("nan"), False, "0.5", None])
def test_all_else_is_no_number_of_the_range(value):
    with pytest.raises(EarthInstructError, match="threshold must be a number from 0 to 1, got "):
        check_number("threshold", value, 0, 1)


@pytest.mark.parametrize("value", [float("inf"), "much", 10**400])
def test_a_number_without_bounds_is_finite(value):
    with pytest.raises(EarthInstructError, match="offset must be a number, got "):
        check_number("offset", value)


@pytest.mark.parametrize("value", [1, "true", None])
def test_a_flag_is_true_or_false(value):
    check_flag("refine", value=True)
    with pytest.raises(EarthInstructError, match="refine must be true or false, got "):
        check_flag("refine", value)


@pytest.mark.parametrize(
    ("value", "message"), [("fp16", "'fp16'; did you mean 'fp32'"), (16, "'16'"), ([], "'\\[\\]'")]
)
def test_a_choice_is_a_known_word(value, message):
    with pytest.raises(UnknownNameError, match=f"unknown dtype {message}"):
        check_choice("dtype", value, {"fp32": 0})


def test_a_number_may_have_a_lower_bound_alone():
    check_number("temperature", 7, 0)
    with pytest.raises(EarthInstructError, match="temperature must be a number from 0, got -1"):
        check_number("temperature", -1, 0)
