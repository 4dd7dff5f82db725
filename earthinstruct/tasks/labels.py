"""Map the labels of a method to the categories of a dataset. Labels without a category are mapped to None."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.files import read_json
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
    return forms(label)[0]


def forms(label: str) -> tuple[str, ...]:
    """The forms of a label under which it is compared: the likely singular, other possible ones, and itself.

    Case, underscores, hyphens and the Unicode form of accents are ignored.

    >>> forms("Fuses"), forms("prairies"), forms("dam")
    (('fus', 'fuse', 'fuses'), ('prairy', 'prairie', 'prairies'), ('dam',))
    """
    text = " ".join(unicodedata.normalize("NFC", label).lower().replace("_", " ").replace("-", " ").split())
    singulars: tuple[str, ...] = ()
    if text.endswith("ies") and len(text) > 4:
        singulars = (text[:-3] + "y", text[:-1])
    elif text.endswith(("ches", "shes", "sses", "uses", "xes")) and not text.endswith(("ouses", "auses")):
        singulars = (text[:-2], text[:-1])
    elif text.endswith("s") and not f" {text}".endswith(("ss", "us", "is", " s")):
        singulars = (text[:-1], text[:-2]) if text.endswith(("ses", "zes", "oes")) else (text[:-1],)
    return (*singulars, text)


@dataclass(frozen=True)
class ExactMapper:
    """Maps a label to the category of the same name; see `forms` for what is ignored."""

    name: str = "exact"

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None.

        Raises:
            DataError: a label matches several categories, which differ only in case, separators or number.
        """
        known: dict[str, list[str]] = {}
        for category in categories:
            for form in forms(category):
                known.setdefault(form, []).append(category)
        mapped = {}
        for label in labels:
            fits = [category for form in forms(label) for category in known.get(form, [])]
            found = [label] if label in categories else list(dict.fromkeys(fits))
            if len(found) > 1:
                raise DataError(
                    f"label {label!r} matches several categories, {found}, which differ only in case, separators or "
                    "number; choose one with a label map (--label-map FILE.json), or rename one"
                )
            mapped[label] = MappedLabel(found[0] if found else None)
        return mapped


@dataclass(frozen=True)
class FileMapper:
    """Maps labels by a JSON file; others like `ExactMapper`.

    A label is looked up as it is spelled, then ignoring case and separators, then in all of its `forms`; each time in
    the file first, then among the categories.
    """

    name: str
    entries: Mapping[str, MappedLabel]

    @staticmethod
    def read(path: Path) -> FileMapper:
        """Read `{"car": "vehicle", "tree": null}`, or the `label_map` of a result file.

        Raises:
            DataError: the file is missing or is not such a map.
        """
        kind = dict[str, str | MappedLabel | None]
        read = read_json(path, kind, "label map", 'an object of label to category, {"car": "vehicle", "tree": null}')
        entries: dict[str, MappedLabel] = {}
        for label, mapped in read.items():
            key = unicodedata.normalize("NFC", label)
            if key in entries:
                raise DataError(f"label map {path}: {label!r} is there in two Unicode forms; keep one")
            entries[key] = mapped if isinstance(mapped, MappedLabel) else MappedLabel(mapped)
        return FileMapper(path.name, entries)

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None.

        Raises:
            DataError: the file maps a label to a name that is not a category, or the label matches several labels of
                the file, with different categories.
        """
        named = {mapped.category for mapped in self.entries.values() if mapped.category is not None}
        known = ExactMapper().map(named, categories)
        entries = {}
        for label, mapped in self.entries.items():
            category = None if mapped.category is None else known[mapped.category].category
            if category is None and mapped.category is not None:
                raise DataError(
                    f"label map {self.name}: {label!r} is mapped to {mapped.category!r}, which is not a category; "
                    f"known: {', '.join(categories)}, or null"
                )
            entries[label] = MappedLabel(category, mapped.similarity)
        keys = self._keys(entries, labels, categories)
        exact = ExactMapper().map((label for label, key in keys.items() if key is None), categories)
        return {label: exact[label] if key is None else entries[key] for label, key in keys.items()}

    def _keys(
        self, entries: Mapping[str, MappedLabel], labels: Iterable[str], categories: Sequence[str]
    ) -> dict[str, str | None]:
        """Label -> the key of the entry that it stands for; None: of none."""
        plain = {forms(category)[-1] for category in categories}
        by_plain: dict[str, list[str]] = {}
        by_form: dict[str, list[str]] = {}
        for key in entries:
            by_plain.setdefault(forms(key)[-1], []).append(key)
            for form in forms(key):
                by_form.setdefault(form, []).append(key)
        keys: dict[str, str | None] = {}
        for label in labels:
            spelled, of_label = unicodedata.normalize("NFC", label), forms(label)
            if spelled in entries:
                found = [spelled]
            elif spelled in categories:
                found = []
            elif of_label[-1] in by_plain or of_label[-1] in plain:
                found = by_plain.get(of_label[-1], [])
            else:
                found = [key for form in of_label for key in by_form.get(form, [])]
            if len({entries[key].category for key in found}) > 1:
                raise DataError(
                    f"label map {self.name}: label {label!r} matches {list(dict.fromkeys(found))}, which it maps to "
                    "different categories; add the label in this spelling"
                )
            keys[label] = found[0] if found else None
        return keys


@dataclass(frozen=True)
class NamesMapper:
    """Maps the names of a variant to the categories that they stand for, and other labels with another mapper."""

    names: Mapping[str, str | None]
    others: LabelMapper

    @property
    def name(self) -> str:
        """The name of the other mapper: the names belong to the variant."""
        return self.others.name

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """Map every label to a category or None."""
        labels = list(labels)
        mapped = self.others.map([label for label in labels if label not in self.names], categories)
        return {label: MappedLabel(self.names[label]) if label in self.names else mapped[label] for label in labels}


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
    if name.lower().endswith((".json", ".json.gz")):
        return FileMapper.read(Path(name))
    kind, _, argument = name.partition(":")
    known = plugins(LABEL_MAPPERS)
    if kind not in known:
        raise UnknownNameError("label map", name, ("exact", *known), _NEXT_STEP)
    mapper: LabelMapper = known[kind].load()(argument)
    return mapper
