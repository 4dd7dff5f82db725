"""Runs methods: over the tasks of a dataset, or on your own images."""

from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.evaluation import Evaluation, Skipped, evaluate
from earthinstruct.running.machine import Machine, doctor
from earthinstruct.running.own_images import (
    Answer,
    Answers,
    asked_instruction,
    images_given,
    predict,
    saved_again,
)
from earthinstruct.running.targets import refuse_to_replace
from earthinstruct.running.tiles import TILE, TILED_ABOVE, predict_tiled

__all__ = [
    "TILE",
    "TILED_ABOVE",
    "Answer",
    "Answers",
    "EngineOptions",
    "Evaluation",
    "Machine",
    "Skipped",
    "asked_instruction",
    "doctor",
    "evaluate",
    "images_given",
    "predict",
    "predict_tiled",
    "refuse_to_replace",
    "saved_again",
]
