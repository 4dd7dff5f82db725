"""What a method sees of a scene: a window, or an area of interest, at the resolution of the scene or at another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction, Proposals, optional_member
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.images import NAMELESS, Note, Scene, Window, scene_at
from earthinstruct.predictions import check_geopandas
from earthinstruct.regions import resize_masks

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

METHOD = "method"  # the resolution that the method was made for


@dataclass(frozen=True)
class Area:
    """What is looked at in each image; pixels outside count as pixels without data.

    Attributes:
        window: column and row of the first pixel, width and height; None: the whole image.
        aoi: a vector file with the areas of interest, in any reference system; None: everywhere.
        resolution: metres a pixel that the method sees; `METHOD`: those that it was made for; None: as stored.
    """

    window: tuple[int, int, int, int] | None = None
    aoi: Path | None = None
    resolution: float | str | None = None

    @staticmethod
    def of(window: str | Sequence[int] | None, aoi: Path | str | None, resolution: float | str | None = None) -> Area:
        """Read the options.

        Raises:
            EarthInstructError: the window is not four numbers or has no pixel, or the resolution is no size.
            DataError: a package of the extra `geo` is missing, or the file is no vector file with areas.
        """
        metres = _metres(resolution)
        area = Area(_window(window), None if aoi is None else Path(aoi), metres)
        if aoi is not None:
            _ = area._areas  # read before the first image
        return area

    def for_method(self, method: object) -> Area:
        """The same with the resolution in metres.

        Raises:
            EarthInstructError: it is that of the method; see `at_resolution_of`.
        """
        if self.resolution != METHOD:
            return self
        return self.at_resolution_of(getattr(method, "name", ""), optional_member(method, "resolution")())

    def at_resolution_of(self, name: str, metres: object) -> Area:
        """The same with the resolution that a method was made for; areas that were read are not read again.

        Args:
            name: the method.
            metres: what its `resolution` returned.

        Raises:
            EarthInstructError: it does not say its resolution.
            ContractError: what it returned is no resolution.
        """
        if metres is None:
            raise EarthInstructError(
                f"method {name!r} does not say which resolution it was made for; give --resolution METRES"
            )
        if isinstance(metres, bool) or not isinstance(metres, int | float | np.number) or not 0 < metres < np.inf:
            raise ContractError(
                f"resolution() of method {name!r} returned {metres!r}; expected metres a pixel, such as 0.5, or None"
            )
        area = replace(self, resolution=float(metres))
        if self.aoi is not None:
            area.__dict__["_areas"] = self._areas
        return area

    @cached_property
    def _areas(self) -> gpd.GeoDataFrame:
        """The areas of interest, which are read once."""
        check_geopandas()
        import geopandas as gpd
        from pyogrio.errors import DataSourceError

        try:
            areas = gpd.read_file(self.aoi, engine="pyogrio")
        except DataSourceError as error:
            raise DataError(f"--aoi {self.aoi} cannot be read: {error}") from error
        if isinstance(areas, gpd.GeoDataFrame):
            areas = areas[areas.geom_type.isin(["Polygon", "MultiPolygon"]) & ~areas.is_empty]
        if getattr(areas, "crs", None) is None or areas.empty:
            raise DataError(f"--aoi {self.aoi} has no areas, or does not name its coordinate reference system")
        return areas

    def notes(self, scene: Scene) -> tuple[Note, ...]:
        """How the pixels that are looked at differ from those of the file.

        Raises:
            DataError: the image lacks the place or reference system that is needed.
        """
        seen = scene
        if self.resolution is not None and not isinstance(self.resolution, str):
            seen = scene_at(scene, self.resolution)
        notes = list(seen.notes)
        if self.window is not None:
            column, row, width, height = self.window
            words = f"only --window {column},{row},{width},{height} is looked at"
            inside = min(width, scene.width - column), min(height, scene.height - row)
            cut = "" if inside == (width, height) else f", of which {inside[0]}x{inside[1]} pixels lie in the image"
            notes.append(Note(words + cut, words))
        if self.aoi is not None:
            notes.append(Note.same(f"only the areas of {self.aoi} are looked at"))
        return tuple(notes)

    def of_scene(self, path: Path, scene: Scene) -> AreaOfScene:
        """The part of one image.

        Raises:
            DataError: the image does not reach into the area, or lacks the place or reference system that is needed.
        """
        part = self._stored(path, scene)
        if self.resolution is None or isinstance(self.resolution, str):
            return part
        try:
            return part.at(scene_at(scene, self.resolution))
        except DataError as error:
            raise DataError(f"image {path}: {error}") from error

    def _stored(self, path: Path, scene: Scene) -> AreaOfScene:
        """The part at the resolution of the image."""
        x0, y0, x1, y1 = 0, 0, scene.width, scene.height
        if self.window is not None:
            column, row, width, height = self.window
            x0, y0, x1, y1 = column, row, min(x1, column + width), min(y1, row + height)
        if x0 >= x1 or y0 >= y1:
            raise DataError(f"image {path} has {scene.width}x{scene.height} pixels, none of them in --window")
        if self.aoi is None:
            return AreaOfScene(scene, (x0, y0, x1, y1), None)
        inside = self._inside(path, scene)
        left, top, right, bottom = inside.bounds
        window = max(x0, int(left)), max(y0, int(top)), min(x1, -int(-right // 1)), min(y1, -int(-bottom // 1))
        if window[0] >= window[2] or window[1] >= window[3]:
            raise DataError(f"image {path} does not reach into the area of {self.aoi}")
        return AreaOfScene(scene, window, inside)

    def _inside(self, path: Path, scene: Scene) -> BaseGeometry:
        """The areas of interest, in pixels of an image."""
        from shapely.affinity import affine_transform

        if scene.place is None or scene.place.crs is None:
            raise DataError(
                f"image {path} has no place on the ground, which --aoi needs: {scene.no_place_reason or NAMELESS}. "
                "Or give --window in pixels"
            )
        a, b, c, d, e, f = scene.place.transform
        determinant = a * e - b * d
        inverse = np.array([[e, -b], [-d, a]]) / determinant
        offset = -inverse @ np.array([c, f])
        return affine_transform(self._areas.to_crs(scene.place.crs).union_all(), [*inverse.ravel(), *offset])


def _metres(resolution: float | str | None) -> float | str | None:
    if resolution is None or resolution == METHOD:
        return resolution
    try:
        metres = float(resolution)
    except ValueError:
        metres = 0.0
    if not 0 < metres < np.inf:
        raise EarthInstructError(f"--resolution is {resolution!r}; expected metres a pixel, such as 0.5, or {METHOD}")
    return metres


def _window(window: str | Sequence[int] | None) -> tuple[int, int, int, int] | None:
    if window is None:
        return None
    try:
        column, row, width, height = map(int, window.split(",") if isinstance(window, str) else window)
    except ValueError:
        column = row = width = height = -1
    if column < 0 or row < 0 or width < 1 or height < 1:
        raise EarthInstructError(
            f"--window is {window!r}; expected column, row, width and height in pixels, such as 0,0,2048,1024"
        )
    return column, row, width, height


@dataclass(frozen=True, eq=False)
class AreaOfScene:
    """The part of a scene that is predicted.

    Attributes:
        scene: the image, perhaps at another resolution.
        window: the pixels of the scene that contain the part.
        inside: the areas of interest in pixels of the scene; None: all of the window.
    """

    scene: Scene
    window: Window
    inside: BaseGeometry | None

    def at(self, scene: Scene) -> AreaOfScene:
        """The same part of the same image at another resolution."""
        across, down = scene.width / self.scene.width, scene.height / self.scene.height
        inside = self.inside
        if inside is not None:
            from shapely.affinity import scale

            inside = scale(inside, across, down, origin=(0, 0))
        x0, y0, x1, y1 = self.window
        left, top = min(round(x0 * across), scene.width - 1), min(round(y0 * down), scene.height - 1)
        window = left, top, max(round(x1 * across), left + 1), max(round(y1 * down), top + 1)
        return replace(self, scene=scene, window=window, inside=inside)

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Read some pixels of the scene; those outside the areas have no data and are black."""
        if self.inside is None:
            return self.scene.read(window)
        from shapely import box

        part = self.inside.intersection(box(*window))
        x0, y0, x1, y1 = window
        if part.is_empty:
            return np.zeros((y1 - y0, x1 - x0, 3), dtype=np.uint8), np.zeros((y1 - y0, x1 - x0), dtype=bool)
        from rasterio import Affine
        from rasterio.features import geometry_mask

        pixels, valid = self.scene.read(window)
        shown = geometry_mask([part], (y1 - y0, x1 - x0), Affine.translation(x0, y0), invert=True)
        pixels = np.where(shown[..., None], pixels, np.uint8(0))
        return pixels, shown if valid is None else shown & valid


