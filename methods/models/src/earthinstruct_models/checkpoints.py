"""Reads weights from checkpoints as they are published, and loads them into networks. No code in a checkpoint is run.

A training checkpoint also holds settings, counters and states of the optimizer. They are not needed, so their types are
not rebuilt: a list names the types that are known to be data, and each stands for a value that nobody reads.
"""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.errors import DataError
from earthinstruct.files import DAMAGED_ZIP

if TYPE_CHECKING:
    from torch import Tensor, nn

_STATE_KEYS = ("model", "state_dict", "model_state_dict")  # under which a training checkpoint keeps the weights
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile
_KEYS_SHOWN = 3
_LOADING = threading.Lock()  # the list of safe globals belongs to the process


class _Unread:
    """Stands for a value of a training checkpoint that is not needed."""

    def __new__(cls, *_: Any) -> _Unread:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _dictionary(*_: Any) -> dict[Any, Any]:
    return {}


def _list(*_: Any) -> list[Any]:
    return []


_DATA = {
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "easydict": "EasyDict",
    "builtins": "bool bytes dict float frozenset int list object range slice str tuple",
    "datetime": "date datetime time timedelta timezone",
    "numpy": "bool bool_ dtype float16 float32 float64 int8 int16 int32 int64 ndarray uint8 uint16 uint32 uint64",
    **{f"numpy.{core}.multiarray": "_reconstruct scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric": "_frombuffer" for core in ("core", "_core")},
    **dict.fromkeys(("pathlib", "pathlib._local"), "Path PosixPath PurePosixPath PureWindowsPath WindowsPath"),
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode FloatNode IntegerNode StringNode",
    "typing": "Any",
}
_STAND_INS: Mapping[str, Callable[..., Any]] = {
    **{f"{module}.{name}": _Unread for module, names in _DATA.items() for name in names.split()},
    "collections.defaultdict": _dictionary,
    "collections.deque": _list,
}


def read_weights(checkpoint: Path, what: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint, on the CPU. The file is mapped into memory: its tensors are read once, when used.

    Args:
        checkpoint: `.safetensors`, or a file that `torch.save` wrote: a state dict, or a training checkpoint with one
            under `model`, `state_dict` or `model_state_dict`. The prefixes `module.` and `_orig_mod.` are removed.
        what: what the file is, for errors ("SAM2 checkpoint").

    Raises:
        DataError: the file is missing or malformed, holds no weights, is a TorchScript archive, or names something
            that is not known to be data.
    """
    import torch

    if not checkpoint.is_file():
        raise DataError(f"{what} {checkpoint} does not exist")
    if checkpoint.suffix != ".safetensors" and _is_torchscript(checkpoint):
        raise DataError(
            f"{what} {checkpoint} is a TorchScript archive, which holds code; where you trust it, convert it: "
            "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), NEW_FILE)"
        )
    try:
        content = _content(checkpoint)
    except Exception as error:  # torch, safetensors, zipfile and pickle each raise their own
        raise DataError(f"{what} {checkpoint} cannot be read: {_reason(error)}") from error
    weights = {key: value for key, value in _state(content).items() if isinstance(value, torch.Tensor)}
    if not weights:
        raise DataError(
            f"{what} {checkpoint} holds no weights: expected a state dict, or one under "
            f"{' or '.join(map(repr, _STATE_KEYS))}; found {_described(content)}"
        )
    return _without_prefixes(weights)


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], problem: str, advice: str, optional: Collection[str] = ()
) -> None:
    """Put weights into a network without copying them: every weight of the network, and none left over.

    Args:
        network: best made under `uninitialised`.
        weights: name -> tensor. Floating-point weights become float32.
        problem: the start of the error ("SAM2 checkpoint a.pt is not of sam2_hiera_l").
        advice: the end of the error.
        optional: ends of names of weights that may be missing from the file, or left over in it.

    Raises:
        DataError: the weights do not fit.
    """
    try:
        report = network.load_state_dict(dict(weights), strict=False, assign=True)
    except RuntimeError as error:  # weights of another shape, a line each after the first
        shapes = [line.strip() for line in str(error).splitlines()[1:]]
        more = f", and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        raise DataError(f"{problem}: {shapes[0] if shapes else error}{more}; {advice}") from error
    missing, unexpected = (
        [key for key in keys if not key.endswith(tuple(optional))]
        for keys in (report.missing_keys, report.unexpected_keys)
    )
    if missing or unexpected:
        raise DataError(f"{problem}: {_listed(missing)} missing, {_listed(unexpected)} unexpected; {advice}")
    network.float()


@contextmanager
def uninitialised() -> Iterator[None]:
    """New modules leave their parameters unfilled: random numbers take time, and a checkpoint replaces them."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = kwargs or {}
            tensor = args[0] if args else given.get("tensor")
            name = getattr(function, "__name__", "")
            in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
            if in_place and isinstance(tensor, torch.nn.Parameter):
                return tensor
            return function(*args, **given)

    with Unfilled():
        yield


def _content(checkpoint: Path) -> Any:
    if checkpoint.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(checkpoint)
    import torch

    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in _STAND_INS.items()]
    with _LOADING, torch.serialization.safe_globals(stand_ins):
        return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(checkpoint))


def _is_torchscript(checkpoint: Path) -> bool:
    try:
        if not zipfile.is_zipfile(checkpoint):
            return False
        with zipfile.ZipFile(checkpoint) as file:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in file.namelist())
    except (OSError, *DAMAGED_ZIP):  # torch says how
        return False


def _reason(error: Exception) -> str:
    """Why torch cannot read a file; if it refuses a name, what to do about it."""
    refused = re.search(r"(?:Unsupported global: |unsupported )GLOBAL (\S+)", str(error))
    if refused is None:
        return f"{type(error).__name__}: {str(error)[:300]}; check that it is whole and holds nothing but weights"
    return (
        f"it holds {refused[1]}, which may run code; get a file that holds nothing but weights, or make one where you "
        "trust this one: torch.save(network.state_dict(), NEW_FILE)"
    )


def _state(content: Any) -> Mapping[str, Any]:
    """The innermost dictionary of weights."""
    while isinstance(content, dict):
        inner = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return {key: value for key, value in content.items() if isinstance(key, str)}
        content = inner
    return {}


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    while (prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in weights)), None)) is not None:
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _described(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    return f"a dictionary with {_listed(list(map(str, content)), 'keys')}"


def _listed(keys: list[str], noun: str = "weights") -> str:
    shown = ", ".join(keys[:_KEYS_SHOWN]) + (", ..." if len(keys) > _KEYS_SHOWN else "")
    return f"{len(keys)} {noun} ({shown})" if keys else "none"
