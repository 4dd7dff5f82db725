"""Find the images of a dataset by the names that files give them: ids, or file names in any folder."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import PurePosixPath

from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import DataError
from earthinstruct.images import IMAGE_SUFFIXES
from earthinstruct.regions import ImageId

_EXAMPLES = 3  # images shown in an error


_Found = Mapping[ImageId, list[ImageRecord]]


class ImageNames:
    """Finds images by id or by file name.

    - An id may be a number or its text: 7 and "7" are the same.
    - A file name may lack its suffix and some of its folders, or have others before them. It belongs to the image with
      which it shares the most folders. Backslashes and both Unicode forms of accents are understood.
    - A number may be a file name: Ultralytics writes 12 for `000012.jpg`.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._by_id = {str(image.id): image for image in dataset.images}

    @cached_property
    def _by_stem(self) -> dict[str, list[ImageRecord]]:
        found: dict[str, list[ImageRecord]] = {}
        for image in self._dataset.images:
            found.setdefault(PurePosixPath(_normal(image.file_name)).stem, []).append(image)
        return found

    @cached_property
    def _by_number(self) -> dict[int, list[ImageRecord]]:
        found: dict[int, list[ImageRecord]] = {}
        for stem, images in self._by_stem.items():
            if stem.isascii() and stem.isdigit():
                found.setdefault(int(stem), []).extend(images)
        return found

    @cached_property
    def _suffixes(self) -> set[str]:
        own = {PurePosixPath(image.file_name).suffix.lower() for image in self._dataset.images}
        return {*IMAGE_SUFFIXES, *own}

    def find(
        self, names: Iterable[ImageId], where: Callable[[ImageId], str], *, ids: bool = True, once: bool = True
    ) -> Mapping[ImageId, ImageRecord]:
        """Find the images of one source, which names all of them in the same way.

        Args:
            names: the names.
            where: the place of a name, for errors.
            ids: whether the names are ids, and file names if they do not fit; or the other way around.
            once: whether a source may name an image only once.

        Raises:
            DataError: a name fits no image or several, or two names fit the same image.
        """
        names = list(dict.fromkeys(names))
        by_id = {name: self._of_id(name) for name in names}
        if ids and all(images and images[0].id == name for name, images in by_id.items()):
            by_file = by_id  # exactly the ids, which need no other way
        else:
            by_file = {name: self._of_file_name(name) for name in names}
        ways = (by_id, by_file) if ids else (by_file, by_id)
        chosen = max(ways, key=lambda way: sum(map(bool, way.values())))
        if ids:
            self._refuse_both(by_id, by_file, where)
        taken: dict[ImageId, ImageId] = {}
        for name, images in chosen.items():
            if not images:
                raise DataError(f"{where(name)}: dataset {self._dataset.name!r} has no image {name!r}; {self._known()}")
            if len(images) > 1:
                raise DataError(
                    f"{where(name)}: {name!r} fits several images of dataset {self._dataset.name!r}: "
                    f"{', '.join(image.file_name for image in images[:_EXAMPLES])}; give their paths"
                )
            other = taken.setdefault(images[0].id, name)
            if once and other != name:
                raise DataError(
                    f"{where(name)}: {other!r} and {name!r} name the same image of dataset {self._dataset.name!r}; "
                    "keep one"
                )
        return {name: images[0] for name, images in chosen.items()}

    def _refuse_both(self, by_id: _Found, by_file: _Found, where: Callable[[ImageId], str]) -> None:
        """Refuse text that may be ids or file names where these are different images."""
        if all(by_id.values()) and all(by_file.values()):
            for name, images in by_id.items():
                if isinstance(name, str) and images[0].id != name and images[0] not in by_file[name]:
                    raise DataError(
                        f"{where(name)}: {name!r} may be the id of {images[0].file_name} or the name of "
                        f"{by_file[name][0].file_name} in dataset {self._dataset.name!r}; give ids as they are there, "
                        f"such as {images[0].id!r}"
                    )

    def _of_id(self, name: ImageId) -> list[ImageRecord]:
        image = self._by_id.get(str(name))
        return [] if image is None else [image]

    def _of_file_name(self, name: ImageId) -> list[ImageRecord]:
        if isinstance(name, int):
            return self._by_number.get(name, [])
        path = PurePosixPath(_normal(name.replace("\\", "/")))
        known_suffix = path.suffix.lower() in self._suffixes  # "P0003.2" has no suffix
        images = self._by_stem.get(path.stem if known_suffix else path.name, [])
        if len(images) < 2:
            return images
        fits = [_fit(path, PurePosixPath(_normal(image.file_name)), known_suffix) for image in images]
        return [image for image, fit in zip(images, fits, strict=True) if fit == max(fits)]

    def _known(self) -> str:
        images = self._dataset.images[:_EXAMPLES]
        more = ", ..." if len(self._dataset.images) > _EXAMPLES else ""
        return (
            f"its images have the ids {', '.join(repr(image.id) for image in images)}{more} "
            f"and the file names {', '.join(image.file_name for image in images)}{more}"
        )


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _fit(path: PurePosixPath, other: PurePosixPath, known_suffix: bool) -> tuple[int, bool, bool, bool]:
    """How well a path fits that of an image with the same stem.

    Returns:
        The number of folders in common, whether one path ends with the other, and whether folders and suffix are equal.
    """
    folders, others = path.parent.parts[::-1], other.parent.parts[::-1]
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(folders, others, strict=False)))
    ends_alike = shared == min(len(folders), len(others))
    return shared, ends_alike, folders == others, known_suffix and path.suffix == other.suffix
