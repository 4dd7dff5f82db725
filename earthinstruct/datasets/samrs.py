"""Read the mask files of SAMRS (NeurIPS 2023). They are pickles, and no code in them is executed.

A file holds a list of `{"mask": RLE, "bbox": array of x1, y1, x2, y2, "category": name, ...}`. A pickle refers to
functions by name. Only the names that numpy uses to store arrays and numbers are accepted, and each is replaced by a
few lines below instead of numpy's own function. Any other name is refused before anything is called.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earthinstruct.errors import ContractError, DataError
from earthinstruct.regions import RLE, check_rle

_NUMBERS = {"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


@dataclass(frozen=True)
class SamrsObject:
    """One object: its category as in the file, the corners x1, y1, x2, y2 of its box in pixels, and its mask."""

    category: str
    corners: tuple[float, float, float, float]
    mask: RLE


def parse_samrs(content: bytes, path: Path) -> list[SamrsObject]:
    """Read the objects of one mask file.

    Args:
        content: the pickle.
        path: the file, for errors.

    Raises:
        DataError: the pickle contains anything but lists, dicts, text, numbers and numpy arrays, or is not a list of
            objects.
    """
    try:
        entries = _PlainUnpickler(io.BytesIO(content)).load()
    except DataError as error:
        raise DataError(f"mask file {path} {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"mask file {path} is not a pickle: {type(error).__name__}: {error}") from error
    if not isinstance(entries, list):
        raise DataError(f"mask file {path} holds a {type(entries).__name__}; expected a list of objects")
    return [_object(entry, f"mask file {path}, object {i}") for i, entry in enumerate(entries)]


def _object(entry: object, where: str) -> SamrsObject:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("category"), str):
        raise DataError(f"{where} has no category name; expected a dict with 'mask', 'bbox' and 'category'")
    box = entry.get("bbox")
    values = box.values.ravel().tolist() if isinstance(box, _Array) else box
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise DataError(f"{where} has no 'bbox' of four numbers")
    try:
        x1, y1, x2, y2 = (float(value) for value in values)
        mask = check_rle(entry.get("mask"), f"{where}, mask")
    except (TypeError, ValueError, OverflowError, ContractError) as error:
        raise DataError(str(error) if where in str(error) else f"{where}, bbox: {error}") from error
    return SamrsObject(entry["category"], (x1, y1, x2, y2), mask)


class _Type:
    """Replaces `numpy.dtype`."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in _NUMBERS:
            raise DataError(f"holds an array of {code!r}; expected numbers")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in "<>" else "<"


class _Array:
    """Replaces `numpy.ndarray`; `values` holds the numbers."""

    values = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        values = np.frombuffer(data, dtype=kind.order + kind.code)
        self.values = values.reshape(shape, order="F" if fortran else "C")


def _new_array(*_: object) -> _Array:
    return _Array()


def _array_of_buffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def _number(kind: _Type, data: bytes) -> float:
    return float(np.frombuffer(data, dtype=kind.order + kind.code)[0])


def _latin1(text: str, _: str) -> bytes:
    return text.encode("latin1")


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _latin1,  # pickle protocol 2 stores bytes as text
    **{
        (f"numpy.{core}.{module}", name): known
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name, known in (
            ("multiarray", "_reconstruct", _new_array),
            ("multiarray", "scalar", _number),
            ("numeric", "_frombuffer", _array_of_buffer),
        )
    },
}


class _PlainUnpickler(pickle._Unpickler):
    """Unpickles containers, text, numbers and the replacements above.

    It is the one of Python: that of C allocates a list as long as any number of a memo that a damaged file holds.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise DataError(
                f"refers to {module}.{name}, which no mask file needs; it was refused, and nothing was executed"
            )
        return _KNOWN[module, name]
