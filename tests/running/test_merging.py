import itertools

import numpy as np
import pytest

from earthinstruct import Instruction, Prediction, predict
from earthinstruct.contract import Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import decode_mask, decode_rles, encode_masks
from earthinstruct.running.merging import merge_tiles, overlapping
from earthinstruct.running.tiles import tile_windows

EVERYTHING = Instruction("open_ended", "find everything")


class Blobs:
    """Finds the connected bright regions of what it is shown: red ones are ships, green ones harbors."""

    name = "blobs"

    def __init__(self, masks=True, counts=True, scores=True):
        self.masks, self.counts, self.scores = masks, counts, scores

    def predict(self, image, instruction):
        from scipy.ndimage import label

        labels, drawn = [], []
        for channel, name in enumerate(("ship", "harbor")):
            regions, n = label(image[..., channel] > 100)
            labels += [name] * n
            drawn += [regions == i for i in range(1, n + 1)]
        masks = encode_masks(np.array(drawn)) if drawn else []
        return Prediction(
            labels=labels,
            boxes=decode_rles(masks).boxes,
            masks=tuple(masks) if self.masks else None,
            scores=[float(mask.sum()) for mask in drawn] if self.scores else None,
            counts={name: labels.count(name) for name in ("ship", "harbor")} if self.counts else None,
            usage=Usage({"look": 1.0}, 10, 1),
        )


