"""`suspects.json`: suspected errors of the ground truth, beside the result that they were found with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from earthinstruct.files import as_json, decode_json, read_bytes, replace_file
from earthinstruct.metrics import Suspect

SUSPECTS_FILE = "suspects.json"


def write_suspects(folder: Path, suspects: Sequence[Suspect]) -> None:
    """Write the suspects of a result.

    Raises:
        OSError: the folder cannot be written.
    """
    replace_file(folder / SUSPECTS_FILE, as_json(list(suspects)))


def read_suspects(folder: Path) -> list[Suspect]:
    """Read the suspects of a result; none if its folder has no such file.

    Raises:
        DataError: the file is malformed.
    """
    path = folder / SUSPECTS_FILE
    if not path.is_file():
        return []
    problem = f"{path} is not a list of suspects: {{error}}; delete it, or score the predictions again"
    return decode_json(read_bytes(path, "suspects"), msgspec.json.Decoder(list[Suspect]), problem)
