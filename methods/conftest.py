"""A randomly initialised small CLIP on disk: it shows that the path works, not how good it is."""

import functools
import importlib.util
import json
from pathlib import Path

import pytest

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """(config file, model with random weights)."""
    import open_clip
    import torch

    config = tmp_path_factory.mktemp("clip") / "tiny-random.json"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    return config, open_clip.create_model("tiny-random", load_weights=False)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_clip, tmp_path_factory):
    """Its weights as safetensors."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(tiny_clip[1].state_dict(), path)
    return path


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory):
    """Makes a folder with a tiny Qwen-VL of random weights: `qwen2.5-vl` or `qwen3-vl`."""
    path = Path(__file__).parent / "models" / "tests" / "test_lvlm_transformers.py"
    spec = importlib.util.spec_from_file_location("tiny_qwen", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp("lvlm") / kind
        module.build(kind, folder)
        return folder

    return make
