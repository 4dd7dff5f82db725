"""The conformance kit: checks that a method keeps the contract, in a test of its author or by `check-method`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import ControlMethod, Instruction, Method, Prediction, check_prediction, optional_member
from earthinstruct.errors import ContractError, EarthInstructError, checked_arguments
from earthinstruct.registry import make_method, missing_in
from earthinstruct.results import method_info, training_note
from earthinstruct.tasks import NWPU, tasks_of
from earthinstruct.texts import redacted, secret_values


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: of the check.
        problem: why it failed.
        skipped: the method's reason for declining it.
        note: what the author should know although nothing failed.
    """

    name: str
    problem: str | None = None
    skipped: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        if self.problem is None and self.note is not None:
            return f"note     {self.name}: {self.note}"
        if self.skipped is not None:
            return f"skipped  {self.name}: {self.skipped}"
        return f"ok       {self.name}" if self.problem is None else f"FAILED   {self.name}: {self.problem}"


@checked_arguments
def check_method(method: str | Method | ControlMethod, parameters: Mapping[str, Any] | None = None) -> list[Check]:
    """Run a method on small synthetic images in every setting, and report violations of the contract.

    The images are one of a single colour, and a wide and a tall one of random pixels. The method must return a valid
    `Prediction` for the size of the image, with its points in the image, and must not change the image. If it has
    `predict_batch`, it must return one prediction per image. Checks of the method's own (`checks`) follow. If the
    method lacks something on this machine (`missing`), no further checks run.

    Args:
        method: the method, ready to predict, or the name of one.
        parameters: keyword arguments of the method, when it is given by name.

    Returns:
        One entry per check. A method conforms if no entry has a problem.
    """
    if isinstance(method, str):
        method = make_method(method, parameters)
    secrets = secret_values(parameters or {})

    def shown(text: str | None) -> str | None:
        return None if text is None else redacted(text, secrets)

    return [
        Check(check.name, shown(check.problem), shown(check.skipped), shown(check.note)) for check in _checks(method)
    ]


def _checks(method: Method | ControlMethod) -> list[Check]:
    name = getattr(method, "name", None)
    checks = [
        Check("name", None if isinstance(name, str) and name else f"name must be a non-empty string, got {name!r}"),
        missing := _check("missing", _refuse_missing, method),
    ]
    if missing.problem is not None:
        return checks
    checks.append(_check("describe", method_info, method))
    if checks[-1].problem is None and not isinstance(method, ControlMethod):
        absent = "describe() has no training_data, so that leaderboards mark every row unknown"
        checks.append(Check("training data", note=training_note(method_info(method).training_data, absent)))
    generator = np.random.Generator(np.random.PCG64(0))
    images = {
        "flat 64x64": np.full((64, 64, 3), 127, dtype=np.uint8),
        "wide 96x48": generator.integers(0, 256, (48, 96, 3), dtype=np.uint8),
        "tall 40x80": generator.integers(0, 256, (80, 40, 3), dtype=np.uint8),
    }
    for task in tasks_of("check", NWPU):
        try:
            reason = optional_member(method, "skip")(task)
        except Exception as error:  # a method may raise anything; its author wants to read it
            checks.append(Check(f"{task.name}, skip", f"{type(error).__name__}: {error}"))
            continue
        if reason is not None:
            checks.append(Check(task.name, skipped=str(reason)))
            continue
        for label, image in images.items():
            checks.append(_check(f"{task.name}, {label}", _predict, method, task.instruction, image))
        if batch := optional_member(method, "predict_batch"):
            several = list(images.values())
            checks.append(_check(f"{task.name}, predict_batch", _predict_batch, batch, task.instruction, several))
    try:
        return checks + [Check(name, problem) for name, problem in optional_member(method, "checks")()]
    except Exception as error:  # a method may raise anything; its author wants to read it
        return [*checks, Check("checks of the method", f"{type(error).__name__}: {error}")]


def _check(name: str, attempt: Callable[..., object], *arguments: Any) -> Check:
    """The outcome of a check, which fails if the attempt raises."""
    try:
        attempt(*arguments)
    except EarthInstructError as error:
        return Check(name, str(error))
    except Exception as error:  # a method may raise anything; its author wants to read it
        return Check(name, f"{type(error).__name__}: {error}")
    return Check(name)


def _refuse_missing(method: object) -> None:
    if lines := missing_in(method):
        raise EarthInstructError("; ".join(lines))


def _predict(method: Method | ControlMethod, instruction: Instruction, image: NDArray[np.uint8]) -> None:
    before = image.copy()
    if isinstance(method, ControlMethod):
        prediction = method.predict_with_targets(image, instruction, Prediction())
    else:
        prediction = method.predict(image, instruction)
    check_prediction(prediction, instruction, *image.shape[:2])
    _refuse_far_points(prediction, *image.shape[:2])
    if not np.array_equal(before, image):
        raise ContractError("predict changed the image in place")


def _predict_batch(predict: Callable[..., Any], instruction: Instruction, images: list[NDArray[np.uint8]]) -> None:
    predictions = predict(images, instruction)
    if len(predictions) != len(images):
        raise ContractError(f"predict_batch returned {len(predictions)} predictions for {len(images)} images")
    for prediction, image in zip(predictions, images, strict=True):
        check_prediction(prediction, instruction, *image.shape[:2])
        _refuse_far_points(prediction, *image.shape[:2])


def _refuse_far_points(prediction: Prediction, height: int, width: int) -> None:
    points = np.zeros((0, 2)) if prediction.points is None else prediction.points
    outside = ((points < 0) | (points >= (width, height))).any(axis=1)
    if outside.any():
        i = int(np.argmax(outside))
        raise ContractError(
            f"points[{i}] is {points[i].tolist()}, outside the image of {width} x {height} pixels; expected x and y in "
            "pixels of the image"
        )
