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


class Points:
    """A method that points, at a share of the width and the height."""

    name = "points"

    def __init__(self, share):
        self.share = share

    def predict(self, image, instruction):
        label = (*instruction.categories, "ship")[0]
        return Prediction(labels=[label], points=[[self.share * image.shape[1], self.share * image.shape[0]]])


@pytest.mark.parametrize(("share", "wrong"), [(0.5, False), (1, True), (-0.1, True)])
def test_points_lie_in_the_image(share, wrong):
    problems = [check.problem for check in check_method(Points(share)) if check.problem]
    assert bool(problems) == wrong
    assert all("outside the image of" in problem for problem in problems)
