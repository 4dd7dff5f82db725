"""Opens every output of `predict` over its raster: `python examples/outputs_over_their_raster.py FOLDER`.

The raster is a drawn port as a GeoTIFF; the method knows its objects, and counts one that it does not draw. The
figure is that of docs/predict.md. It needs rasterio, geopandas and matplotlib.
"""

import json
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from rasterio.plot import plotting_extent

from earthinstruct import Instruction, Prediction, predict
from earthinstruct.datasets.scenes import generate_scene
from earthinstruct.images import label_colours
from earthinstruct.running import Answers

SCENE = generate_scene("val", 10)
VECTORS = ("found.geojson", "found.gpkg", "found.shp", "found.fgb", "found.parquet")
FILES = ("found.png", "found.coco.json", "found.tif", *VECTORS)


class Known:
    """Draws the objects of the scene that are asked for, and counts one ship more."""

    name = "known"

    def predict(self, image: np.ndarray, instruction: Instruction) -> Prediction:
        """Find the objects in one RGB image, uint8 (height, width, 3)."""
        named = [label.replace("_", " ") for label in SCENE.labels]
        asked = [i for i, label in enumerate(named) if label in instruction.categories]
        labels = [named[i] for i in asked]
        counts = {name: labels.count(name) + (name == "ship") for name in instruction.categories}
        return Prediction(labels, SCENE.boxes[asked], [SCENE.masks[i] for i in asked], counts=counts)


def outputs(folder: Path) -> Answers:
    """Make the raster and every output in a folder."""
    height, width, bands = SCENE.image.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": "uint8"}
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)}
    with rasterio.open(folder / "scene.tif", "w", **profile, **place) as raster:
        raster.write(SCENE.image.transpose(2, 0, 1))
    saved = [folder / name for name in FILES]
    return predict(
        Known(), folder / "scene.tif", "count the ships, harbors, storage tanks and airplanes", output=None, save=saved
    )


def figure(folder: Path) -> Figure:
    """Draw every output over its raster."""
    drawn = Figure(figsize=(16, 8.6), layout="constrained")
    axes = drawn.subplots(2, 4).ravel()
    with rasterio.open(folder / "scene.tif") as raster:
        pixels, on_ground, crs = raster.read().transpose(1, 2, 0), plotting_extent(raster), raster.crs
    for axis, name in zip(axes, FILES, strict=True):
        axis.set_title(name)
        axis.set_axis_off()
        if name == "found.png":
            axis.imshow(np.asarray(Image.open(folder / name)))
        elif name == "found.coco.json":
            axis.imshow(pixels)
            _draw_coco(axis, folder / name)
        else:
            axis.imshow(pixels, extent=on_ground)
            if name == "found.tif":
                _draw_labels(axis, folder / name)
            else:
                frame = gpd.read_parquet(folder / name) if name.endswith("parquet") else gpd.read_file(folder / name)
                colours = label_colours([*frame["label"], "airplane"])  # colours of all that was asked for
                edges = [np.divide(colours[label], 255) for label in frame["label"]]
                frame.to_crs(crs).plot(ax=axis, facecolor="none", edgecolor=edges, linewidth=1.5)
    return drawn


def _draw_coco(axis: Axes, path: Path) -> None:
    content = json.loads(path.read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    colours = label_colours([*names.values()])
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        edge = np.divide(colours[names[one["category_id"]]], 255)
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=edge, linewidth=1.5))


def _draw_labels(axis: Axes, path: Path) -> None:
    with rasterio.open(path) as labels:
        colours = np.array([labels.colormap(1)[i] for i in range(256)]) / 255
        axis.imshow(
            *(np.ma.masked_equal(labels.read(1), 0), ListedColormap(colours)),
            extent=plotting_extent(labels),
            vmin=-0.5,
            vmax=255.5,
            alpha=0.7,
            interpolation="nearest",
        )


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    outputs(place)
    figure(place).savefig(place / "outputs.jpg", dpi=70, pil_kwargs={"quality": 85})
