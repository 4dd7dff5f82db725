"""Which device a model runs on where the user names none."""

from __future__ import annotations


def best_device() -> str:
    """`cuda`, `mps` or `cpu`, the first there is."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
