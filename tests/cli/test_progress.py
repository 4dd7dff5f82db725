"""How far a run is: a line a minute where there is no terminal, counted in tiles."""

import numpy as np

from earthinstruct import Prediction, predict
from earthinstruct.cli.progress import progress_bars


class Blank:
    name = "blank"

    def predict(self, image, instruction):
        return Prediction()


def test_without_a_terminal_there_is_a_line_a_minute_and_one_at_the_end(capsys):
    now = 100.0

    def clock():
        nonlocal now
        now += 25  # seconds that each tile takes
        return now

    with progress_bars(clock) as update:
        scene = np.zeros((10, 80, 3), dtype=np.uint8)
        predict(
            *(Blank(), [scene, scene[:, :10]], "count the ships"),
            tile=10,
            overlap=0,
            output=None,
            progress=lambda done, total: update("predicting", done, total),
        )
    # told at 0, 25, 50, 75 s, ...: a minute has passed at the fourth tile and at the seventh
    assert capsys.readouterr().err.splitlines() == [f"predicting: {done} of 9" for done in (4, 7, 9)]


def test_each_thing_has_its_own_lines_and_says_more(capsys):
    times = iter([0, 10, 70, 75, 80])
    with progress_bars(lambda: next(times)) as update:
        update("one", 1, 9)
        update("two", 1, 9)
        update("one", 2, 9, "1 failed")
        update("two", 3, 9)
        update("two", 9, 9)
    assert capsys.readouterr().err.splitlines() == ["one: 2 of 9, 1 failed", "two: 3 of 9", "two: 9 of 9"]
