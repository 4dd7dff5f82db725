"""Tiny models with random weights, saved to disk as the published ones are: they show that the path works."""

import json

import numpy as np
import pytest

from earthinstruct.cli import main
from earthinstruct.datasets.scenes import write_split

WORDS = ["airplane", "ship", "storage", "tank", "harbor", "bridge", "vehicle", "tennis", "court", "golf", "field"]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """The annotation file of three scenes."""
    folder = tmp_path_factory.mktemp("data") / "few"
    write_split(folder, "val", 3)
    return str(folder / "annotations.json")


@pytest.fixture
def image():
    """Random pixels, wider than high."""
    return np.random.Generator(np.random.PCG64(0)).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.fixture
def run_on_scenes(scenes, tmp_path, capsys):
    """Runs a method on two scenes through the command line; returns its predictions and its result."""

    def run(method, *parameters, setting="open_vocabulary", sweep=False):
        options = [option for pair in parameters for option in ("-M", pair)]
        code = main(
            ["evaluate", "--method", method, *options, "--dataset", scenes, "--setting", setting, "--limit", "2"]
            + ["--output", str(tmp_path / "runs")]
            + (["--sweep"] if sweep else [])
        )
        printed = capsys.readouterr()
        assert code == 0, printed.err
        (result,) = (tmp_path / "runs").rglob("result.json")
        lines = (result.parent / "predictions.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], json.loads(result.read_text())

    return run


def _bert_tokenizer():
    """A tokenizer of a few words whose special tokens have the numbers that Grounding DINO knows them by."""
    from transformers import BertTokenizer

    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    vocabulary |= {word: 200 + i for i, word in enumerate(WORDS)}
    vocabulary |= {f"##{letter}": 300 + i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    free = (number for number in range(1030) if number not in set(vocabulary.values()))
    vocabulary |= {f"[unused{number}]": number for number in free}
    return BertTokenizer(vocab=vocabulary)


def _grounding_dino(folder, prefix, **options):
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(
        backbone_config=transformers.SwinConfig(
            image_size=64,
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=2,
            out_indices=[2, 3, 4],
        ),
        text_config=transformers.BertConfig(
            vocab_size=1030, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=12,
        **options,
    )
    getattr(transformers, f"{prefix}ForObjectDetection")(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 256})
    transformers.GroundingDinoProcessor(images, _bert_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def grounding_dino_weights(tmp_path_factory):
    return _grounding_dino(tmp_path_factory.mktemp("grounding-dino"), "GroundingDino")


@pytest.fixture(scope="session")
def short_grounding_dino_weights(tmp_path_factory):
    """One that reads texts of 12 tokens at most."""
    return _grounding_dino(tmp_path_factory.mktemp("grounding-dino-short"), "GroundingDino", max_text_len=12)


@pytest.fixture(scope="session")
def mm_grounding_dino_weights(tmp_path_factory):
    return _grounding_dino(tmp_path_factory.mktemp("mm-grounding-dino"), "MMGroundingDino")
