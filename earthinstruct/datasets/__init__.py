"""Readers of datasets: any COCO file, and the named datasets of the benchmark."""

from earthinstruct.datasets.coco import read_coco
from earthinstruct.datasets.dataset import Dataset, ImageRecord, Origin, read_image
from earthinstruct.datasets.registry import DatasetSource, dataset_sources, load_dataset, load_task

__all__ = [
    "Dataset",
    "DatasetSource",
    "ImageRecord",
    "Origin",
    "dataset_sources",
    "load_dataset",
    "load_task",
    "read_coco",
    "read_image",
]