def resized(prediction: Prediction, before: tuple[int, int], after: tuple[int, int]) -> Prediction:
    """A prediction in the pixels of the same image at another resolution.

    Args:
        prediction: what was found.
        before: height and width of the image that it was found in.
        after: height and width of the other.
    """
    across, down = after[1] / before[1], after[0] / before[0]
    if across == down == 1:
        return prediction
    factors = np.array([across, down, across, down])

    def regions(found: Prediction | Proposals) -> dict[str, Any]:
        masks = None if found.masks is None else tuple(resize_masks(found.masks, *after))
        return {"boxes": None if found.boxes is None else found.boxes * factors, "masks": masks}

    proposals = prediction.proposals
    return replace(
        prediction,
        **regions(prediction),
        proposals=None if proposals is None else replace(proposals, **regions(proposals)),
        tiles=None if prediction.tiles is None else tuple(_scaled(one, across, down) for one in prediction.tiles),
        points=None if prediction.points is None else prediction.points * factors[:2],
    )


def _scaled(tile: tuple[int, int, int, int], across: float, down: float) -> tuple[int, int, int, int]:
    """A tile in other pixels."""
    x, y, width, height = tile
    x0, y0 = round(x * across), round(y * down)
    return x0, y0, round((x + width) * across) - x0, round((y + height) * down) - y0
