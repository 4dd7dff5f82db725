"""Readers of datasets: any COCO file, and the named datasets of the benchmark."""

from earthinstruct.datasets.coco import read_coco
from earthinstruct.datasets.dataset import Dataset, ImageRecord
from earthinstruct.datasets.registry import DatasetSource, dataset_sources, load_dataset, load_task

__all__ = [
    "Dataset",
    "DatasetSource",
    "ImageRecord",
    "dataset_sources",
    "load_dataset",
    "load_task",
    "read_coco",
]
