"""Runs methods over datasets and scores what they answered."""

from earthinstruct.running.evaluate import Evaluation, Skipped, evaluate, score

__all__ = ["Evaluation", "Skipped", "evaluate", "score"]
