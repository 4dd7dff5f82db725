"""Boxes and masks: forms of boxes, run-length encodings, instances in columns, outlines."""

from earthinstruct.regions.box_forms import FRAMES, BoxForm, are_read_otherwise
from earthinstruct.regions.instances import ImageId, Instances, by_id, pixels_of
from earthinstruct.regions.masks import (
    MOST_PIXELS,
    RLE,
    MaskRuns,
    StoredMasks,
    are_sizes,
    check_rle,
    decode_mask,
    decode_rles,
    encode_mask,
    encode_masks,
    encode_outlines,
    encode_part,
    encode_polygons,
    encode_runs,
    resize_masks,
    spans,
)
from earthinstruct.regions.outlines import mask_path, polygons
from earthinstruct.regions.overlaps import intersections, union_overlaps

__all__ = [
    "FRAMES",
    "MOST_PIXELS",
    "RLE",
    "BoxForm",
    "ImageId",
    "Instances",
    "MaskRuns",
    "StoredMasks",
    "are_read_otherwise",
    "are_sizes",
    "by_id",
    "check_rle",
    "decode_mask",
    "decode_rles",
    "encode_mask",
    "encode_masks",
    "encode_outlines",
    "encode_part",
    "encode_polygons",
    "encode_runs",
    "intersections",
    "mask_path",
    "pixels_of",
    "polygons",
    "resize_masks",
    "spans",
    "union_overlaps",
]
