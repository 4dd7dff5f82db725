"""Runs methods: over the tasks of a dataset, or on your own images."""

from earthinstruct.running.answers import Answer, Answers
from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.evaluation import evaluate
from earthinstruct.running.machine import Machine, doctor
from earthinstruct.running.outputs import refuse_to_replace
from earthinstruct.running.own_images import asked_instruction, images_given, images_of_run, predict, saved_again
from earthinstruct.running.planning import DryRun, PlannedTask, dry_run

__all__ = [
    "Answer",
    "Answers",
    "DryRun",
    "EngineOptions",
    "Machine",
    "PlannedTask",
    "asked_instruction",
    "doctor",
    "dry_run",
    "evaluate",
    "images_given",
    "images_of_run",
    "predict",
    "refuse_to_replace",
    "saved_again",
]
