"""EarthInstruct: counting, detecting and segmenting objects in remote-sensing images under free instructions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earthinstruct.contract import ControlMethod, Instruction, Method, Prediction, Proposals, Usage
    from earthinstruct.datasets import load_dataset, load_task
    from earthinstruct.running import evaluate
    from earthinstruct.scoring import score

_HOME = {
    "ControlMethod": "contract",
    "Instruction": "contract",
    "Method": "contract",
    "Prediction": "contract",
    "Proposals": "contract",
    "Usage": "contract",
    "evaluate": "running",
    "load_dataset": "datasets",
    "load_task": "datasets",
    "score": "scoring",
}

__all__ = [
    "ControlMethod",
    "Instruction",
    "Method",
    "Prediction",
    "Proposals",
    "Usage",
    "evaluate",
    "load_dataset",
    "load_task",
    "score",
]


def __getattr__(name: str) -> Any:
    """Public names are imported on first use: `python -m earthinstruct --help` needs none of them."""
    if name not in _HOME:
        raise AttributeError(f"module 'earthinstruct' has no attribute {name!r}")
    return getattr(importlib.import_module(f"earthinstruct.{_HOME[name]}"), name)
