"""Runs methods over datasets and scores what they answered."""

from earthinstruct.running.evaluate import Evaluation, Skipped, evaluate
from earthinstruct.running.scoring import score

__all__ = ["Evaluation", "Skipped", "evaluate", "score"]
