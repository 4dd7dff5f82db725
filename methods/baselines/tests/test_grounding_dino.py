"""Labels come from the tokens of each name, boxes are pixels of the given image, long texts go in several passes."""

import numpy as np
import pytest
from earthinstruct_baselines.grounding_dino import GroundingDino, LLMDet, MMGroundingDino, join_names, token_map

from earthinstruct import Instruction
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.testing import check_method

NAMES = ("airplane", "storage_tank", "ship")


@pytest.fixture(scope="module")
def method(grounding_dino_weights):
    return GroundingDino(grounding_dino_weights, device="cpu")


def of_transformers(method, image, names):
    """(probabilities, tokens, corners in pixels) as transformers gives them for the text of these names."""
    import torch

    processor, model = method.processor, method.model
    inputs = processor(images=image, text=join_names(names).text, return_tensors="pt")
    with torch.inference_mode():
        answer = model(**inputs)
    (found,) = processor.post_process_grounded_object_detection(
        answer, inputs.input_ids, threshold=-1, target_sizes=[image.shape[:2]]
    )
    tokens = processor.tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
    return answer.logits[0].sigmoid().numpy(), tokens, found["boxes"].numpy()


def test_every_pair_of_a_query_and_a_name_is_scored_by_the_names_own_tokens(method, image):
    probabilities, tokens, corners = of_transformers(method, image, NAMES)
    assert tokens == ["[CLS]", "airplane", ".", "storage", "tank", ".", "ship", ".", "[SEP]"]
    expected = np.stack([probabilities[:, 1], probabilities[:, [3, 4]].mean(axis=1), probabilities[:, 6]], axis=1)
    found = method.detect(image, NAMES)
    assert len(found.scores) == 12 * 3
    assert (np.diff(found.scores) <= 0).all()
    for category in range(3):
        mine = found.category == category
        queries = np.argsort(-expected[:, category], kind="stable")
        np.testing.assert_allclose(found.scores[mine], expected[queries, category], rtol=1e-5)
        np.testing.assert_allclose(found.corners[mine], corners[queries], rtol=1e-4, atol=1e-4)


def test_a_name_of_several_word_pieces_is_the_mean_of_them(method, image):
    probabilities, tokens, _ = of_transformers(method, image, ["ships", "harbor"])
    assert tokens == ["[CLS]", "ship", "##s", ".", "harbor", ".", "[SEP]"]
    found = method.detect(image, ["Ships", "harbor"])
    expected = np.sort(probabilities[:, [1, 2]].mean(axis=1))[::-1]
    np.testing.assert_allclose(found.scores[found.category == 0], expected, rtol=1e-5)


def test_boxes_are_clipped_and_labels_are_the_given_names(method, image):
    prediction = method.predict(image, Instruction("open_vocabulary", "Find.", NAMES))
    assert set(prediction.labels) <= set(NAMES)
    assert (prediction.boxes[:, :2] >= 0).all()
    assert (prediction.boxes[:, :2] + prediction.boxes[:, 2:] <= np.array([80, 48]) + 1e-9).all()
    assert prediction.counts is None
    assert prediction.usage.seconds["detector"] > 0


def test_threshold_and_limit(method, changed, image):
    everything = method.detect(image, NAMES)
    middle = float(np.median(everything.scores))
    some = changed(method, threshold=middle).detect(image, NAMES)
    assert np.array_equal(some.scores, everything.scores[everything.scores >= middle])
    few = changed(method, limit=5).detect(image, NAMES)
    assert np.array_equal(few.corners, everything.corners[:5])


def test_names_beyond_the_text_go_into_passes_that_are_merged(method, short_grounding_dino_weights, image):
    names = ["airplane", "storage tank", "ship", "harbor", "tennis court", "bridge"]  # 2 + 2 + 3 + 2 + 2 | 2 + 3 + 2
    short = GroundingDino(short_grounding_dino_weights, device="cpu")
    found = short.detect(image, names)
    assert set(found.category) == set(range(6))
    assert (np.diff(found.scores) <= 0).all()
    assert len(found.scores) == 12 * 6
    for part in ([0, 1, 2, 3], [4, 5]):
        alone = short.detect(image, [names[i] for i in part])
        together = np.isin(found.category, part)
        np.testing.assert_array_equal(found.scores[together], alone.scores)
        np.testing.assert_array_equal(found.category[together], np.array(part)[alone.category])


