"""Map the labels of a method to the categories of a dataset. Labels without a category are mapped to None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.registry import LABEL_MAPPERS, plugins


class MappedLabel(msgspec.Struct, frozen=True):
    """The category that a label was mapped to.

    Attributes:
        category: a category of the dataset, or None.
        similarity: the similarity measured by the mapper, or None if it measures none.
    """

    category: str | None
    similarity: float | None = None


_NEXT_STEP = (
    "Give your own map by its path (*.json). clip:<encoder> is in earthinstruct-instructsam; in a clone: pip install "
    "-e methods/models -e methods/instructsam. Predictions are kept; --label-map exact scores them without an encoder."
)


@runtime_checkable
class LabelMapper(Protocol):
    """Maps labels to categories."""

    @property
    def name(self) -> str:
        """The name of the mapper in result files."""
        ...

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None."""
        ...


def normalised(label: str) -> str:
    """Convert a label to lower case, with single spaces between words and the last word in the singular.

    >>> normalised("Tennis_Courts"), normalised("dams"), normalised("buses"), normalised("ferries")
    ('tennis court', 'dam', 'bus', 'ferry')
    >>> normalised("houses"), normalised("sizes"), normalised("Class S")
    ('house', 'size', 'class s')
    """
    text = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    if text.endswith("ies") and len(text) > 4:
        return text[:-3] + "y"
    if text.endswith(("ches", "shes", "sses", "uses", "xes")) and not text.endswith(("ouses", "auses")):
        return text[:-2]
    if text.endswith("s") and not f" {text}".endswith(("ss", "us", "is", " s")):
        return text[:-1]
    return text


@dataclass(frozen=True)
class ExactMapper:
    """Maps a label to the category of the same name; case, underscores, hyphens and plural are ignored."""

    name: str = "exact"

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None.

        Raises:
            DataError: a label matches several categories, which differ only in case, separators or number.
        """
        known: dict[str, list[str]] = {}
        for category in categories:
            known.setdefault(normalised(category), []).append(category)
        mapped = {}
        for label in labels:
            found = [label] if label in categories else known.get(normalised(label), [])
            if len(found) > 1:
                raise DataError(
                    f"label {label!r} matches several categories, {found}, which differ only in case, separators or "
                    "number; choose one with a label map (--label-map FILE.json), or rename one"
                )
            mapped[label] = MappedLabel(found[0] if found else None)
        return mapped


@dataclass(frozen=True)
class FileMapper:
    """Maps labels by a JSON file; labels that are not in the file are mapped like by `ExactMapper`."""

    name: str
    entries: Mapping[str, MappedLabel]

    @staticmethod
    def read(path: Path) -> FileMapper:
        """Read `{"car": "vehicle", "tree": null}`, or the `label_map` of a result file.

        Raises:
            DataError: the file is missing or is not such a map.
        """
        entries = decode_json(
            read_bytes(path, "label map"),
            msgspec.json.Decoder(dict[str, str | MappedLabel | None]),
            f'label map {path}: {{error}}; expected a JSON object such as {{"car": "vehicle", "tree": null}}',
        )
        return FileMapper(
            path.name, {k: v if isinstance(v, MappedLabel) else MappedLabel(v) for k, v in entries.items()}
        )

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None.

        Raises:
            DataError: the file maps a label to a name that is not a category.
        """
        for label, mapped in self.entries.items():
            if mapped.category is not None and mapped.category not in categories:
                raise DataError(
                    f"label map {self.name}: {label!r} is mapped to {mapped.category!r}, which is not a category; "
                    f"known: {', '.join(categories)}, or null"
                )
        labels = list(labels)
        exact = ExactMapper().map((label for label in labels if label not in self.entries), categories)
        return {label: self.entries[label] if label in self.entries else exact[label] for label in labels}


@dataclass(frozen=True)
class ExactThenMapper:
    """Maps labels with `ExactMapper` first, and the remaining ones with another mapper, which is loaded on demand."""

    then: str

    @property
    def name(self) -> str:
        """The names of both mappers, in order."""
        return f"exact, then {self.then}"

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None.

        Raises:
            UnknownNameError: labels remain, and no mapper has the name `then`.
        """
        mapped = ExactMapper().map(labels, categories)
        left = [label for label, entry in mapped.items() if entry.category is None]
        return {**mapped, **named_mapper(self.then).map(left, categories)} if left else mapped


def named_mapper(name: str) -> LabelMapper:
    """Make a label mapper by name.

    Args:
        name: `exact`, the path of a JSON file, or `kind:argument` of a plug-in in the entry-point group
            `earthinstruct.label_mappers`.

    Raises:
        UnknownNameError: no mapper has this name.
        DataError: the file is malformed.
    """
    if name == "exact":
        return ExactMapper()
    if name.endswith(".json"):
        return FileMapper.read(Path(name))
    kind, _, argument = name.partition(":")
    known = plugins(LABEL_MAPPERS)
    if kind not in known:
        raise UnknownNameError("label map", name, ("exact", *known), _NEXT_STEP)
    mapper: LabelMapper = known[kind].load()(argument)
    return mapper
