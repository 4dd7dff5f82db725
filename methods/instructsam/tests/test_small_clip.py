import numpy as np
import pytest
from earthinstruct_instructsam.small import CLIP_CONFIG, CLIP_WEIGHTS, COUNTER_WEIGHTS
from earthinstruct_instructsam.small.words import BACKGROUND_WORDS, CATEGORIES, OTHER_OBJECTS, SYNONYMS
from earthinstruct_models.encoders.open_clip import OpenClipEncoder

from earthinstruct.datasets import generate_scene


@pytest.fixture(scope="module")
def encoder():
    return OpenClipEncoder(CLIP_WEIGHTS, config=CLIP_CONFIG)


def test_weights_are_small():
    assert CLIP_WEIGHTS.stat().st_size + COUNTER_WEIGHTS.stat().st_size < 12e6


@pytest.mark.parametrize("category", CATEGORIES)
def test_synonyms_map_to_their_category_only(encoder, category):
    cosine = encoder.embed_labels(SYNONYMS[category]) @ encoder.embed_labels(CATEGORIES).T
    own = CATEGORIES.index(category)
    assert cosine[:, own].min() > 0.95
    assert np.delete(cosine, own, axis=1).max() < 0.95


def test_other_words_map_to_nothing(encoder):
    words = (
        *BACKGROUND_WORDS,
        *OTHER_OBJECTS,
        "sports field",
        "means of transport",
        "volcano",
        "bicycle",
        "cloud",
        "sheep",
    )
    assert (encoder.embed_labels(words) @ encoder.embed_labels(CATEGORIES).T).max() < 0.95


def test_objects_look_like_their_category(encoder):
    labels = encoder.embed_labels(CATEGORIES)
    right = []
    for index in range(4):
        scene = generate_scene("val", index)
        nearest = (encoder.embed_crops(scene.image, scene.boxes) @ labels.T).argmax(axis=1)
        right += [CATEGORIES[n] == label for n, label in zip(nearest, scene.labels, strict=True)]
    assert np.mean(right) > 0.85
