"""Read image files as 8-bit RGB with their georeference, and draw predictions over them."""

from earthinstruct.images.files import IMAGE_SUFFIXES, images_below
from earthinstruct.images.options import ImageOptions
from earthinstruct.images.overlay import draw_overlay, label_colours
from earthinstruct.images.pictures import open_image
from earthinstruct.images.raster import Note, Place, Raster
from earthinstruct.images.reading import image_size, read_raster

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageOptions",
    "Note",
    "Place",
    "Raster",
    "draw_overlay",
    "image_size",
    "images_below",
    "label_colours",
    "open_image",
    "read_raster",
]
