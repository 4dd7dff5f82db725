"""Runs methods: over the tasks of a dataset, or on images of one's own."""

from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.evaluation import Evaluation, Skipped, evaluate
from earthinstruct.running.tiles import TILE, TILED_ABOVE, predict_tiled

__all__ = [
    "TILE",
    "TILED_ABOVE",
    "EngineOptions",
    "Evaluation",
    "Skipped",
    "evaluate",
    "predict_tiled",
]
