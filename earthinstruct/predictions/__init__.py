"""The predictions file and the run folder, and importers and exporters for the files of other tools."""

from earthinstruct.predictions.count_files import read_count_files
from earthinstruct.predictions.exporters import Found, check_places, coco_of, geojson_of
from earthinstruct.predictions.file import ProposalRecord, Record, hash_predictions, prediction_files
from earthinstruct.predictions.importers import read_predictions, read_proposal_file
from earthinstruct.predictions.run_folder import (
    Manifest,
    Progress,
    Run,
    place_of_run,
    read_manifest,
    task_info,
)
from earthinstruct.predictions.semantic import read_semantic_maps

__all__ = [
    "Found",
    "Manifest",
    "Progress",
    "ProposalRecord",
    "Record",
    "Run",
    "check_places",
    "coco_of",
    "geojson_of",
    "hash_predictions",
    "place_of_run",
    "prediction_files",
    "read_count_files",
    "read_manifest",
    "read_predictions",
    "read_proposal_file",
    "read_semantic_maps",
    "task_info",
]
