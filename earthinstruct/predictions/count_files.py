"""Read counts: a folder of count files, one JSON file an image, `{"ship": 3}`, or one JSON file of all images."""

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


def read_counts(path: Path, dataset: Dataset) -> dict[ImageId, dict[str, int]]:
    """Read the counts of a dataset, in one of the forms of `read_count_files`: image -> counts.

    Raises:
        DataError: the path does not exist, a folder is empty, or counts are malformed or belong to no image of the
            dataset.
    """
    found = read_count_files(path)
    of_all = path.is_file()
    images = ImageNames(dataset).find(found, lambda name: str(path if of_all else path / f"{name}.json"), ids=False)
    return {images[name].id: counts for name, counts in found.items()}


def read_count_files(path: Path) -> dict[str, dict[str, int]]:
    """Read a folder of count files, or one file of all images: name of an image -> counts.

    Args:
        path: a file, `{"<image name>": {"ship": 3}}`; or a folder of files `<image name>.json`, each `{"ship": 3}`,
            where the name is the path in the folder. Its subfolders are searched too; hidden files and folders are not.

    Raises:
        DataError: the path does not exist, a folder is empty, counts are malformed, or a label has two spellings for
            one image.
    """
    if path.is_dir():
        return _of_folder(path)
    form = 'an object of image name to counts, {"a.png": {"ship": 3}}; or a folder of files a.json, each {"ship": 3}'
    of_images = read_json(path, dict[str, dict[str, int]], "count file", form)
    return {name: _checked(counts, f"count file {path}: {name!r}") for name, counts in of_images.items()}


def _of_folder(folder: Path) -> dict[str, dict[str, int]]:
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
    return _checked(counts, f"count file {path}")


def _checked(counts: dict[str, int], where: str) -> dict[str, int]:
    spellings: dict[str, str] = {}
    for label, count in counts.items():
        if count < 0:
            raise DataError(f"{where}: the count of {label!r} is {count}; expected a whole number >= 0")
        other = next((spellings[form] for form in forms(label) if form in spellings), None)
        if other is not None:
            raise DataError(
                f"{where}: {other!r} ({counts[other]}) and {label!r} ({count}) are two spellings of one label; keep one"
            )
        spellings.update(dict.fromkeys(forms(label), label))
    return counts
