"""Our own scores have not moved: the controls on the embedded scenes. CI checks InstructSAM's after the demo."""

from pathlib import Path

import pytest

from earthinstruct import evaluate

GUARDED = Path(__file__).parents[1] / "guarded"


@pytest.mark.parametrize("control", ["oracle", "oracle-jittered", "empty", "random"])
def test_the_controls_score_what_they_did(control, tmp_path, assert_result_unchanged):
    done = evaluate(control, "scenes", setting="open_vocabulary", output=tmp_path)
    assert_result_unchanged(done.folders[0] / "result.json", GUARDED)
