"""Score predictions against a dataset, compare, frame and export runs, and validate submissions."""

from earthinstruct.scoring.coco_export import export
from earthinstruct.scoring.comparison import Compared, Comparison, compare, compare_two
from earthinstruct.scoring.frames import images_df, predictions_df, runs_of
from earthinstruct.scoring.records import ScoringSet, score_records
from earthinstruct.scoring.score_predictions import checked_rules, mapper_for, result_of, score
from earthinstruct.scoring.side_by_side import run_names
from earthinstruct.scoring.slicing import chosen_attributes
from earthinstruct.scoring.standings import Standings
from earthinstruct.scoring.stored import StoredRun, dataset_of, read_stored, run_folder, tallies_of
from earthinstruct.scoring.submission import Added, Finding, add_to_leaderboard, validate
from earthinstruct.scoring.variants import summarised_variants

__all__ = [
    "Added",
    "Compared",
    "Comparison",
    "Finding",
    "ScoringSet",
    "Standings",
    "StoredRun",
    "add_to_leaderboard",
    "checked_rules",
    "chosen_attributes",
    "compare",
    "compare_two",
    "dataset_of",
    "export",
    "images_df",
    "mapper_for",
    "predictions_df",
    "read_stored",
    "result_of",
    "run_folder",
    "run_names",
    "runs_of",
    "score",
    "score_records",
    "summarised_variants",
    "tallies_of",
    "validate",
]
