"""The predictions file and the run folder, and importers and exporters for the files of other tools."""

from earthinstruct.predictions.coco_results import ColumnRecords
from earthinstruct.predictions.count_files import read_count_files
from earthinstruct.predictions.exporters import (
    Found,
    coco_of,
    counts_csv,
    counts_of,
    records_of,
    undrawn_and_uncounted,
)
from earthinstruct.predictions.file import (
    PLACE,
    POINT_PLACE,
    ProposalRecord,
    Record,
    RecordWriter,
    StoredRecords,
    hash_predictions,
    places_of,
    prediction_files,
    readable,
    take_out_failures,
)
from earthinstruct.predictions.gis import (
    areas_of,
    check_crs,
    check_geopandas,
    geodataframe_of,
    geojson_of,
    write_label_raster,
    write_vectors,
)
from earthinstruct.predictions.ground import OnGround, check_place
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.predictions.importers import Conventions, read_predictions, read_proposal_file
from earthinstruct.predictions.lock import folder_lock
from earthinstruct.predictions.run_folder import (
    CONFIG_FILE,
    TILES_FILE,
    Manifest,
    Pace,
    Progress,
    Run,
    differences,
    identity_of_method,
    place_of_run,
    read_manifest,
    refuse_runs,
    task_info,
    variants_beside,
    writing_run,
)
from earthinstruct.predictions.semantic import read_semantic_maps
from earthinstruct.predictions.supervision import from_supervision, to_supervision

__all__ = [
    "CONFIG_FILE",
    "PLACE",
    "POINT_PLACE",
    "TILES_FILE",
    "ColumnRecords",
    "Conventions",
    "Found",
    "ImageNames",
    "Manifest",
    "OnGround",
    "Pace",
    "Progress",
    "ProposalRecord",
    "Record",
    "RecordWriter",
    "Run",
    "StoredRecords",
    "areas_of",
    "check_crs",
    "check_geopandas",
    "check_place",
    "coco_of",
    "counts_csv",
    "counts_of",
    "differences",
    "folder_lock",
    "from_supervision",
    "geodataframe_of",
    "geojson_of",
    "hash_predictions",
    "identity_of_method",
    "place_of_run",
    "places_of",
    "prediction_files",
    "read_count_files",
    "read_manifest",
    "read_predictions",
    "read_proposal_file",
    "read_semantic_maps",
    "readable",
    "records_of",
    "refuse_runs",
    "take_out_failures",
    "task_info",
    "to_supervision",
    "undrawn_and_uncounted",
    "variants_beside",
    "write_label_raster",
    "write_vectors",
    "writing_run",
]
