"""Score predictions against a dataset, compare runs, and validate submissions."""

from earthinstruct.scoring.comparison import Compared, Comparison, compare
from earthinstruct.scoring.records import ScoringSet, score_records
from earthinstruct.scoring.score_predictions import checked_rules, mapper_for, result_of, score
from earthinstruct.scoring.slicing import chosen_attributes
from earthinstruct.scoring.stored import StoredRun, dataset_of, read_stored, run_folder
from earthinstruct.scoring.submission import Added, Finding, add_to_leaderboard, validate

__all__ = [
    "Added",
    "Compared",
    "Comparison",
    "Finding",
    "ScoringSet",
    "StoredRun",
    "add_to_leaderboard",
    "checked_rules",
    "chosen_attributes",
    "compare",
    "dataset_of",
    "mapper_for",
    "read_stored",
    "result_of",
    "run_folder",
    "score",
    "score_records",
    "validate",
]
