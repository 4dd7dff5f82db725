"""Where the answers of `predict` are saved: pictures image by image, files of all images at the end."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import as_json, replace_file, writing
from earthinstruct.images import Scene, draw_overlay, step_for
from earthinstruct.predictions import (
    Found,
    OnGround,
    check_crs,
    check_geopandas,
    coco_of,
    counts_csv,
    geojson_of,
    records_of,
    undrawn_and_uncounted,
    write_label_raster,
    write_vectors,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_PICTURES = (".png", ".jpg", ".jpeg")
_LONGEST_PICTURE = 4096  # pixels


def refuse_to_replace(option: str, targets: Iterable[Path], images: Sequence[Path]) -> None:
    """Refuse files to write that are among the images.

    Raises:
        EarthInstructError: one is.
    """
    given = {image.resolve() for image in images}
    for target in targets:
        if target.resolve() in given:
            raise EarthInstructError(f"--{option} {target} would replace that image; give another place")


class Outputs:
    """Where answers are saved: pictures image by image, files of all images at the end.

    Raises:
        EarthInstructError: a target would replace an image or another target, has an unknown suffix, or cannot hold
            every picture.
    """

    def __init__(
        self,
        save: Path | str | Sequence[Path | str],
        explain: Path | str | None,
        images: Sequence[Path],
        ground: OnGround | None = None,
    ) -> None:
        targets = [Path(save)] if isinstance(save, str | Path) else [Path(target) for target in save]
        pictures = [target for target in targets if _format(target) is None]
        files = [(target, suffix) for target in targets if (suffix := _format(target)) is not None]
        ground = ground or OnGround()
        refuse_to_replace("save", (target for target, _ in files), images)
        for target in pictures:
            _check_pictures("save", target, images)
        if explain is not None:
            _check_pictures("explain", Path(explain), images)
            drawn = {_picture_of(target, images[0]).resolve() for target in pictures}
            if _picture_of(Path(explain), images[0]).resolve() in drawn:
                raise EarthInstructError(f"--explain {explain} would replace the picture of --save; give another place")
        for target, suffix in files:
            if suffix == ".tif" and len(images) > 1:
                raise EarthInstructError(
                    f"{target} has the pixels of one image, and there are {len(images)}; run predict for each"
                )
            if suffix == ".tif" and ground.crs is not None:
                raise EarthInstructError(f"{target} has the reference system of its image; leave --crs out")
        if ground != OnGround() and not any(suffix in _VECTORS for _, suffix in files):
            raise EarthInstructError(
                f"--crs and --simplify are for vector files; save one ({', '.join(_VECTORS)}), or leave them out"
            )
        # a method may change the working directory
        self.explain = None if explain is None else Path(explain).absolute()
        self._pictures = [target.absolute() for target in pictures]
        self._files = [(target.absolute(), suffix) for target, suffix in files]
        self._ground = ground
        given = [*targets, *([] if explain is None else [Path(explain)])]
        self._given = {target.absolute(): target for target in given}
        self._n_saved = Counter[Path]()

    def saved(self) -> tuple[str, ...]:
        """What was written, as the targets were given; a folder with the number of its pictures."""
        return tuple(
            str(self._given[target]) if _format(target) or _is_picture(target) else _pictures_in(self._given[target], n)
            for target, n in self._n_saved.items()
        )

    def check(self) -> None:
        """Refuse targets that cannot be written, before the first image, which may be paid for.

        Raises:
            DataError: a target cannot be written.
        """
        if self.on_ground or self._ground.simplify:
            check_geopandas()
        if self._ground.crs is not None:
            check_crs(self._ground.crs)
        folders = {target: target.parent for target, _ in self._files}
        folders |= {target: target.parent if _is_picture(target) else target for target in self._all_pictures}
        for target, folder in folders.items():
            with writing(target, folder=folder), tempfile.TemporaryFile(dir=folder):
                pass

    @property
    def _all_pictures(self) -> list[Path]:
        return [*self._pictures, *([] if self.explain is None else [self.explain])]

    @property
    def on_ground(self) -> bool:
        """Whether images must know their place on the ground."""
        return any(suffix in _ON_GROUND for _, suffix in self._files)

    def save_pictures(
        self,
        path: Path,
        scene: Scene,
        prediction: Prediction,
        explanation: NDArray[np.uint8] | None,
        remarks: Sequence[str],
    ) -> None:
        """Save the pictures of one image."""
        from PIL.Image import fromarray

        if self._pictures:
            picture = overlay_of(scene, prediction, remarks)
            for target in self._pictures:
                _save_picture(picture, target, path)
                self._n_saved[target] += 1
        if self.explain is not None and explanation is not None:
            _save_picture(fromarray(explanation), self.explain, path)
            self._n_saved[self.explain] += 1

    def save_files(self, found: Sequence[Found], about: Mapping[str, Any]) -> None:
        """Save what was found in all images, in the format of each target's suffix."""
        problems = []
        for target, suffix in self._files:
            try:
                with writing(target):
                    _FORMATS[suffix](target, found, about, self._ground)
                self._n_saved[target] += 1
            except EarthInstructError as error:  # the other files are saved all the same
                problems.append(str(error))
        if problems:
            raise DataError("; ".join(problems))


