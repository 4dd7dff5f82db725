"""Read and prepare datasets: any COCO file, folders in other formats, and the named datasets of the benchmark."""

from earthinstruct.datasets.attributes import N_OBJECTS, image_attributes
from earthinstruct.datasets.coco import read_coco
from earthinstruct.datasets.dataset import (
    AnnotationMasks,
    Attribute,
    Dataset,
    IgnoredObjects,
    ImageRecord,
    Origin,
    images_alone,
    targets_of,
)
from earthinstruct.datasets.dior import prepare_dior
from earthinstruct.datasets.dior_mini import fetch_dataset, fetch_offer
from earthinstruct.datasets.ground_truth import TrueImage, TrueObject, as_coco
from earthinstruct.datasets.nwpu import prepare_nwpu
from earthinstruct.datasets.prepare import Prepared
from earthinstruct.datasets.registry import (
    DatasetSource,
    data_root,
    dataset_sources,
    list_datasets,
    list_tasks,
    load_dataset,
    load_task,
)
from earthinstruct.datasets.rules import SCORE_WORDS
from earthinstruct.datasets.scenes import VERSION as SCENES_VERSION
from earthinstruct.datasets.scenes.generate import DrawnScene, draw_scenes, generate_scene
from earthinstruct.datasets.training_sets import (
    TRAINING_SETS,
    Overlap,
    TrainingSet,
    images_of,
    list_training_sets,
    overlaps,
    training_sets_given,
)

__all__ = [
    "N_OBJECTS",
    "SCENES_VERSION",
    "SCORE_WORDS",
    "TRAINING_SETS",
    "AnnotationMasks",
    "Attribute",
    "Dataset",
    "DatasetSource",
    "DrawnScene",
    "IgnoredObjects",
    "ImageRecord",
    "Origin",
    "Overlap",
    "Prepared",
    "TrainingSet",
    "TrueImage",
    "TrueObject",
    "as_coco",
    "data_root",
    "dataset_sources",
    "draw_scenes",
    "fetch_dataset",
    "fetch_offer",
    "generate_scene",
    "image_attributes",
    "images_alone",
    "images_of",
    "list_datasets",
    "list_tasks",
    "list_training_sets",
    "load_dataset",
    "load_task",
    "overlaps",
    "prepare_dior",
    "prepare_nwpu",
    "read_coco",
    "targets_of",
    "training_sets_given",
]
