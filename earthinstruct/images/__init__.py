"""Image files as 8-bit RGB arrays, with their place on the ground where they have one."""

from earthinstruct.images.files import IMAGE_SUFFIXES, image_size, images_below, open_image, read_image
from earthinstruct.images.rasters import INSTALL, Place, Raster, read_raster

__all__ = [
    "IMAGE_SUFFIXES",
    "INSTALL",
    "Place",
    "Raster",
    "image_size",
    "images_below",
    "open_image",
    "read_image",
    "read_raster",
]
