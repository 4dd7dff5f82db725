"""Every checkpoint format loads the same weights; what is not a checkpoint, or another architecture's, is refused."""

import argparse
import json

import numpy as np
import pytest
import torch
from earthinstruct_models.encoders.crops import crop_corners
from earthinstruct_models.encoders.open_clip import OpenClipEncoder, named_encoder

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

IMAGE = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOXES = np.array([[10.0, 10, 20, 30], [0, 0, 5, 5], [70, 50, 10, 10]])


@pytest.fixture
def reference(tiny_clip):
    """Embeddings by open_clip itself, crop by crop."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    model = tiny_clip[1].eval()
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    crops = [Image.fromarray(IMAGE).crop(corners) for corners in crop_corners(BOXES, 80, 60)]
    with torch.inference_mode():
        return model.encode_image(torch.stack([transform(crop) for crop in crops]), normalize=True).numpy()


def checkpoint(kind, model, folder):
    state = model.state_dict()
    prefixed = {f"module.{key}": value for key, value in state.items()}
    path = folder / f"{kind}.pt"
    content = {
        "state_dict": state,
        "training": {"epoch": 3, "name": "x", "state_dict": prefixed, "optimizer": {}},
        "half": {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
    }[kind]
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", ["state_dict", "training"])
def test_every_format_gives_the_features_of_open_clip(tiny_clip, tmp_path, reference, kind):
    encoder = OpenClipEncoder(checkpoint(kind, tiny_clip[1], tmp_path), config=tiny_clip[0], batch_size=2, device="cpu")
    assert np.allclose(encoder.embed_crops(IMAGE, BOXES), reference, atol=1e-6)


def test_half_precision_weights_load(tiny_clip, tmp_path, reference):
    encoder = OpenClipEncoder(checkpoint("half", tiny_clip[1], tmp_path), config=tiny_clip[0], device="cpu")
    assert np.abs(encoder.embed_crops(IMAGE, BOXES) - reference).max() < 0.01


def test_safetensors_load(tiny_clip, tiny_checkpoint, reference):
    encoder = OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu")
    assert np.allclose(encoder.embed_crops(IMAGE, BOXES), reference, atol=1e-6)
    assert encoder.embed_crops(IMAGE, np.zeros((0, 4))).shape == (0, 32)
    labels = encoder.embed_labels(["storage_tank", "ship", "storage_tank"])
    assert np.array_equal(labels[0], labels[2])
    assert np.allclose(np.linalg.norm(labels, axis=1), 1, atol=1e-5)
    assert encoder.embed_labels([]).shape == (0, 32)


def test_the_template_and_the_activation_change_what_they_should(tiny_clip, tiny_checkpoint):
    plain, other, quick = (
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", **options)
        for options in ({}, {"template": "{category}"}, {"activation": "quickgelu"})
    )
    assert not np.allclose(plain.embed_labels(["ship"]), other.embed_labels(["ship"]))
    assert not np.allclose(plain.embed_crops(IMAGE, BOXES), quick.embed_crops(IMAGE, BOXES))
    assert quick.describe()["activation"] == "quickgelu"
    assert other.describe()["template"] == "{category}"
    assert len(plain.describe()["weights"][0]["sha256"]) == 64


def test_another_architecture_is_refused(tiny_checkpoint):
    with pytest.raises(DataError, match="does not load as ViT-B-32"):
        OpenClipEncoder(tiny_checkpoint, architecture="ViT-B-32", device="cpu")


def test_position_embeddings_of_another_size_are_refused_rather_than_resized(tiny_clip, tmp_path):
    state = dict(tiny_clip[1].state_dict())
    state["visual.positional_embedding"] = torch.zeros(10, 32)  # of 48 x 48 pixels, where the model takes 32 x 32
    torch.save(state, tmp_path / "larger.pt")
    with pytest.raises(DataError, match=r"positional_embedding: copying a param with shape torch.Size\(\[10, 32\]\)"):
        OpenClipEncoder(tmp_path / "larger.pt", config=tiny_clip[0], device="cpu")


@pytest.fixture
def siglip(tmp_path):
    """A random SigLIP-style model (attention pooling, sigmoid bias, tokenizer of a folder) and its files."""
    import open_clip
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "satellite", "image", "ship", "harbor", "a"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "tokenizer")
    config = tmp_path / "tiny-siglip.json"
    vision = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "avg", "timm_proj": "none"}
    text = {
        "context_length": 8,
        "vocab_size": 8,
        "hf_tokenizer_name": "nobody/tiny",
        "width": 192,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "pool_type": "last",
    }
    config.write_text(
        json.dumps(
            {"embed_dim": 192, "init_logit_bias": -10, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
        )
    )
    open_clip.add_model_config(config)
    torch.save(open_clip.create_model("tiny-siglip", load_weights=False).state_dict(), tmp_path / "siglip.pt")
    return {"checkpoint": tmp_path / "siglip.pt", "config": config, "device": "cpu"}, tmp_path / "tokenizer"


def test_a_siglip_runs_with_its_tokenizer_and_downloads_nothing(siglip):
    parameters, tokenizer = siglip
    with pytest.raises(EarthInstructError, match="would download hf_tokenizer_name nobody/tiny"):
        OpenClipEncoder(**parameters)
    with pytest.raises(DataError, match="is not a folder"):
        OpenClipEncoder(**parameters, tokenizer="nobody/tiny")
    with pytest.raises(EarthInstructError, match="has the activation gelu, not quickgelu"):
        OpenClipEncoder(**parameters, tokenizer=tokenizer, activation="quickgelu")
    encoder = OpenClipEncoder(**parameters, tokenizer=tokenizer, preprocess={"resize_mode": "squash"})
    assert encoder.embed_crops(IMAGE, BOXES).shape == (3, 192)
    ship, harbor = encoder.embed_labels(["ship", "harbor"])
    assert not np.allclose(ship, harbor)
    assert encoder.describe()["preprocess"]["resize_mode"] == "squash"


@pytest.mark.parametrize("given", [True, False], ids=["tokenizer given", "tokenizer named by the config"])
def test_a_config_does_not_make_the_code_of_a_tokenizer_run(siglip, tmp_path, given):
    parameters, tokenizer = siglip
    own = json.loads((tokenizer / "tokenizer_config.json").read_text())
    own |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(own))
    (tokenizer / "own.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    config = json.loads(parameters["config"].read_text())
    config["text_cfg"] |= {"tokenizer_kwargs": {"trust_remote_code": True}}
    config["text_cfg"] |= {} if given else {"hf_tokenizer_name": str(tokenizer)}
    parameters["config"].write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"tokenizer .* does not load"):
        OpenClipEncoder(**parameters, tokenizer=tokenizer if given else None)
    assert not (tmp_path / "ran").exists()


def test_preprocessing_is_what_the_weights_of_an_architecture_share():
    from earthinstruct_models.encoders.open_clip import _preprocess

    shared = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    assert _preprocess("ViT-B-16-SigLIP", None) == shared
    assert _preprocess("ViT-B-16-SigLIP", {"interpolation": "bilinear"}) == shared | {"interpolation": "bilinear"}
    assert _preprocess("ViT-L-14", None) == {}  # its published weights differ, open_clip's default stands
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        _preprocess("ViT-L-14", {"means": 1})


def test_an_architecture_states_its_activation(tiny_checkpoint):
    with pytest.raises(EarthInstructError, match="has the activation quickgelu, not gelu"):
        OpenClipEncoder(tiny_checkpoint, architecture="ViT-L-14-quickgelu", activation="gelu")


def test_an_encoder_of_the_table_says_where_its_weights_are_and_takes_no_other_architecture(
    tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    with pytest.raises(DataError, match="fetch skyclip-b32, or get"):
        named_encoder("skyclip-b32")
    with pytest.raises(DataError, match="does not load as ViT-B-32"):
        named_encoder("skyclip-b32", checkpoint=tiny_checkpoint)
    with pytest.raises(UnknownNameError, match="did you mean 'skyclip-b32'"):
        named_encoder("skyclip-b23")


def test_an_encoder_of_the_table_has_its_activation(tmp_path, monkeypatch, tiny_clip, tiny_checkpoint):
    from earthinstruct_models.encoders import open_clip as module
    from earthinstruct_models.encoders.table import EncoderEntry

    monkeypatch.setitem(module.ENCODERS, "tiny", EncoderEntry("tiny-random", "quickgelu"))
    described = named_encoder("tiny", checkpoint=tiny_checkpoint, device="cpu").describe()
    assert (described["encoder"], described["activation"], described["device"]) == ("tiny", "quickgelu", "cpu")


@pytest.mark.parametrize(
    ("label", "sentence"), [("ship", "an image of a ship"), ("oil_tank", "an image of an oil tank")]
)
def test_the_article_follows_the_label(tiny_clip, tiny_checkpoint, label, sentence):
    one, other = (
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", template=template)
        for template in ("an image of {article} {category}", sentence.replace(label.replace("_", " "), "{category}"))
    )
    assert np.array_equal(one.embed_labels([label]), other.embed_labels([label]))


def test_a_template_may_have_other_braces(tiny_clip, tiny_checkpoint):
    braces, plain = (
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", template=template)
        for template in ("{a} {category} {}", "{category}")
    )
    found = braces.embed_labels(["ship", "{article}"])
    assert np.array_equal(found, plain.embed_labels(["{a} ship {}", "{a} {article} {}"]))
    assert not np.allclose(found[1], plain.embed_labels(["{a} a {}"])[0], atol=1e-3)  # the label is no part of it


def test_a_label_that_is_cut_is_named(tiny_clip, tiny_checkpoint, caplog):
    encoder = OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", template="{category}")
    fits, cut, other = ("ship " * 13 + "pier", "ship " * 14 + "pier", "ship " * 14 + "quay")  # 14 tokens and 2 ends fit
    encoder.embed_labels([fits])
    assert caplog.messages == []
    embedded = encoder.embed_labels([cut, other])
    assert np.allclose(*embedded)
    encoder.embed_labels([cut])
    assert caplog.messages == [
        f"label {label!r}: its sentence has more than the 16 tokens that tiny-random reads; its end has no effect"
        for label in (cut, other)
    ]


def test_underscores_become_spaces_or_stay(tiny_clip, tiny_checkpoint):
    spaces, kept = (
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", keep_underscores=keep)
        for keep in (False, True)
    )
    assert np.array_equal(spaces.embed_labels(["oil_tank"]), kept.embed_labels(["oil tank"]))
    assert not np.allclose(spaces.embed_labels(["oil_tank"]), kept.embed_labels(["oil_tank"]), atol=1e-3)
    assert kept.describe()["keep_underscores"] is True


def test_a_checkpoint_that_would_run_code_is_refused(tiny_clip, tmp_path):
    path = tmp_path / "pickle.pt"
    torch.save({"state_dict": tiny_clip[1].state_dict(), "args": argparse.FileType()}, path)
    with pytest.raises(DataError, match=r"it holds argparse\.FileType, which may run code; get a file that"):
        OpenClipEncoder(path, config=tiny_clip[0], device="cpu")


def test_missing_weights_are_refused(tiny_clip, tmp_path):
    state = tiny_clip[1].state_dict()
    state.pop(next(iter(state)))
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(DataError, match="does not load"):
        OpenClipEncoder(tmp_path / "part.pt", config=tiny_clip[0], device="cpu")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"architecture": "ViT-B-23"}, UnknownNameError, "did you mean 'ViT-B-32'.*others"),
        ({}, UnknownNameError, "unknown architecture 'None'"),
        ({"architecture": "ViT-B-32", "activation": "relu"}, UnknownNameError, "activation"),
        ({"architecture": "ViT-B-32", "template": "a photo"}, EarthInstructError, "must contain {category}"),
        ({"config": "none.json"}, DataError, "none.json cannot be read"),
        ({"architecture": "ViT-B-32", "crop_rounding": "neerest"}, UnknownNameError, "did you mean 'nearest'"),
        ({"architecture": "ViT-B-32", "keep_underscores": "no"}, EarthInstructError, "must be true or false"),
    ],
)
def test_wrong_parameters_are_answered(tiny_checkpoint, options, error, message):
    with pytest.raises(error, match=message):
        OpenClipEncoder(tiny_checkpoint, **options)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.pt does not exist"):
        OpenClipEncoder(tmp_path / "none.pt", architecture="ViT-B-32")
