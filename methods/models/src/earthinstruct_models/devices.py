"""The default device of a model, and whether a named device is available."""

from __future__ import annotations


def best_device() -> str:
    """`cuda`, `mps` or `cpu`, the first available."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def missing_device(device: object, option: str = "device") -> list[str]:
    """Why torch cannot use a device, and what to give instead; an empty list if it is available.

    Args:
        device: torch's name, such as "cuda:1"; None: the best available.
        option: the name of the parameter, for the message.
    """
    if device is None:
        return []
    import torch

    line = f"device {device}: {{}}; give -M {option}={best_device()}, or leave it out"
    try:
        wanted = torch.device(str(device))
        module = torch.get_device_module(wanted)
    except RuntimeError:  # also for a device without data, such as meta
        return [line.format("torch knows no such device")]
    if wanted.type == "cpu":
        return []
    if not module.is_available():
        return [line.format(f"torch {torch.__version__} finds no {wanted.type} device on this machine")]
    count = module.device_count()
    if (wanted.index or 0) >= count:
        return [line.format(f"this machine has {count}: {wanted.type}:0 to {wanted.type}:{count - 1}")]
    return []
