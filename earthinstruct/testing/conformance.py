"""The conformance kit: checks that a method keeps the contract, in a test of its author or by `check-method`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import ControlMethod, Instruction, Method, Prediction, check_prediction, optional_member
from earthinstruct.errors import ContractError, DataError, EarthInstructError, checked_arguments
from earthinstruct.registry import make_method, missing_in
from earthinstruct.results import method_info
from earthinstruct.tasks import NWPU, Task, tasks_of


@dataclass(frozen=True)
class Check:
    """The outcome of one check. `problem` says why it failed; `skipped` is the method's reason for declining it."""

    name: str
    problem: str | None = None
    skipped: str | None = None

    def __str__(self) -> str:
        if self.skipped is not None:
            return f"skipped  {self.name}: {self.skipped}"
        return f"ok       {self.name}" if self.problem is None else f"FAILED   {self.name}: {self.problem}"


@checked_arguments
def check_method(method: str | Method | ControlMethod, parameters: Mapping[str, Any] | None = None) -> list[Check]:
    """Run a method on small synthetic images in every setting, and report violations of the contract.

    The images are one of a single colour, and a wide and a tall one of random pixels. The method must return a valid
    `Prediction` for the size of the image and must not change the image. If it has `predict_batch`, it must return one
    prediction per image. If the method lacks something on this machine (`missing`), no further checks run.

    Args:
        method: the method, ready to predict, or the name of one.
        parameters: keyword arguments of the method, when it is given by name.

    Returns:
        One entry per check. A method conforms if no entry has a problem.
    """
    if isinstance(method, str):
        method = make_method(method, parameters)
    name = getattr(method, "name", None)
    checks = [
        Check("name", None if isinstance(name, str) and name else f"name must be a non-empty string, got {name!r}")
    ]
    missing = _missing(method)
    checks.append(missing)
    if missing.problem is not None:
        return checks
    checks.append(_describe(method))
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
        checks += [_predict(method, task, image, f"{task.name}, {label}") for label, image in images.items()]
        if optional_member(method, "predict_batch"):
            checks.append(_predict_batch(method, task, list(images.values())))
    return checks


def _missing(method: object) -> Check:
    try:
        lines = missing_in(method)
    except EarthInstructError as error:
        return Check("missing", str(error))
    return Check("missing", "; ".join(lines) or None)


def _describe(method: object) -> Check:
    try:
        method_info(method)
    except DataError as error:
        return Check("describe", str(error))
    except Exception as error:  # describe() may raise anything
        return Check("describe", f"{type(error).__name__}: {error}")
    return Check("describe")


def _predict(method: Method | ControlMethod, task: Task, image: NDArray[np.uint8], label: str) -> Check:
    before = image.copy()
    try:
        prediction = _answer(method, image, task.instruction)
        check_prediction(prediction, task.instruction, *image.shape[:2])
    except Exception as error:  # a method may raise anything; its author wants to read it
        return Check(label, f"{type(error).__name__}: {error}")
    return Check(label, None if np.array_equal(before, image) else "predict changed the image in place")


def _answer(method: Method | ControlMethod, image: NDArray[np.uint8], instruction: Instruction) -> Prediction:
    if isinstance(method, ControlMethod):
        return method.predict_with_targets(image, instruction, Prediction())
    return method.predict(image, instruction)


def _predict_batch(method: Method | ControlMethod, task: Task, images: list[NDArray[np.uint8]]) -> Check:
    label = f"{task.name}, predict_batch"
    try:
        predictions = optional_member(method, "predict_batch")(images, task.instruction)
        if len(predictions) != len(images):
            raise ContractError(f"predict_batch returned {len(predictions)} predictions for {len(images)} images")
        for prediction, image in zip(predictions, images, strict=True):
            check_prediction(prediction, task.instruction, *image.shape[:2])
    except Exception as error:  # predict_batch may raise anything
        return Check(label, f"{type(error).__name__}: {error}")
    return Check(label)
