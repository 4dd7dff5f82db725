"""Score predictions against a dataset, compare runs, and validate submissions."""

from earthinstruct.scoring.comparison import Compared, compare_runs
from earthinstruct.scoring.records import ScoringSet, score_records
from earthinstruct.scoring.score_predictions import checked_rules, mapper_for, result_of, score
from earthinstruct.scoring.stored import StoredRun, dataset_of, read_stored
from earthinstruct.scoring.submission import Finding, validate_submission

__all__ = [
    "Compared",
    "Finding",
    "ScoringSet",
    "StoredRun",
    "checked_rules",
    "compare_runs",
    "dataset_of",
    "mapper_for",
    "read_stored",
    "result_of",
    "score",
    "score_records",
    "validate_submission",
]
