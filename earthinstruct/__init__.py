"""EarthInstruct: counting, detecting and segmenting objects in remote-sensing images under free instructions."""

from __future__ import annotations

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from earthinstruct.contract import (
        ControlMethod,
        Estimate,
        HopelessError,
        Instruction,
        Method,
        Prediction,
        PredictionError,
        Proposals,
        Usage,
    )
    from earthinstruct.datasets import (
        draw_scenes,
        fetch_dataset,
        list_datasets,
        list_tasks,
        list_training_sets,
        load_dataset,
        load_task,
        prepare_dior,
        prepare_nwpu,
    )
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.metrics import Value, list_metrics
    from earthinstruct.predictions import from_supervision, to_supervision
    from earthinstruct.registry import list_methods, method_details, missing_for
    from earthinstruct.reporting import plot, report
    from earthinstruct.results import Evaluation, Result, build_leaderboards, check, check_leaderboards, guard_results
    from earthinstruct.running import EngineOptions, doctor, dry_run, evaluate, predict
    from earthinstruct.scoring import add_to_leaderboard, compare, export, images_df, predictions_df, score, validate
    from earthinstruct.testing import check_method, new_method

__all__ = [
    "ControlMethod",
    "EarthInstructError",
    "EngineOptions",
    "Estimate",
    "Evaluation",
    "HopelessError",
    "Instruction",
    "Method",
    "Prediction",
    "PredictionError",
    "Proposals",
    "Result",
    "Usage",
    "Value",
    "add_to_leaderboard",
    "build_leaderboards",
    "check",
    "check_leaderboards",
    "check_method",
    "compare",
    "doctor",
    "draw_scenes",
    "dry_run",
    "evaluate",
    "export",
    "fetch_dataset",
    "from_supervision",
    "guard_results",
    "images_df",
    "list_datasets",
    "list_methods",
    "list_metrics",
    "list_tasks",
    "list_training_sets",
    "load_dataset",
    "load_task",
    "method_details",
    "missing_for",
    "new_method",
    "plot",
    "predict",
    "predictions_df",
    "prepare_dior",
    "prepare_nwpu",
    "report",
    "score",
    "to_supervision",
    "validate",
]

_ROOMS = {
    "contract": (
        "ControlMethod",
        "Estimate",
        "HopelessError",
        "Instruction",
        "Method",
        "Prediction",
        "PredictionError",
        "Proposals",
        "Usage",
    ),
    "datasets": (
        "draw_scenes",
        "fetch_dataset",
        "list_datasets",
        "list_tasks",
        "list_training_sets",
        "load_dataset",
        "load_task",
        "prepare_dior",
        "prepare_nwpu",
    ),
    "errors": ("EarthInstructError",),
    "metrics": ("Value", "list_metrics"),
    "predictions": ("from_supervision", "to_supervision"),
    "registry": ("list_methods", "method_details", "missing_for"),
    "reporting": ("plot", "report"),
    "results": ("Evaluation", "Result", "build_leaderboards", "check", "check_leaderboards", "guard_results"),
    "running": ("EngineOptions", "doctor", "dry_run", "evaluate", "predict"),
    "scoring": ("add_to_leaderboard", "compare", "export", "images_df", "predictions_df", "score", "validate"),
    "testing": ("check_method", "new_method"),
}
_ROOM = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> _typing.Any:
    """Public names are imported on first use: `python -m earthinstruct --help` needs none of them."""
    if name not in _ROOM:
        raise AttributeError(f"module 'earthinstruct' has no attribute {name!r}")
    return getattr(_importlib.import_module(f"earthinstruct.{_ROOM[name]}"), name)


def __dir__() -> list[str]:
    return __all__