def scene(*objects, height=100, width=180):
    """Rectangles (channel, x0, y0, x1, y1) on black."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for channel, x0, y0, x1, y1 in objects:
        image[y0:y1, x0:x1, channel] = 255
    return image


def tiled(method, image, overlap=20, **options):
    """What is found in tiles of 100 pixels."""
    (answer,) = predict(method, image, EVERYTHING, tile=100, overlap=overlap, output=None, **options)
    return answer.prediction


# tiles of 100 with an overlap of 20 on 100x180: columns 0-100 and 80-180
@pytest.mark.parametrize(
    ("objects", "what"),
    [
        ([(0, 85, 10, 95, 20)], "inside the overlap"),
        ([(0, 70, 10, 90, 20)], "over the start of the second tile"),
        ([(0, 95, 10, 130, 20)], "over the end of the first tile"),
        ([(0, 20, 40, 170, 60)], "longer than the overlap"),
        ([(0, 99, 10, 130, 20)], "one column in the first tile"),
        ([(0, 70, 10, 90, 20), (0, 88, 40, 120, 50), (0, 5, 5, 9, 9)], "several"),
        ([(0, 85, 10, 95, 20), (1, 85, 10, 95, 20)], "two labels in one place"),
        ([(0, 85, 10, 95, 20), (0, 85, 22, 95, 32)], "neighbours"),
    ],
)
@pytest.mark.parametrize("masks", [True, False])
def test_an_object_on_a_seam_is_found_and_counted_once(objects, what, masks):
    image = scene(*objects)
    whole, cut = Blobs(masks).predict(image, EVERYTHING), tiled(Blobs(masks), image)
    order = np.lexsort((*whole.boxes.T, whole.labels)), np.lexsort((*cut.boxes.T, cut.labels))
    assert np.array_equal(whole.boxes[order[0]], cut.boxes[order[1]])
    assert cut.counts == {label: n for label, n in whole.counts.items() if n}
    if masks:
        for i, j in zip(*order, strict=True):
            assert np.array_equal(decode_mask(whole.masks[i]), decode_mask(cut.masks[j]))


def test_the_corner_of_four_tiles_is_one_object():
    image = scene((0, 70, 70, 110, 110), height=180)
    found = tiled(Blobs(), image)
    assert (found.boxes.tolist(), found.counts) == ([[70, 70, 40, 40]], {"ship": 1})
    assert found.scores.tolist() == [900]  # the largest part that one tile saw: 30 x 30
    assert (found.usage.seconds["look"], found.usage.input_tokens) == (4.0, 40)
    assert decode_mask(found.masks[0]).sum() == 1600


def test_without_an_overlap_nothing_can_be_joined():
    assert tiled(Blobs(), scene((0, 80, 10, 120, 20), width=200), overlap=0).counts == {"ship": 2}


def test_an_image_of_one_tile_is_predicted_as_it_is():
    assert tiled(Blobs(), scene((0, 1, 1, 5, 5), width=100)).boxes.tolist() == [[1, 1, 4, 4]]


def test_progress_is_told_after_each_tile():
    done = []
    tiled(Blobs(), scene(), progress=lambda *seen: done.append(seen))
    assert done == [(1, 2), (2, 2)]


WINDOWS = [(0, 0, 10, 10), (8, 0, 18, 10)]


def test_counts_are_added_and_reduced_by_what_merged():
    # both tiles drew the ship at 8-10; the first counted two more, the second one more, which nobody drew
    first = Prediction(labels=["ship"], boxes=[[8, 2, 2, 3]], counts={"ship": 3})
    second = Prediction(labels=["ship"], boxes=[[0, 2, 2, 3]], counts={"ship": 2, "dam": 1})
    merged = merge_tiles([first, second], WINDOWS, 10, 18)
    assert merged.boxes.tolist() == [[8, 2, 2, 3]]
    assert merged.counts == {"ship": 3 + 2 - 1, "dam": 1}
    assert merged.masks is None
    assert merged.scores is None


def test_a_tile_without_counts_counts_its_instances():
    first = Prediction(labels=["ship"], boxes=[[1, 2, 2, 3]])
    second = Prediction(labels=["ship"], boxes=[[5, 2, 2, 3]], counts={"ship": 4})
    assert merge_tiles([first, second], WINDOWS, 10, 18).counts == {"ship": 5}
    assert merge_tiles([first, first], WINDOWS, 10, 18).counts is None


def test_tiles_that_only_count_name_no_instances():
    only = Prediction(counts={"ship": 2})
    assert merge_tiles([only, only], WINDOWS, 10, 18).boxes is None
    assert merge_tiles([only, only], WINDOWS, 10, 18).counts == {"ship": 4}
    drawn = Prediction(labels=["ship"], boxes=[[1, 2, 2, 3]])
    merged = merge_tiles([only, drawn], WINDOWS, 10, 18)
    assert (merged.boxes.tolist(), merged.counts) == ([[9, 2, 2, 3]], {"ship": 3})


def test_counts_do_not_fall_below_0():
    first = Prediction(labels=["ship"], boxes=[[8, 2, 2, 3]], counts={"ship": 0})
    second = Prediction(labels=["ship"], boxes=[[0, 2, 2, 3]], counts={"ship": 0})
    assert merge_tiles([first, second], WINDOWS, 10, 18).counts == {"ship": 0}


def test_an_empty_mask_stays_what_it_is():
    empty = encode_masks(np.zeros((1, 10, 10), dtype=bool))
    first = Prediction(labels=["ship"], boxes=[[8, 2, 2, 3]], masks=empty)
    second = Prediction(labels=["ship"], boxes=[[0, 2, 2, 3]], masks=empty)
    merged = merge_tiles([first, second], WINDOWS, 10, 18)
    assert [decode_mask(mask).shape for mask in merged.masks] == [(10, 18)] * 2
    assert not decode_rles(merged.masks).areas.any()


def test_a_method_that_breaks_the_contract_is_named():
    class Rude:
        name = "rude"

        def predict(self, image, instruction):
            return Prediction(labels=["boat"], boxes=[[0, 0, 1, 1]])

    message = "image image 0: ContractError: label 'boat' is not one of the instruction's categories"
    with pytest.raises(EarthInstructError, match=message):
        predict(Rude(), scene(), categories="ship", tile=100, overlap=20, output=None)


def test_two_instances_of_a_tile_are_two_objects_over_whatever_other_tiles():
    # three tiles that see the same 40 columns; boxes 10 wide, each 3 further on: 7 / 13 = 0.54 from one to the next
    windows = [(0, 0, 60, 10), (10, 0, 70, 10), (20, 0, 80, 10)]
    seen = [[20, 29], [23], [26]]  # 20 - 23 - 26 - 29 is a chain from the first tile to the first tile
    predictions = [
        Prediction(
            labels=["ship"] * len(starts),
            boxes=[[start - window[0], 0, 10, 10] for start in starts],
            counts={"ship": len(starts)},
        )
        for starts, window in zip(seen, windows, strict=True)
    ]
    for order in itertools.permutations(range(3)):
        merged = merge_tiles([predictions[i] for i in order], [windows[i] for i in order], 10, 80)
        assert len(merged) == merged.counts["ship"] == 2
        assert {box[0] for box in merged.boxes.tolist()} == {20, 26} or order[0] != 0


def test_the_windows_that_overlap_are_found():
    random = np.random.default_rng(0)
    start, size = random.integers(0, 200, (300, 2)), random.integers(1, 40, (300, 2))
    windows = [tuple(window) for window in np.hstack([start, start + size]).tolist()]
    expected = [
        (a, b, (max(x0, u0), max(y0, v0), min(x1, u1), min(y1, v1)))
        for (a, (x0, y0, x1, y1)), (b, (u0, v0, u1, v1)) in itertools.combinations(enumerate(windows), 2)
        if max(x0, u0) < min(x1, u1) and max(y0, v0) < min(y1, v1)
    ]
    assert sorted(overlapping(windows)) == expected
    assert len(expected) > 300


def test_only_neighbours_are_compared(monkeypatch):
    from earthinstruct.running import merging

    windows = tile_windows(2000, 2000, 40, 5)
    compared = []
    monkeypatch.setattr(merging, "_intersection", lambda *pair: compared.append(pair))
    list(overlapping(windows))
    assert len(windows) == 57 * 57
    assert len(compared) <= 4 * len(windows)  # of 57**4 / 2


class Dots(Blobs):
    """Points at the centres of what it finds."""

    name = "dots"

    def predict(self, image, instruction):
        found = super().predict(image, instruction)
        return Prediction(found.labels, points=found.boxes[:, :2] + found.boxes[:, 2:] / 2)


def test_points_are_moved_into_the_image_and_those_on_one_object_merged():
    # tiles of 100 begin at 0 and 80. The ship at 85 to 95 lies in both, that at 40 in the first, at 150 in the second
    image = scene((0, 40, 10, 44, 14), (0, 85, 50, 95, 60), (0, 150, 30, 154, 34), (1, 88, 70, 92, 74))
    found = tiled(Dots(), image)
    assert found.boxes is None
    assert sorted(zip(found.labels, found.points.tolist(), strict=True)) == [
        ("harbor", [90, 72]),
        ("ship", [42, 12]),
        ("ship", [90, 55]),
        ("ship", [152, 32]),
    ]
    assert found.counts == {"ship": 3, "harbor": 1}
    assert set(found.tiles) == {(0, 0, 100, 100), (80, 0, 100, 100)}


def test_points_farther_apart_than_a_64th_of_a_tile_are_two_objects():
    windows = [(0, 0, 64, 64), (32, 0, 96, 64)]
    first = Prediction(["ship", "ship"], points=[[40, 10], [50, 10]], scores=[0.5, 0.6])
    for x, n in ((8, 2), (8.9, 2), (9.1, 3)):  # 40, 40.9 and 41.1 in the image
        second = Prediction(["ship"], points=[[x, 10]], scores=[0.9])
        merged = merge_tiles([first, second], windows, 64, 96)
        assert len(merged) == n
        assert merged.points[0].tolist() == [40, 10]
        assert merged.scores.tolist()[0] == (0.9 if n == 2 else 0.5)


def test_the_closest_points_merge_first_and_two_of_a_tile_stay_two():
    windows = [(0, 0, 640, 64), (320, 0, 960, 64)]
    first = Prediction(["ship"] * 2, points=[[400, 10], [404, 10]])
    second = Prediction(["ship"] * 2, points=[[83, 10], [78, 10]])  # 403 and 398 in the image
    merged = merge_tiles([first, second], windows, 64, 960)
    assert merged.points.tolist() == [[400, 10], [404, 10]]


def test_tiles_with_points_and_tiles_with_boxes_are_refused():
    boxed, pointed = Prediction(["ship"], [[1, 2, 2, 3]]), Prediction(["ship"], points=[[1, 2]])
    with pytest.raises(EarthInstructError, match="some tiles have boxes without points, and others points"):
        merge_tiles([boxed, pointed], WINDOWS, 10, 18)
    both = Prediction(["ship"], [[8, 2, 2, 3]], points=[[9, 3]])
    merged = merge_tiles([both, Prediction(["ship"], [[0, 2, 4, 3]], points=[[1, 3]])], WINDOWS, 10, 18)
    assert (merged.boxes.tolist(), merged.points.tolist()) == ([[8, 2, 4, 3]], [[9, 3]])
    none = merge_tiles([Prediction(points=[]), Prediction()], WINDOWS, 10, 18)
    assert none.points.tolist() == []
