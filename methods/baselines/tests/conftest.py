"""Tiny models with random weights, saved to disk as the published ones are: they show that the path works."""

import copy
import json

import numpy as np
import pytest

from earthinstruct.cli import main
from earthinstruct.datasets import draw_scenes

WORDS = ["airplane", "ship", "storage", "tank", "harbor", "bridge", "vehicle", "tennis", "court", "golf", "field"]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """The annotation file of three scenes."""
    folder = tmp_path_factory.mktemp("data") / "few"
    draw_scenes(folder, "val", 3)
    return str(folder / "annotations.json")


@pytest.fixture
def image():
    """Random pixels, wider than high."""
    return np.random.Generator(np.random.PCG64(0)).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.fixture
def changed():
    """A copy of a method with other options, on the same model: loading it again would take longer than its test."""

    def change(method, **options):
        other = copy.copy(method)
        vars(other).update(options)
        return other

    return change


@pytest.fixture
def run_on_scenes(scenes, tmp_path, capsys):
    """Runs a method on two scenes through the command line; returns its predictions and its result."""

    def run(method, *parameters, setting="open_vocabulary", sweep=False, expected=0):
        options = [option for pair in parameters for option in ("-M", pair)]
        code = main(
            ["evaluate", "--method", method, *options, "--dataset", scenes, "--setting", setting, "--limit", "2"]
            + ["--output", str(tmp_path / "runs")]
            + (["--sweep"] if sweep else [])
        )
        printed = capsys.readouterr()
        assert code == expected, printed.err
        (result,) = (tmp_path / "runs").rglob("result.json")
        lines = (result.parent / "predictions.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], json.loads(result.read_text())

    return run


def _seed(seed):
    """One thread as well: for models this small, several wait for each other."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)


def _bert_tokenizer():
    """A tokenizer of a few words whose special tokens have the numbers that Grounding DINO knows them by."""
    from transformers import BertTokenizer

    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    vocabulary |= {word: 200 + i for i, word in enumerate(WORDS)}
    vocabulary |= {f"##{letter}": 300 + i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    free = (number for number in range(1030) if number not in set(vocabulary.values()))
    vocabulary |= {f"[unused{number}]": number for number in free}
    return BertTokenizer(vocab=vocabulary)


def _swin():
    from transformers import SwinConfig

    return SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_indices=[2, 3, 4],
    )


def _grounding_dino(folder, prefix, **options):
    import transformers

    _seed(0)
    config = getattr(transformers, f"{prefix}Config")(
        backbone_config=_swin(),
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


@pytest.fixture(scope="session")
def owlv2_weights(tmp_path_factory, clip_tokenizer):
    import transformers

    _seed(1)
    folder = tmp_path_factory.mktemp("owlv2")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Owlv2Config(
        text_config=small, vision_config=small | {"image_size": 64, "patch_size": 16}, projection_dim=16
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    images = transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64})
    transformers.Owlv2Processor(images, clip_tokenizer(16)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def omdet_turbo_weights(tmp_path_factory, clip_tokenizer):
    import transformers

    _seed(4)
    folder = tmp_path_factory.mktemp("omdet-turbo")
    text = {"vocab_size": 49408, "hidden_size": 16, "intermediate_size": 16, "projection_dim": 16}
    config = transformers.OmDetTurboConfig(
        backbone_config=_swin(),
        text_config={"model_type": "clip_text_model", **text, "num_hidden_layers": 1, "num_attention_heads": 2},
        image_size=64,
        num_queries=12,
        **dict.fromkeys(("text_projection_in_dim", "text_projection_out_dim", "class_embed_dim"), 16),
        **dict.fromkeys(("encoder_hidden_dim", "decoder_hidden_dim", "task_encoder_hidden_dim"), 32),
        **dict.fromkeys(("encoder_dim_feedforward", "decoder_dim_feedforward"), 32),
        **dict.fromkeys(("encoder_attention_heads", "decoder_num_heads"), 2),
        decoder_num_layers=2,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[32, 64, 128],
        apply_layernorm_after_vision_backbone=False,  # for the channels-last maps of the published backbone
    )
    transformers.OmDetTurboForObjectDetection(config).save_pretrained(folder)
    images = transformers.DetrImageProcessor(size={"height": 64, "width": 64})
    transformers.OmDetTurboProcessor(images, clip_tokenizer(77)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def florence_2_weights(tmp_path_factory):
    """One whose vocabulary is mostly places, so that random answers have boxes."""
    import transformers
    from open_clip.tokenizer import bytes_to_unicode

    _seed(5)
    folder = tmp_path_factory.mktemp("florence-2")
    letters = ["<s>", "<pad>", "</s>", "<unk>", *sorted(bytes_to_unicode().values())]
    tokenizer = transformers.BartTokenizer(
        vocab={letter: i for i, letter in enumerate(letters)},
        merges=[],
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([f"<loc_{i}>" for i in range(1000)])
    config = transformers.Florence2Config(
        vision_config={
            **{"depths": [1, 1, 1, 1], "embed_dim": [8, 16, 16, 32], "num_heads": [1, 1, 2, 2]},
            **{"num_groups": [1, 1, 2, 2], "window_size": 2, "projection_dim": 32},
        },
        text_config={
            **{"model_type": "bart", "vocab_size": len(tokenizer), "d_model": 32, "max_position_embeddings": 128},
            **{"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
            **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "init_std": 0.5, "forced_eos_token_id": 2},
        },
        image_token_id=tokenizer.image_token_id,
    )
    model = transformers.Florence2ForConditionalGeneration(config)
    model.generation_config.update(
        **{"decoder_start_token_id": 2, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1},
        **{"forced_bos_token_id": 0, "forced_eos_token_id": 2, "no_repeat_ngram_size": 3},
    )
    model.save_pretrained(folder)
    images = transformers.CLIPImageProcessor(
        **{"size": {"height": 64, "width": 64}, "crop_size": {"height": 64, "width": 64}, "do_center_crop": False}
    )
    images.image_seq_length = 5  # the four places of the smallest map, and their mean
    read = {"pure_text": {}, "description_with_bboxes": {}, "description_with_bboxes_or_polygons": {}}
    transformers.Florence2Processor(images, tokenizer, post_processor_config=read).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def faster_rcnn_weights(tmp_path_factory):
    """A folder with `weights.safetensors` and `classes.json`."""
    from safetensors.torch import save_file
    from torchvision.models import get_model

    _seed(3)
    folder = tmp_path_factory.mktemp("faster-rcnn")
    model = get_model("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None, num_classes=4)
    save_file(model.state_dict(), folder / "weights.safetensors")
    (folder / "classes.json").write_text(json.dumps({"1": "storage tank", "2": "Ships", "3": "dam"}))
    return folder
