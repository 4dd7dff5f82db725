"""Drawn aerial scenes with exact ground truth: an embedded dataset that needs no download.

It has ten categories, boxes and masks of the visible pixels, and three splits. Every image is generated from its split
and index alone. Increase `VERSION` with every change of the ground truth.
"""

from earthinstruct.datasets.scenes.cache import cached_test_split
from earthinstruct.datasets.scenes.generate import (
    CATEGORIES,
    SPLITS,
    VERSION,
    DrawnScene,
    draw_scenes,
    generate_scene,
    scene_attributes,
)

__all__ = [
    "CATEGORIES",
    "SPLITS",
    "VERSION",
    "DrawnScene",
    "cached_test_split",
    "draw_scenes",
    "generate_scene",
    "scene_attributes",
]
