"""Read folders of count files: one JSON file an image, `{"ship": 3}`."""

from __future__ import annotations

import re
from pathlib import Path

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.files import is_hidden, read_json
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import ImageId
from earthinstruct.tasks import forms

_SUFFIX = re.compile(r"\.json(\.gz)?$", re.IGNORECASE)


def read_counts(folder: Path, dataset: Dataset) -> dict[ImageId, dict[str, int]]:
    """Read a folder of count files, `<image name>.json` with `{"ship": 3}`: image -> counts.

    Raises:
        DataError: the folder is missing or empty, or a file is malformed or belongs to no image of the dataset.
    """
    files = read_count_files(folder)
    images = ImageNames(dataset).find(files, lambda name: f"{folder / f'{name}.json'}", ids=False)
    return {images[name].id: counts for name, counts in files.items()}


def read_count_files(folder: Path) -> dict[str, dict[str, int]]:
    """Read a folder of count files: path of the file in the folder, without `.json` -> counts.

    Subfolders are searched too; hidden files and folders are not.

    Raises:
        DataError: the folder is missing or empty, a file is malformed, or a label has two spellings in one file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected a folder of count files `<image name>.json`")
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if _SUFFIX.search(path.name) and path.is_file() and not is_hidden(path.relative_to(folder))
    ]
    if not paths:
        raise DataError(
            f'{folder} has no count files; expected `<image name>.json`, each {{"category": number}}, '
            "predictions of this project, predictions.jsonl, or semantic maps with --classes"
        )
    files: dict[str, Path] = {}
    for path in paths:
        name = _SUFFIX.sub("", path.relative_to(folder).as_posix())
        if files.setdefault(name, path) != path:
            raise DataError(f"count files {files[name]} and {path} are for the same image; keep one")
    return {name: _counts(path) for name, path in files.items()}


def _counts(path: Path) -> dict[str, int]:
    counts = read_json(path, dict[str, int], "count file", 'an object of label to whole number, {"ship": 3}')
    spellings: dict[str, str] = {}
    for label, count in counts.items():
        if count < 0:
            raise DataError(f"count file {path}: the count of {label!r} is {count}; expected a whole number >= 0")
        other = next((spellings[form] for form in forms(label) if form in spellings), None)
        if other is not None:
            raise DataError(
                f"count file {path}: {other!r} ({counts[other]}) and {label!r} ({count}) are two spellings of one "
                "label; keep one"
            )
        spellings.update(dict.fromkeys(forms(label), label))
    return counts
