"""Files name images by id or by file name, and each name finds the image that is meant, or none."""

from __future__ import annotations

import unicodedata

import pytest

from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import DataError
from earthinstruct.predictions.image_names import ImageNames


@pytest.fixture
def made(coco, write_coco):
    """Make a dataset whose images have these ids and file names."""

    def make(images: dict[int | str, str]) -> Dataset:
        coco["images"] = [{"id": i, "file_name": name, "width": 30, "height": 20} for i, name in images.items()]
        coco["annotations"] = []
        return load_dataset(str(write_coco(coco)))

    return make


def found(dataset: Dataset, *names: int | str, **options: bool) -> list[int | str]:
    images = ImageNames(dataset).find(names, str, **options)
    return [images[name].id for name in names]


@pytest.mark.parametrize(
    ("images", "name", "image"),
    [
        ({7: "a.png", 8: "b.png"}, 7, 7),
        ({7: "a.png", 8: "b.png"}, "7", 7),
        ({"7": "a.png", "8": "b.png"}, 7, "7"),
        ({7: "a.png", 8: "b.png"}, "a.png", 7),
        ({7: "a.png", 8: "b.png"}, "a", 7),
        ({7: "a.PNG", 8: "b.png"}, "a.png", 7),
        ({7: "a.png", 8: "b.png"}, "/data/images/a.jpg", 7),
        ({7: "s1/a.png", 8: "s2/a.png"}, "s2/a", 8),
        ({7: "s1/a.png", 8: "s2/a.png"}, "s2\\a.png", 8),
        ({7: "s1/a.png", 8: "s2/a.png"}, "/data/s2/a.png", 8),
        ({7: "a.png", 8: "s2/a.png"}, "a", 7),
        ({7: "a.png", 8: "s2/a.png"}, "/data/a.png", 7),
        ({7: "a.png", 8: "a.tif"}, "a.tif", 8),
        ({7: "P0003.2.png", 8: "P0003.png"}, "P0003.2", 7),
        ({7: "000012.jpg", 8: "b.png"}, 12, 7),
        ({7: unicodedata.normalize("NFD", "é.png"), 8: "b.png"}, unicodedata.normalize("NFC", "é"), 7),
        ({7: unicodedata.normalize("NFC", "é.png"), 8: "b.png"}, unicodedata.normalize("NFD", "é"), 7),
    ],
)
def test_a_name_finds_its_image(made, images, name, image):
    assert found(made(images), name) == [image]


@pytest.mark.parametrize(
    ("images", "names", "error"),
    [
        ({7: "a.png"}, ["c"], "c: dataset 'set' has no image 'c'; its images have the ids 7 and the file names a.png"),
        ({7: "a.png"}, ["A"], "has no image 'A'"),
        ({7: "a.png"}, [True], "has no image True"),
        ({7: "s1/a.png", 8: "s2/a.png"}, ["a"], "'a' fits several images of dataset 'set': s1/a.png, s2/a.png"),
        ({7: "s1/a.png", 8: "s2/a.png"}, ["s3/a"], "'s3/a' fits several images"),
        ({7: "a.png", 8: "a.tif"}, ["a"], "'a' fits several images"),
        ({7: "a.png"}, ["a", "a.png"], "'a' and 'a.png' name the same image of dataset 'set'; keep one"),
        ({7: "a.png"}, [7, "7"], "7 and '7' name the same image"),
        ({7: "a.png", 8: "b.png"}, ["a", 8], "has no image 8|has no image 'a'"),
        ({1: "2.png", 2: "1.png"}, ["1", "2"], "'1' may be the id of 2.png or the name of 1.png"),
    ],
)
def test_a_name_that_may_mean_another_image_is_refused(made, images, names, error):
    with pytest.raises(DataError, match=error):
        found(made(images), *names)


def test_a_source_names_all_images_by_id_or_all_by_name(made):
    dataset = made({1: "2.png", 2: "1.png", 3: "c.png"})
    assert found(dataset, 1, 2) == [1, 2]
    assert found(dataset, "1", "2", ids=False) == [2, 1]
    assert found(dataset, "1", "2", "3", ids=False) == [1, 2, 3]
    assert found(dataset, "1", "2", "c") == [2, 1, 3]
