import numpy as np
import pytest

from earthinstruct import Prediction
from earthinstruct.images import draw_overlay, label_colours
from earthinstruct.regions import encode_mask


def test_an_overlay_shows_masks_and_a_legend():
    image = np.full((40, 60, 3), 100, dtype=np.uint8)
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:20, 10:30] = True
    picture = draw_overlay(image, Prediction(["ship"], [[10, 5, 20, 15]], [encode_mask(mask)], counts={"ship": 2}))
    factor = 640 // 40
    assert picture.width == 60 * factor
    assert picture.height > 40 * factor
    pixels = np.array(picture)
    inside, outside = pixels[12 * factor, 20 * factor], pixels[30 * factor, 50 * factor]
    assert outside.tolist() == [100, 100, 100]
    assert np.abs(inside.astype(int) - (0.6 * 100 + 0.4 * np.array(label_colours(["ship"])["ship"]))).max() <= 1


def test_nothing_found_is_a_picture_too():
    image = np.zeros((10, 10, 3), dtype=np.uint8)
    for nothing in (Prediction(), Prediction(counts={"ship": 3})):
        assert draw_overlay(image, nothing).width == 640


@pytest.mark.parametrize("side", [(0, 0), (0.4, 9), (9, 0.4)])
def test_a_box_thinner_than_a_pixel_is_drawn(side):
    image = np.zeros((700, 700, 3), dtype=np.uint8)
    many = Prediction(["ship"] * 61, [[300, 400, *side]] * 61)  # too many for names in the picture
    pixels = np.array(draw_overlay(image, many))
    assert pixels[400, 300].tolist() == list(label_colours(["ship"])["ship"])


def test_a_line_of_pixels_is_not_enlarged_beyond_measure():
    assert draw_overlay(np.zeros((1, 500, 3), dtype=np.uint8), Prediction()).width == 4000


def test_a_point_is_a_dot():
    image = np.zeros((700, 700, 3), dtype=np.uint8)
    colour = list(label_colours(["ship"])["ship"])
    pixels = np.array(draw_overlay(image, Prediction(["ship"], points=[[300.4, 400]])))
    assert pixels[400, 300].tolist() == colour
    assert (pixels[:700] == colour).all(axis=2).sum() > 10
    both = np.array(draw_overlay(image, Prediction(["ship"], [[100, 100, 50, 50]], points=[[125, 125]])))
    assert both[125, 125].tolist() == both[140, 100].tolist() == colour


def test_no_label_hides_another_or_leaves_the_picture():
    def black(boxes):
        picture = draw_overlay(np.full((700, 700, 3), 200, dtype=np.uint8), Prediction(["ship"] * len(boxes), boxes))
        return int((np.array(picture)[:700] == 0).all(axis=2).sum())  # what labels are written on

    one, there = black([[300, 300, 80, 80]]), [300, 300, 80, 80]
    assert one > 100
    assert black([there, [300, 304, 80, 80]]) == 2 * one
    assert black([there] * 9) == 5 * one  # no place is left for the others, whose colour tells what they are
    assert black([[690, 0, 10, 10]]) == one