def overlay_of(scene: Scene, prediction: Prediction, remarks: Sequence[str] = ()) -> Image:
    """Draw a prediction over its scene; a large one is drawn smaller."""
    step = step_for(scene.height, scene.width, _LONGEST_PICTURE)
    undrawn, uncounted = undrawn_and_uncounted(prediction)
    if undrawn or uncounted:
        remarks = (f"{undrawn} counted but not drawn, {uncounted} drawn but not counted", *remarks)
    return draw_overlay(scene.read(step=step)[0], prediction, remarks, step=step)


def _pictures_in(folder: Path, n: int) -> str:
    return f"{n} picture{'' if n == 1 else 's'} in {folder}"


def _save_picture(picture: Image, target: Path, path: Path) -> None:
    file = _picture_of(target, path)
    content = io.BytesIO()
    picture.save(content, "PNG" if file.suffix.lower() == ".png" else "JPEG")
    with writing(file):
        replace_file(file, content.getvalue())


def _picture_of(target: Path, image: Path) -> Path:
    """The file of the picture of an image: the target itself, or one in the folder that it is."""
    return target if _is_picture(target) else target / f"{image.stem}.png"


def _write_coco(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    replace_file(target, as_json(coco_of(found, about)))


def _write_records(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    replace_file(target, as_json(records_of(found, about)))


def _write_geojson(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    replace_file(target, as_json(geojson_of(found, about, ground)))


def _write_counts(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    replace_file(target, counts_csv(found, about).encode())


_FORMATS: Mapping[str, Callable[[Path, Sequence[Found], Mapping[str, Any], OnGround], None]] = {
    ".coco.json": _write_coco,
    ".geojson": _write_geojson,
    ".json": _write_records,
    ".csv": _write_counts,
    **dict.fromkeys((".gpkg", ".shp", ".fgb", ".parquet"), write_vectors),
    ".tif": write_label_raster,
}
_VECTORS = (".geojson", ".gpkg", ".shp", ".fgb", ".parquet")
_ON_GROUND = (*_VECTORS, ".tif")


def _format(target: Path) -> str | None:
    """The suffix of a file of all images; None: pictures are saved there."""
    return next((suffix for suffix in _FORMATS if target.name.lower().endswith(suffix)), None)


def _check_pictures(option: str, target: Path, images: Sequence[Path]) -> None:
    """Refuse a target that cannot hold a picture of every image, or would replace an image."""
    refuse_to_replace(option, (_picture_of(target, image) for image in images), images)
    if _is_picture(target):
        if len(images) > 1:
            raise EarthInstructError(f"{target} is one picture, and there are {len(images)} images; name a folder")
    elif target.suffix and not target.is_dir():
        raise EarthInstructError(
            f"{target} has an unknown suffix; expected .png, .jpg, {', '.join(_FORMATS)}, or a folder"
        )
    repeated, times = Counter(image.stem for image in images).most_common(1)[0]
    if times > 1 and not _is_picture(target):
        raise EarthInstructError(
            f"two images are named {repeated!r}, and {target} can hold one picture of that name; give them apart"
        )


def _is_picture(target: Path) -> bool:
    return target.suffix.lower() in _PICTURES and not target.is_dir()
