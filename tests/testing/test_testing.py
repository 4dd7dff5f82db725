"""The conformance kit reports what a method raises, wherever it does."""

import pytest

from earthinstruct import Prediction
from earthinstruct.testing import check_method


class Fails:
    """A method whose optional members raise."""

    name = "fails"

    def predict(self, image, instruction):
        return Prediction()


def fail(*_):
    raise RuntimeError("no weights")


@pytest.mark.parametrize(("member", "checks"), [("describe", ["describe"]), ("skip", ["skip"] * 4)])
def test_what_an_optional_member_raises_is_reported(member, checks):
    method = Fails()
    setattr(method, member, fail)
    problems = [check for check in check_method(method) if check.problem]
    assert [check.name.rpartition(", ")[2] for check in problems] == checks
    assert all(check.problem.endswith("RuntimeError: no weights") for check in problems)
