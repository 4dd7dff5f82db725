"""Small models of the real architectures with random weights: they show that the path works, not how well it counts."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.lvlm.transformers import TransformersLvlm, _random_numbers_kept

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((56, 84), (112, 56), (90, 130))]
TOO_LONG = np.zeros((1, 900, 3), dtype=np.uint8)  # Qwen takes sides of 1 to 200 at most


@pytest.fixture(scope="module", params=["qwen2.5-vl", "qwen3-vl"])
def folder(request, tiny_qwen):
    return tiny_qwen(request.param)


@pytest.fixture(scope="module")
def lvlm(folder):
    return TransformersLvlm(folder, max_new_tokens=6, batch_size=3, max_pixels=50_000, device="cpu")


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def same(a, b):
    fields = ("text", "input_tokens", "output_tokens", "finish", "model")
    return [getattr(a, name) for name in fields] == [getattr(b, name) for name in fields]


def test_a_batch_replies_as_single_images_do(lvlm):
    """Images of three sizes have prompts of three lengths, padded on the left."""
    together = lvlm.ask_many(IMAGES, "Count the ships.")
    alone = [lvlm.ask(image, "Count the ships.") for image in IMAGES]
    assert len({reply.input_tokens for reply in alone}) == 3
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))
    assert all(reply.finish == "truncated" and reply.output_tokens == 6 for reply in alone)
    assert len({reply.text for reply in alone}) > 1  # the image matters


def test_tokens_sent(lvlm):
    from PIL import Image

    prompt = lvlm._processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Count."}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    single = lvlm._processor(text=[prompt], images=[Image.fromarray(IMAGES[0])], return_tensors="pt")
    assert lvlm.ask(IMAGES[0], "Count.").input_tokens == single["input_ids"].shape[1]


def test_a_reply_ends_at_its_end(lvlm, monkeypatch):
    """The third token that is written is made the end; what is behind it in a batch is padding."""
    import torch

    written = {}
    generate = lvlm._model.generate

    def recorded(**inputs):
        out = generate(**inputs)
        written["tokens"] = out[:, inputs["input_ids"].shape[1] :].tolist()
        return out

    monkeypatch.setattr(lvlm._model, "generate", recorded)
    full = lvlm.ask(IMAGES[0], "Count.")
    tokens = written["tokens"][0]
    end = next(i for i, token in enumerate(tokens) if token not in tokens[:i] and i > 0)
    monkeypatch.setattr(lvlm._model.generation_config, "eos_token_id", [tokens[end]])
    reply, *_ = lvlm.ask_many(IMAGES, "Count.")
    assert (reply.finish, reply.output_tokens) == ("complete", end + 1)
    assert full.text.startswith(reply.text)
    assert reply.text == lvlm._processor.decode(torch.tensor(tokens[:end]), skip_special_tokens=True)


def test_an_image_that_the_model_does_not_take_fails_alone(lvlm):
    arrived = {}
    outcomes = lvlm.ask_many([IMAGES[0], TOO_LONG, IMAGES[1]], "Count.", arrived=arrived.__setitem__)
    assert [type(outcome) for outcome in outcomes] == [Reply, LvlmError, Reply]
    assert "aspect ratio" in str(outcomes[1])
    assert sorted(arrived) == [0, 2]
    with pytest.raises(LvlmError, match="aspect ratio"):
        lvlm.ask(TOO_LONG, "Count.")


def test_short_memory_is_met_by_smaller_batches(lvlm, monkeypatch):
    import torch

    generate = lvlm._model.generate
    sizes = []

    def limited(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("out of memory")
        return generate(**inputs)

    monkeypatch.setattr(lvlm._model, "generate", limited)
    assert all(isinstance(outcome, Reply) for outcome in lvlm.ask_many(IMAGES, "Count."))
    assert sizes == [3, 1, 2, 1, 1]


def test_each_repeat_samples_other_replies_and_the_same_again(folder):
    import torch

    def sampling(repeat):
        lvlm = TransformersLvlm(folder, max_new_tokens=6, max_pixels=5000, device="cpu", temperature=1)
        lvlm.repeat(repeat)
        before = torch.random.get_rng_state()
        replies = [reply.text for reply in lvlm.ask_many(IMAGES[:2], "Count.")]
        assert torch.equal(torch.random.get_rng_state(), before)  # other users of torch keep their random numbers
        return lvlm, replies

    lvlm, first = sampling(0)
    assert sampling(0)[1] == first
    assert sampling(1)[1] != first
    assert lvlm.ask(IMAGES[1], "Count.").text == first[1]  # whatever was asked before
    batches = TransformersLvlm(folder, max_new_tokens=6, max_pixels=5000, batch_size=2, device="cpu", temperature=1)
    assert [reply.text for reply in batches.ask_many(IMAGES[:2], "Count.")] == first  # however many at once
    assert batches.working_memory == lvlm.working_memory
    described = lvlm.describe()
    assert (described["decoding"], described["temperature"]) == ("sampling", 1.0)
    assert not lvlm.deterministic
    with pytest.raises(EarthInstructError, match="temperature must be a number from 0, got -1"):
        TransformersLvlm(folder, temperature=-1)


LIMITS = {
    **{"do_sample": True, "min_p": 1.0, "typical_p": 0.01, "epsilon_cutoff": 0.9, "eta_cutoff": 0.9, "top_k": 1},
    **{"no_repeat_ngram_size": 1, "suppress_tokens": list(range(3, 260)), "min_new_tokens": 6, "max_length": 5},
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_limits_of_a_folder_do_not_count(folder, copied, temperature):
    def replies(place):
        lvlm = TransformersLvlm(place, max_new_tokens=6, max_pixels=5000, device="cpu", temperature=temperature)
        return [reply.text for reply in lvlm.ask_many(IMAGES, "Count.")]

    file = copied / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **LIMITS}))
    assert replies(copied) == replies(folder)


def test_the_repetition_penalty_of_a_folder_counts(folder, copied):
    file = copied / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "repetition_penalty": 1e9}))
    lvlm, plain = (TransformersLvlm(one, max_new_tokens=6, max_pixels=5000, device="cpu") for one in (copied, folder))
    assert lvlm.describe()["repetition_penalty"] == 1e9
    assert lvlm.ask(IMAGES[0], "Count.").text != plain.ask(IMAGES[0], "Count.").text


def test_random_numbers_of_apples_gpu_are_kept(monkeypatch):
    import torch

    state = {"mps": "of others"}
    monkeypatch.setattr(torch.mps, "device_count", lambda: 1)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda device: state["mps"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda new, device: state.update(mps=new))
    with _random_numbers_kept(torch.device("mps")):
        state["mps"] = "seeded"
    assert state == {"mps": "of others"}


def test_greedy_decoding_on_a_cpu_is_deterministic(lvlm):
    reply = lvlm.ask(IMAGES[0], "Count.")
    lvlm.repeat(3)
    assert same(lvlm.ask(IMAGES[0], "Count."), reply)
    lvlm.repeat(0)
    assert lvlm.deterministic
    assert "temperature" not in lvlm.describe()


def test_pixels(folder):
    large = RNG.integers(0, 256, (280, 280, 3), dtype=np.uint8)
    few = TransformersLvlm(folder, max_new_tokens=1, max_pixels=20_000, device="cpu").ask(large, "Count.")
    many = TransformersLvlm(folder, max_new_tokens=1, min_pixels=150_000, device="cpu").ask(large, "Count.")
    free = TransformersLvlm(folder, max_new_tokens=1, device="cpu").ask(large, "Count.")
    assert few.input_tokens < free.input_tokens < many.input_tokens


def test_description(lvlm, folder):
    described = lvlm.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["model"] == folder.name
    assert described["model_type"] == folder.name.replace("-vl", "_vl").replace(".", "_")
    assert (described["max_pixels"], described["dtype"], described["decoding"]) == (50_000, "float32", "greedy")
    assert described["device"] == "cpu"
    (weights,) = described["weights"]
    assert weights["name"] == "model.safetensors"
    assert len(weights["sha256"]) == 64


def test_dtype(folder):
    lvlm = TransformersLvlm(folder, max_new_tokens=2, max_pixels=5000, dtype="bfloat16", device="cpu")
    assert lvlm.describe()["dtype"] == "bfloat16"
    assert lvlm.ask(IMAGES[0], "Count.").output_tokens == 2


def test_what_a_folder_lacks_is_named(copied, tmp_path):
    with pytest.raises(DataError, match=r"no config\.json"):
        TransformersLvlm(tmp_path / "none")
    (copied / "model.safetensors").rename(copied / "model.bin")
    with pytest.raises(DataError, match=r"no \*\.safetensors"):
        TransformersLvlm(copied)


def test_lacking_weights_are_an_error(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.1.mlp" in name))
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="lacks 1 of the model's weights"):
        TransformersLvlm(copied)


def test_no_code_of_the_folder_is_run(copied, tmp_path):
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "own.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    with pytest.raises(DataError, match="does not load"):
        TransformersLvlm(copied)
    assert not (tmp_path / "ran").exists()


def test_parameters(folder):
    with pytest.raises(UnknownNameError, match="float8"):
        TransformersLvlm(folder, dtype="float8")
    for name in ("max_new_tokens", "batch_size"):
        with pytest.raises(EarthInstructError, match=f"{name} must be an integer >= 1, got 0"):
            TransformersLvlm(folder, **{name: 0})
    for pixels, said in (
        ({"min_pixels": 0}, "min_pixels must be an integer >= 1, got 0"),
        ({"max_pixels": "many"}, "max_pixels must be an integer >= 1, got 'many'"),
        ({"min_pixels": 9000, "max_pixels": 5000}, "max_pixels must be an integer >= 9000, got 5000"),
    ):
        with pytest.raises(EarthInstructError, match=said):
            TransformersLvlm(folder, **pixels)


def test_importing_imports_no_model_library():
    modules = ("lvlm", "lvlm.openai", "lvlm.transformers", "parts", "store")
    code = "; ".join(f"import earthinstruct_models.{name}" for name in modules)
    check = "import sys; assert not {'torch', 'transformers', 'openai'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", f"{code}; {check}"], check=True)
