"""Read image files as 8-bit RGB with their georeference, and draw predictions over them."""

from earthinstruct.images.files import IMAGE_SUFFIXES, images_below
from earthinstruct.images.options import ImageOptions
from earthinstruct.images.overlay import draw_overlay, label_colours
from earthinstruct.images.pictures import open_image
from earthinstruct.images.raster import Note, Place, Raster, Scene, Window, step_for
from earthinstruct.images.reading import INSTALL_GEO, image_size, open_scene, read_raster, scene_of
from earthinstruct.images.resolution import NAMELESS, pixel_metres, scene_at

__all__ = [
    "IMAGE_SUFFIXES",
    "INSTALL_GEO",
    "NAMELESS",
    "ImageOptions",
    "Note",
    "Place",
    "Raster",
    "Scene",
    "Window",
    "draw_overlay",
    "image_size",
    "images_below",
    "label_colours",
    "open_image",
    "open_scene",
    "pixel_metres",
    "read_raster",
    "scene_at",
    "scene_of",
    "step_for",
]
