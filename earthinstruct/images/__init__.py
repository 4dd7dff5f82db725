"""Read image files as 8-bit RGB with their georeference, and draw predictions over them."""

from earthinstruct.images.files import IMAGE_SUFFIXES, image_size, images_below, open_image, read_image
from earthinstruct.images.overlay import draw_overlay, label_colours
from earthinstruct.images.rasters import Place, Raster, read_raster

__all__ = [
    "IMAGE_SUFFIXES",
    "Place",
    "Raster",
    "draw_overlay",
    "image_size",
    "images_below",
    "label_colours",
    "open_image",
    "read_image",
    "read_raster",
]
