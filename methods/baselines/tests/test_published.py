"""Detectors load from folders as they are published, at full size: configs of the repositories, names and shapes of the
model, in shards with an index. Names that the published files have and the model has not are made here."""

import re
import shutil

import pytest
from earthinstruct_baselines.florence2 import Florence2
from earthinstruct_baselines.grounding_dino import GroundingDino, MMGroundingDino
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_baselines.sam3 import SAM3, SAM3LiteText
from earthinstruct_models.weights import FOLDER_VARIABLE, WEIGHTS

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def swin(width, layers, heads, window, side):
    return {
        **{"model_type": "swin", "embed_dim": width, "depths": [2, 2, layers, 2], "num_heads": heads},
        **{"window_size": window, "image_size": side, "out_indices": [2, 3, 4]},
        "out_features": ["stage2", "stage3", "stage4"],
    }


def of_clip(width, layers, heads, **more):
    return {
        **{"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers},
        **{"num_attention_heads": heads, **more},
    }


GROUNDING_DINO = {"model_type": "grounding-dino", "text_config": {"model_type": "bert"}}
GROUNDING_DINO["backbone_config"] = swin(128, 18, [4, 8, 16, 32], 12, 384)
MM_GROUNDING_DINO = {"model_type": "mm-grounding-dino", "text_config": {"model_type": "bert"}}
MM_GROUNDING_DINO["backbone_config"] = swin(96, 6, [3, 6, 12, 24], 7, 224)
OWLV2 = {
    **{"model_type": "owlv2", "projection_dim": 768, "text_config": of_clip(768, 12, 12)},
    "vision_config": of_clip(1024, 24, 16, image_size=1008, patch_size=14),
}
SAM_3 = {"model_type": "sam3_video", "detector_config": {"model_type": "sam3"}}
SAM_3_LITE_TEXT = {"model_type": "sam3_lite_text", "text_config": {"num_hidden_layers": 6}}  # of MobileCLIP-S0
FLORENCE_2 = {
    **{"model_type": "florence2", "image_token_id": 51289},
    "vision_config": {
        **{"embed_dim": [256, 512, 1024, 2048], "num_heads": [8, 16, 32, 64], "num_groups": [8, 16, 32, 64]},
        "projection_dim": 1024,
    },
    "text_config": {
        **{"model_type": "bart", "vocab_size": 51328, "d_model": 1024, "max_position_embeddings": 4096},
        **{"encoder_layers": 12, "decoder_layers": 12, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096},
        **{"encoder_attention_heads": 16, "decoder_attention_heads": 16},
    },
}

# class, config, fixture with its processor, and between which millions of parameters the model has
PUBLISHED = {
    "grounding-dino": (GroundingDino, GROUNDING_DINO, "grounding_dino_weights", (232, 234)),
    "mm-grounding-dino": (MMGroundingDino, MM_GROUNDING_DINO, "mm_grounding_dino_weights", (171, 174)),
    "owlv2": (OWLv2, OWLV2, "owlv2_weights", (437, 438)),
    "sam3": (SAM3, SAM_3, "sam3_weights", (840, 862)),
    "sam3-litetext": (SAM3LiteText, SAM_3_LITE_TEXT, "sam3_litetext_weights", (529, 551)),  # sam3: 353 -> 42 for text
    "florence-2": (Florence2, FLORENCE_2, "florence_2_weights", (770, 780)),
}


def published_names(method, config):
    """Name -> shape of the published file."""
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    model_class = getattr(transformers, method.published.model_class)
    of_image = config.get("detector_config", config)
    with torch.device("meta"):
        model = model_class(model_class.config_class(**of_image))
    state = {key: value for key, value in model.state_dict().items() if key not in model.all_tied_weights_keys}
    shapes = {key: tuple(value.shape) for key, value in revert_weight_conversion(model, state).items()}
    if of_image is config:
        return shapes
    return {f"detector_model.{key}": shape for key, shape in shapes.items()} | {"tracker_model.memory": (7, 64)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_detector_loads_from_a_folder_of_its_published_names_and_shapes(
    name, write_published, tmp_path, monkeypatch, request
):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    method, config, processor, (least, most) = PUBLISHED[name]
    folder = WEIGHTS[method.published.weights].path
    shapes = published_names(method, config)
    write_published(folder, config, shapes, "F32")
    for file in request.getfixturevalue(processor).iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json":
            shutil.copy(file, folder)
    detector = method(device="cpu")
    parameters = list(detector.loaded.model.parameters())
    assert least < sum(parameter.numel() for parameter in parameters) / 1e6 < most
    assert len(detector.loaded.weights) == 2
    assert not detector.loaded.model.training


def test_the_names_of_a_published_grounding_dino_are_those_of_its_repository():
    """The names of the first release in transformers, which its file still has."""
    names = set(published_names(GroundingDino, GROUNDING_DINO))
    backbone = "model.backbone.conv_encoder.model"
    assert {f"{backbone}.embeddings.patch_embeddings.projection.weight", "bbox_embed.0.layers.0.weight"} <= names
    assert f"{backbone}.encoder.layers.2.blocks.17.attention.self.relative_position_bias_table" in names
    assert "model.text_backbone.encoder.layer.11.output.dense.weight" in names
    assert not [name for name in names if re.match(r"bbox_embed\.[1-9]", name)]  # they are all the first one
