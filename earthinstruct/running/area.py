"""The part of a scene that is predicted: a window, or an area of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.images import Scene, Window
from earthinstruct.predictions import check_geopandas

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Area:
    """What is looked at in each image; pixels outside count as pixels without data.

    Attributes:
        window: column and row of the first pixel, width and height; None: the whole image.
        aoi: a vector file with the areas of interest, in any reference system; None: everywhere.
    """

    window: tuple[int, int, int, int] | None = None
    aoi: Path | None = None

    @staticmethod
    def of(window: str | Sequence[int] | None, aoi: Path | str | None) -> Area:
        """Read the options.

        Raises:
            EarthInstructError: the window is not four numbers, or has no pixel.
            DataError: a package of the extra `geo` is missing.
        """
        if aoi is not None:
            check_geopandas()
        if window is None:
            return Area(None, None if aoi is None else Path(aoi))
        try:
            column, row, width, height = map(int, window.split(",") if isinstance(window, str) else window)
        except ValueError:
            column = row = width = height = -1
        if column < 0 or row < 0 or width < 1 or height < 1:
            raise EarthInstructError(
                f"--window is {window!r}; expected column, row, width and height in pixels, such as 0,0,2048,1024"
            )
        return Area((column, row, width, height), None if aoi is None else Path(aoi))

    def of_scene(self, path: Path, scene: Scene) -> AreaOfScene:
        """The part of one image.

        Raises:
            DataError: the image does not reach into the area, has no place, or the file of the area is no vector file.
        """
        x0, y0, x1, y1 = 0, 0, scene.width, scene.height
        if self.window is not None:
            column, row, width, height = self.window
            x0, y0, x1, y1 = column, row, min(x1, column + width), min(y1, row + height)
        if x0 >= x1 or y0 >= y1:
            raise DataError(f"image {path} has {scene.width}x{scene.height} pixels, none of them in --window")
        if self.aoi is None:
            return AreaOfScene(scene, (x0, y0, x1, y1), None)
        inside = _inside(path, scene, self.aoi)
        left, top, right, bottom = inside.bounds
        window = max(x0, int(left)), max(y0, int(top)), min(x1, -int(-right // 1)), min(y1, -int(-bottom // 1))
        if window[0] >= window[2] or window[1] >= window[3]:
            raise DataError(f"image {path} does not reach into the area of {self.aoi}")
        return AreaOfScene(scene, window, inside)


def _inside(path: Path, scene: Scene, aoi: Path) -> BaseGeometry:
    """The areas of interest, in pixels of an image."""
    import geopandas as gpd
    from pyogrio.errors import DataSourceError
    from shapely.affinity import affine_transform

    if scene.place is None or scene.place.crs is None:
        raise DataError(f"image {path} has no place on the ground, which --aoi needs; give --window in pixels")
    try:
        areas = gpd.read_file(aoi, engine="pyogrio")
    except DataSourceError as error:
        raise DataError(f"--aoi {aoi} cannot be read: {error}") from error
    if areas.crs is None or areas.empty:
        raise DataError(f"--aoi {aoi} has no areas, or does not name its coordinate reference system")
    a, b, c, d, e, f = scene.place.transform
    determinant = a * e - b * d
    inverse = np.array([[e, -b], [-d, a]]) / determinant
    offset = -inverse @ np.array([c, f])
    return affine_transform(areas.to_crs(scene.place.crs).union_all(), [*inverse.ravel(), *offset])


@dataclass(frozen=True, eq=False)
class AreaOfScene:
    """The part of a scene that is predicted.

    Attributes:
        scene: the image.
        window: the pixels that contain the part.
        inside: the areas of interest in pixels of the image; None: all of the window.
    """

    scene: Scene
    window: Window
    inside: BaseGeometry | None

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
