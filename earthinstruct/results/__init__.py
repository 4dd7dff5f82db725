"""Result files, the check for moved metric values, and leaderboards. Nothing here runs or scores."""

from earthinstruct.results.evaluation import REPORT_FILE, Evaluation, Skipped
from earthinstruct.results.guarded import Checked, CheckedResult, check, guard_results, guarded_for, results_in
from earthinstruct.results.leaderboard import LEADERBOARDS, build_leaderboards, check_leaderboards, file_result
from earthinstruct.results.markdown import in_markdown
from earthinstruct.results.regression import (
    metric_intervals,
    metric_values,
    moved_values,
    new_values,
    refuse_different,
)
from earthinstruct.results.result import (
    SCHEMA_VERSION,
    DatasetInfo,
    MethodInfo,
    PredictionsInfo,
    Result,
    RunInfo,
    TaskInfo,
    environment_info,
    method_info,
    read_result,
)
from earthinstruct.results.shown import Block, FileLink, ScoreTable, Shown, new_table, print_blocks, write_parquet
from earthinstruct.results.suspects import SUSPECTS_FILE, read_suspects, write_suspects
from earthinstruct.results.table import category_blocks, limits_remark, rare_remark, result_blocks
from earthinstruct.results.tallies import TALLIES_FILE, StoredTallies, read_tallies, write_tallies
from earthinstruct.results.training import MARKS, Training, TrainingData, judge_training, training_note

__all__ = [
    "LEADERBOARDS",
    "MARKS",
    "REPORT_FILE",
    "SCHEMA_VERSION",
    "SUSPECTS_FILE",
    "TALLIES_FILE",
    "Block",
    "Checked",
    "CheckedResult",
    "DatasetInfo",
    "Evaluation",
    "FileLink",
    "MethodInfo",
    "PredictionsInfo",
    "Result",
    "RunInfo",
    "ScoreTable",
    "Shown",
    "Skipped",
    "StoredTallies",
    "TaskInfo",
    "Training",
    "TrainingData",
    "build_leaderboards",
    "category_blocks",
    "check",
    "check_leaderboards",
    "environment_info",
    "file_result",
    "guard_results",
    "guarded_for",
    "in_markdown",
    "judge_training",
    "limits_remark",
    "method_info",
    "metric_intervals",
    "metric_values",
    "moved_values",
    "new_table",
    "new_values",
    "print_blocks",
    "rare_remark",
    "read_result",
    "read_suspects",
    "read_tallies",
    "refuse_different",
    "result_blocks",
    "results_in",
    "training_note",
    "write_parquet",
    "write_suspects",
    "write_tallies",
]
