"""Language models load from folders as they are published: their names and shapes, in shards with an index.

Configs are those of the repositories. The number of tensors and their bytes are those of the published index.
"""

import json
import shutil

import pytest
import torch
from earthinstruct_models.choices import transformers_lvlm
from earthinstruct_models.pretrained import load_pretrained
from earthinstruct_models.proposers.sam3 import SAM3S
from earthinstruct_models.weights import FOLDER_VARIABLE, WEIGHTS

from earthinstruct.errors import EarthInstructError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

QWEN2_5 = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "torch_dtype": "bfloat16",
    **{"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
    **{"num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000, "rope_theta": 1e6},
    **{"tie_word_embeddings": False, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
    **{"vision_start_token_id": 151652, "vision_end_token_id": 151653, "image_token_id": 151655},
    "vision_config": {
        **{"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584},
        **{"patch_size": 14, "spatial_patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
    },
}
QWEN3 = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "tie_word_embeddings": False,
    **{"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652},
    "text_config": {
        **{"model_type": "qwen3_vl_text", "dtype": "bfloat16", "vocab_size": 151936, "hidden_size": 4096},
        **{"intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32, "head_dim": 128},
        **{"num_key_value_heads": 8, "max_position_embeddings": 262144, "rope_theta": 5e6},
        "rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
    },
    "vision_config": {
        **{"model_type": "qwen3_vl", "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16},
        **{"out_hidden_size": 4096, "patch_size": 16, "num_position_embeddings": 2304},
        "deepstack_visual_indexes": [8, 16, 24],
    },
}


def linear(name, rows, columns, bias=True):
    return {f"{name}.weight": (rows, columns), **({f"{name}.bias": (rows,)} if bias else {})}


def norm(name, width, bias=False):
    return {f"{name}.weight": (width,), **({f"{name}.bias": (width,)} if bias else {})}


def of_text(prefix, layers, width, inner, keys, bias, of_heads=()):
    """The names of a Qwen language model; `keys` is the width of keys and values."""
    shapes = {}
    for i in range(layers):
        layer = f"{prefix}layers.{i}"
        for part, rows, columns in (("q", width, width), ("k", keys, width), ("v", keys, width)):
            shapes |= linear(f"{layer}.self_attn.{part}_proj", rows, columns, bias)
        shapes |= linear(f"{layer}.self_attn.o_proj", width, width, bias=False)
        for name in of_heads:
            shapes |= norm(f"{layer}.self_attn.{name}", 128)
        shapes |= linear(f"{layer}.mlp.gate_proj", inner, width, bias=False)
        shapes |= linear(f"{layer}.mlp.up_proj", inner, width, bias=False)
        shapes |= linear(f"{layer}.mlp.down_proj", width, inner, bias=False)
        shapes |= norm(f"{layer}.input_layernorm", width) | norm(f"{layer}.post_attention_layernorm", width)
    return shapes | norm(f"{prefix}norm", width)


def qwen2_5():
    """The published names: those of transformers 4.49, which did not put the parts below `model`."""
    shapes = {"model.embed_tokens.weight": (152064, 3584), "lm_head.weight": (152064, 3584)}
    shapes |= of_text("model.", 28, 3584, 18944, 512, bias=True)
    shapes["visual.patch_embed.proj.weight"] = (1280, 3, 2, 14, 14)
    for i in range(32):
        block = f"visual.blocks.{i}"
        shapes |= norm(f"{block}.norm1", 1280) | norm(f"{block}.norm2", 1280)
        shapes |= linear(f"{block}.attn.qkv", 3840, 1280) | linear(f"{block}.attn.proj", 1280, 1280)
        shapes |= linear(f"{block}.mlp.gate_proj", 3420, 1280) | linear(f"{block}.mlp.up_proj", 3420, 1280)
        shapes |= linear(f"{block}.mlp.down_proj", 1280, 3420)
    merger = norm("visual.merger.ln_q", 1280) | linear("visual.merger.mlp.0", 5120, 5120)
    return shapes | merger | linear("visual.merger.mlp.2", 3584, 5120)


def qwen3():
    shapes = {"model.language_model.embed_tokens.weight": (151936, 4096), "lm_head.weight": (151936, 4096)}
    shapes |= of_text("model.language_model.", 36, 4096, 12288, 1024, bias=False, of_heads=("q_norm", "k_norm"))
    shapes |= {"model.visual.pos_embed.weight": (2304, 1152), "model.visual.patch_embed.proj.bias": (1152,)}
    shapes["model.visual.patch_embed.proj.weight"] = (1152, 3, 2, 16, 16)
    for i in range(27):
        block = f"model.visual.blocks.{i}"
        shapes |= norm(f"{block}.norm1", 1152, bias=True) | norm(f"{block}.norm2", 1152, bias=True)
        shapes |= linear(f"{block}.attn.qkv", 3456, 1152) | linear(f"{block}.attn.proj", 1152, 1152)
        shapes |= linear(f"{block}.mlp.linear_fc1", 4304, 1152) | linear(f"{block}.mlp.linear_fc2", 1152, 4304)
    mergers = ["merger", *(f"deepstack_merger_list.{i}" for i in range(3))]
    for merger, width in zip(mergers, (1152, 4608, 4608, 4608), strict=True):
        shapes |= norm(f"model.visual.{merger}.norm", width, bias=True)
        shapes |= linear(f"model.visual.{merger}.linear_fc1", 4608, 4608)
        shapes |= linear(f"model.visual.{merger}.linear_fc2", 4096, 4608)
    return shapes


PUBLISHED = {
    "qwen2.5-vl-7b": (QWEN2_5, qwen2_5, "qwen2.5-vl", 729, 16_584_333_312),
    "qwen3-vl-8b": (QWEN3, qwen3, "qwen3-vl", 750, 17_534_247_392),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_language_model_loads_from_a_folder_of_its_published_names_and_shapes(
    name, write_published, tiny_qwen, tmp_path, monkeypatch
):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    config, names, kind, tensors, size = PUBLISHED[name]
    assert write_published(WEIGHTS[name].path, config, names(), "BF16") == (tensors, size)
    for file in tiny_qwen(kind).iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json":  # the processor
            shutil.copy(file, WEIGHTS[name].path)
    lvlm = transformers_lvlm(name).make({"device": "cpu"}).part
    assert sum(parameter.numel() for parameter in lvlm._model.parameters()) == size // 2
    assert {parameter.dtype for parameter in lvlm._model.parameters()} == {torch.bfloat16}
    assert all(p.untyped_storage().nbytes() == p.element_size() for p in lvlm._model.parameters())  # none was made up


def test_the_names_of_old_folders_are_those_of_the_model(tiny_qwen, tmp_path):
    """Values too, with tiny weights: the published names of Qwen2.5-VL are older than the model's own."""
    from earthinstruct_models.pretrained import load_model
    from safetensors.torch import load_file

    folder = tiny_qwen("qwen2.5-vl")
    published = load_file(folder / "model.safetensors")
    assert {key.split(".")[0] for key in published} == {"model", "visual", "lm_head"}
    assert not any(key.startswith("model.language_model") for key in published)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "qwen2_5_vl"
    own = load_model(folder, "AutoModelForImageTextToText", "a model").state_dict()
    for key, value in published.items():
        new = key.replace("visual.", "model.visual.") if key.startswith("visual.") else key
        new = new.replace("model.", "model.language_model.", 1) if key.startswith("model.") else new
        assert torch.equal(own[new], value), key


def test_training_data_are_checked_before_weights_are_looked_for(tmp_path):
    with pytest.raises(EarthInstructError, match=r"training_data must be names of training sets.*got \[5\]"):
        load_pretrained(SAM3S["sam3"], tmp_path / "none", training_data=[5])
