import hashlib
import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from earthinstruct.datasets import dataset_sources, draw_scenes, load_dataset
from earthinstruct.datasets.scenes import cache
from earthinstruct.datasets.scenes.cache import cached_test_split
from earthinstruct.errors import DataError, UnknownNameError


def test_an_unknown_dataset_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"did you mean 'nwpu'.*your own COCO file"):
        load_dataset("nwppu")


@pytest.mark.parametrize("name", ["nwpu", "dior-mini"])
def test_a_dataset_that_is_not_there_says_where_it_looked(tmp_path, monkeypatch, name):
    monkeypatch.setenv("EARTHINSTRUCT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{tmp_path}.*annotations\.json.*--data DIR"):
        load_dataset(name)
    assert "annotations.json" in dataset_sources()[name].missing(None)


def test_other_categories_than_those_of_the_dataset_are_refused(tmp_path, coco):
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match="its categories are not those of the dataset"):
        load_dataset("nwpu", tmp_path)


def test_nwpu_is_read_with_ids_from_0_and_two_names_changed(reference):
    dataset = load_dataset("nwpu", reference)
    assert (len(dataset.images), dataset.images[0].id, len(dataset.annotations)) == (650, 0, 3921)
    assert np.bincount(dataset.annotations.category).tolist() == [757, 298, 662, 391, 524, 159, 163, 239, 124, 604]
    differs = np.flatnonzero(dataset.masks.take().areas != dataset.masks.take(first_polygon_only=True).areas)
    assert differs.tolist() == [82, 1094]


def test_dior_mini_is_read_with_its_images(reference):
    dataset = load_dataset("dior-mini", reference)
    assert len(dataset.annotations) == 34
    assert np.array_equal(dataset.masks.take().boxes, dataset.annotations.boxes)
    assert dataset.read_image(3).shape == (800, 800, 3)
    assert dataset_sources()["dior-mini"].missing(reference) is None


@pytest.fixture
def small_split(monkeypatch):
    """The test split has two images, and its hash is that of them."""
    monkeypatch.setattr(cache, "draw_scenes", partial(draw_scenes, images=2))
    with TemporaryDirectory() as folder:
        draw_scenes(Path(folder) / "test", "test", images=2)
        content = (Path(folder) / "test" / "annotations.json").read_bytes()
    monkeypatch.setattr(cache, "TEST_SHA256", hashlib.sha256(content).hexdigest())


def test_scenes_are_made_once_and_made_again_when_damaged(small_split, tmp_path):
    folder = cached_test_split(tmp_path)
    file = folder / "annotations.json"
    made = file.stat().st_mtime_ns
    assert cached_test_split(tmp_path) == folder
    assert file.stat().st_mtime_ns == made
    file.write_text("{}")
    cached_test_split(tmp_path)
    assert len(json.loads(file.read_text())["images"]) == 2


def test_two_processes_may_make_the_scenes_at_once(small_split, tmp_path, monkeypatch):
    ours = cache.draw_scenes

    def theirs_first(folder, split):
        ours(folder, split)
        return ours(folder, split)

    monkeypatch.setattr(cache, "draw_scenes", theirs_first)
    assert (cached_test_split(tmp_path) / "annotations.json").is_file()


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match=r"test cannot be written: .*cache"):
        cached_test_split(tmp_path / "cache")


def test_scenes_of_another_ground_truth_are_refused(small_split, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "TEST_SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"differs from version .* Please report"):
        cached_test_split(tmp_path)
