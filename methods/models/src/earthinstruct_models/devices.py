"""What differs between devices: the default device, its types of numbers, its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, device

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)
# what an allocator of torch says, besides `torch.OutOfMemoryError`: on a Mac, and on a CPU
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


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


def best_dtype(on: device) -> str:
    """`bfloat16` on a CUDA GPU that computes with it, else `float32`. A GPU that only emulates it is slower with it."""
    import torch

    if on.type != "cuda":
        return "float32"
    with torch.cuda.device(on):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def autocast(on: device, dtype: str) -> AbstractContextManager[Any]:
    """Torch's autocast to `bfloat16` or `float16`; for `float32` nothing changes."""
    import torch

    return nullcontext() if dtype == "float32" else torch.autocast(on.type, dtype=getattr(torch, dtype))


def as_doubles(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor of any device as float64. It leaves its device first: Apple's GPUs have no float64."""
    doubles: NDArray[np.float64] = tensor.cpu().double().numpy()
    return doubles


def free_memory(name: str) -> int | None:
    """The bytes that are free on a device, by torch's name; None: unknown."""
    import torch

    on = torch.device(name)
    if on.type == "cuda":
        torch.cuda.empty_cache()  # torch holds back what it has freed
        return int(torch.cuda.mem_get_info(on)[0])
    if on.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def working_memory(part: Any) -> Mapping[str, int]:
    """The bytes that a part needs on each device while it works, besides its weights, as it estimates them itself."""
    needed: Mapping[str, int] = getattr(part, "working_memory", {})
    return needed


def too_small(parts: Iterable[Any]) -> str | None:
    """The first device whose free memory is too small for these parts to work at the same time, in words, or None."""
    needed: dict[str, int] = {}
    for part in parts:
        for name, size in working_memory(part).items():
            same = f"{name}:0" if name in ("cuda", "mps") else name  # a part may name the first card either way
            needed[same] = needed.get(same, 0) + size
    for name, size in needed.items():
        free = free_memory(name)
        if free is not None and free < size:
            return f"{name} has {free / 2**30:.1f} GiB free, and they need about {size / 2**30:.1f} GiB"
    return None


class Batches:
    """Divides work into batches. If memory runs out, batches are halved from then on.

    Args:
        size: items of a batch.
        of: what they are, for the log.
    """

    def __init__(self, size: int, of: str) -> None:
        self.size = size
        self.of = of

    def __call__(self, work: Callable[[Any], _T], items: Any) -> list[_T]:
        """The results of `work` for each batch of a sequence or tensor, in order.

        Raises:
            RuntimeError: what torch raises if memory runs out with a single item.
        """
        results: list[_T] = []
        start = 0
        while start < len(items):
            batch = items[start : start + self.size]
            try:
                results.append(work(batch))
                start += len(batch)
                continue
            except RuntimeError as error:
                if len(batch) == 1 or not is_out_of_memory(error):
                    raise
            # outside of the handler, whose traceback holds tensors
            self.size = (len(batch) + 1) // 2
            _LOG.warning("memory ran out with %d %s at once: from now on %d", len(batch), self.of, self.size)
            _release_memory()
        return results


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine ran out of memory."""
    import torch

    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in _NO_MEMORY)


def _release_memory() -> None:
    """Return to the device what torch holds back."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