def test_one_name_too_long_for_the_text_is_refused(short_grounding_dino_weights, image):
    method = GroundingDino(short_grounding_dino_weights, device="cpu")
    with pytest.raises(EarthInstructError, match="has 12 tokens, the model reads 10 at most"):
        method.detect(image, ["ship", "ship " * 11])


@pytest.mark.parametrize("name", ["..", "\u200b"])
def test_a_name_without_a_token_is_refused(method, image, name):
    with pytest.raises(EarthInstructError, match="has no text to look for"):
        method.detect(image, ["ship", name])


def test_full_stops_inside_a_name_do_not_end_its_phrase():
    joined = join_names(["U.S. ship", "tank"])
    assert joined.text == "u s ship. tank."
    assert [joined.text[start:end] for start, end in joined.spans] == ["u s ship", "tank"]


def test_two_names_with_the_same_words_keep_their_own_tokens():
    offsets = np.array([[0, 0], [0, 4], [4, 5], [6, 10], [10, 11], [0, 0]])
    assert token_map(join_names(["ship", "Ship"]).spans, offsets).tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]


@pytest.mark.parametrize("kind", [GroundingDino, MMGroundingDino, LLMDet])
def test_it_keeps_the_contract(kind, grounding_dino_weights, mm_grounding_dino_weights):
    weights = grounding_dino_weights if kind is GroundingDino else mm_grounding_dino_weights
    checks = check_method(kind(weights, device="cpu"))
    assert [check for check in checks if check.problem] == []
    assert {check.name: check.skipped for check in checks}["check/open_ended"].endswith("which names them first")


@pytest.mark.parametrize("name", ["grounding-dino", "mm-grounding-dino", "llmdet"])
def test_it_runs_from_the_command_line(name, run_on_scenes, grounding_dino_weights, mm_grounding_dino_weights):
    weights = grounding_dino_weights if name == "grounding-dino" else mm_grounding_dino_weights
    records, result = run_on_scenes(name, f"weights={weights}", "device=cpu", sweep=True)
    assert [len(record["labels"]) > 10 and record.get("error") is None for record in records] == [True, True]
    assert result["method"]["weights"][0]["name"] == "model.safetensors"
    assert result["method"]["parameters"]["most_text_tokens"] == 256
    assert result["metrics"]["sweep"] is not None


def test_an_open_ended_instruction_is_refused(method, image):
    with pytest.raises(EarthInstructError, match="gets no names under open_ended"):
        method.predict(image, Instruction("open_ended", "Find everything."))


def test_what_is_not_the_model_is_refused(tmp_path, mm_grounding_dino_weights):
    with pytest.raises(DataError, match=r"no config.json.*huggingface.co/IDEA-Research"):
        GroundingDino(tmp_path)
    with pytest.raises(DataError, match="type 'mm-grounding-dino', expected 'grounding-dino'"):
        GroundingDino(mm_grounding_dino_weights)


def test_weights_that_are_not_safetensors_or_not_whole_are_refused(tmp_path, grounding_dino_weights):
    from safetensors.torch import load_file, save_file

    for file in grounding_dino_weights.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="may run code"):
        GroundingDino(tmp_path)
    state = load_file(grounding_dino_weights / "model.safetensors")
    lost = next(key for key in state if "query_position" in key)
    save_file({key: value for key, value in state.items() if key != lost}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=f"lacks 1 of the model's weights, {lost}"):
        GroundingDino(tmp_path)


@pytest.mark.parametrize(("option", "value"), [("threshold", 1.5), ("limit", 0)])
def test_absurd_parameters_are_refused(grounding_dino_weights, option, value):
    with pytest.raises(EarthInstructError, match=option):
        GroundingDino(grounding_dino_weights, **{option: value})
