"""Predictions as `Detections` of the package supervision, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from earthinstruct.contract import Prediction
from earthinstruct.errors import DataError
from earthinstruct.regions import decode_mask, encode_mask

if TYPE_CHECKING:
    import supervision as sv


def to_supervision(prediction: Prediction, categories: Sequence[str] | None = None) -> sv.Detections:
    """Convert a prediction to `supervision.Detections`, which the annotators of that package draw.

    Args:
        prediction: the prediction; one that only counts gives no detections. Points are left out.
        categories: the names of the class ids, from 0; None: the labels of the prediction in alphabetical order.

    Raises:
        DataError: supervision is missing, `categories` lacks a label, or the prediction is points without boxes.
    """
    try:
        import supervision as sv
    except ImportError as error:
        raise DataError("Detections need supervision: pip install 'earthinstruct[supervision]'") from error
    if prediction.boxes is None and prediction.points is not None:
        raise DataError(
            "Detections are boxes, and this prediction has points alone; supervision.KeyPoints holds points"
        )
    names = sorted(set(prediction.labels)) if categories is None else list(categories)
    unknown = sorted(set(prediction.labels) - set(names))
    if unknown:
        raise DataError(f"label {unknown[0]!r} is not among the categories {names}; give all, or none")
    boxes = np.zeros((0, 4)) if prediction.boxes is None else prediction.boxes
    masks = np.array([decode_mask(rle) for rle in prediction.masks]) if prediction.masks else None
    return sv.Detections(
        xyxy=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        mask=masks,
        confidence=None if prediction.scores is None else np.array(prediction.scores),
        class_id=np.array([names.index(label) for label in prediction.labels], dtype=np.int64),
        data={"class_name": np.array(prediction.labels, dtype=str)},
    )


def from_supervision(detections: sv.Detections, categories: Sequence[str] | None = None) -> Prediction:
    """Convert `supervision.Detections`, the output of many detectors, to a prediction.

    Args:
        detections: the detections.
        categories: the names of the class ids, from 0; None: the names in `detections.data["class_name"]`.

    Raises:
        DataError: the detections have no class names, or class ids that `categories` does not name, or names otherwise.
        ContractError: a box is malformed.
    """
    if categories is not None and detections.class_id is not None:
        beyond = [int(k) for k in detections.class_id if not 0 <= k < len(categories)]
        if beyond:
            raise DataError(f"class id {beyond[0]} has no name; expected 0 to {len(categories) - 1}, as in categories")
        labels = [categories[k] for k in detections.class_id]
        for given, label in zip(detections.data.get("class_name", ()), labels, strict=False):
            if given != label and given in categories:
                raise DataError(f"a detection is named {str(given)!r}, and its class id is {label!r} in categories")
    elif "class_name" in detections.data:
        labels = [str(name) for name in detections.data["class_name"]]
    elif len(detections):
        raise DataError('the detections have no data["class_name"]; give categories, the names of their class ids')
    else:
        labels = []
    corners = np.asarray(detections.xyxy, dtype=np.float64).reshape(-1, 4)
    masks = None
    if detections.mask is not None:
        masks = tuple(encode_mask(np.asarray(mask, dtype=bool)) for mask in detections.mask)
    return Prediction(
        tuple(labels),
        np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        masks,
        None if detections.confidence is None else np.asarray(detections.confidence, dtype=np.float64),
    )
