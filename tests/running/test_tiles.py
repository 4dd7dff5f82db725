import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.errors import EarthInstructError
from earthinstruct.running.tiles import Tiling, tile_windows


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 100), st.data())
def test_windows_cover_the_image_and_share_at_least_the_overlap(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile // 2))
    windows = tile_windows(height, width, tile, overlap)
    covered = np.zeros((height, width), dtype=int)
    for x0, y0, x1, y1 in windows:
        assert (x1 - x0, y1 - y0) == (min(tile, width), min(tile, height))
        covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1
    for starts in (sorted({window[0] for window in windows}), sorted({window[1] for window in windows})):
        assert all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize(("tile", "overlap"), [(100, 51), (100, -1)])
def test_tiles_out_of_range_are_refused(tile, overlap):
    with pytest.raises(EarthInstructError, match="expected pixels from 0 to half a tile"):
        tile_windows(100, 100, tile, overlap)


def test_a_tile_has_pixels():
    for make in (lambda: tile_windows(20, 20, 0, 0), lambda: Tiling(-5)):
        with pytest.raises(EarthInstructError, match=r"--tile is (0|-5); expected pixels, such as 1024, or 0"):
            make()


@pytest.mark.parametrize(
    ("tiling", "largest_side", "sides"),
    [
        (Tiling(), None, [3000]),  # `evaluate`
        (Tiling(cut_above=2048), None, [1024]),  # `predict`
        (Tiling(cut_above=4096), None, [3000]),
        (Tiling(), 800, [800]),
        (Tiling(cut_above=2048), 2500, [2500]),
        (Tiling(cut_above=2048), 3000, [3000]),
        (Tiling(0, cut_above=2048), 800, [3000]),
        (Tiling(500), 800, [500]),
    ],
)
def test_images_are_cut_as_asked_or_as_the_method_says(tiling, largest_side, sides):
    windows = tiling.windows((10, 20, 3010, 2020), largest_side)
    assert {max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in windows} == set(sides)
    corners = np.array(windows)
    assert [*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)] == [10, 20, 3010, 2020]
