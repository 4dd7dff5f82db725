from pathlib import Path

import pytest

from earthinstruct import Prediction
from earthinstruct.predictions import Found, coco_of


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.png"], ["x.png"]),
        (["a/x.png", "a/y.png"], ["x.png", "y.png"]),
        (["a/x.png", "b/x.png"], ["a/x.png", "b/x.png"]),
        (["x.png", "b/c/x.png"], ["x.png", "b/c/x.png"]),
        ([], []),
    ],
)
def test_file_names_are_relative_to_the_common_folder_so_that_none_is_there_twice(paths, names):
    found = [Found(Path(path), 20, 30, None, Prediction(["ship"], [[1, 1, 2, 2]])) for path in paths]
    assert [image["file_name"] for image in coco_of(found, {})["images"]] == names
