"""Encoders of the table against open_clip itself: the same random weights, its own preprocessing and its own tokenizer.

Architectures are those of the table with fewer and narrower layers. Names and shapes at full size are in
`test_checkpoints.py`.
"""

import functools
import json

import numpy as np
import open_clip
import pytest
import torch
from earthinstruct_models.choices import ENCODERS
from earthinstruct_models.encoders.crops import crop_corners
from earthinstruct_models.encoders.open_clip import _tokenizer
from earthinstruct_models.encoders.table import ENCODERS as TABLE
from earthinstruct_models.weights import FOLDER_VARIABLE, WEIGHTS
from PIL import Image

from earthinstruct.errors import DataError

IMAGE = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (300, 400, 3), dtype=np.uint8)
BOXES = np.array([[10.0, 10, 200, 90], [300, 200, 30, 80]])
LABELS = ["storage_tank", "Ship"]
SENTENCES = ["a satellite image of a storage tank", "a satellite image of a Ship"]
TEXT = {"width": 32, "heads": 2, "layers": 2}
TOWER = {"width": 32, "head_width": 16, "layers": 2}  # of open_clip's own towers
TIMM = {  # arguments that make timm's towers small
    "vit_pe": {"depth": 2, "embed_dim": 48, "num_heads": 2},  # its rotations need a head of a multiple of 4
    "vit_base_mci": {"depth": 1},  # its stem has a width of its own
    "fastvit_mci0": {"layers": (1, 1, 1, 1), "embed_dims": (32, 32, 32, 32)},
    "fastvit_mci4": {"layers": (1, 1, 1, 1, 1), "embed_dims": (32, 32, 32, 32, 32)},
    "vit_": {"depth": 2, "embed_dim": 32, "num_heads": 2},
}
# what the published weights are to open_clip: an entry of its table, or a file with the options that the authors name
TAGS = {"pe-core": "meta", "siglip2": "webli", "mobileclip2": "dfndr2b", "metaclip2": "metaclip2_worldwide"}
TAGS |= {"dfn2b": "dfn2b_s39b"}
OPTIONS = {name: {"force_quick_gelu": True} for name in ("skyclip-l14", "farslip1-b32", "farslip2-b32")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The weights folder."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def gemma(folder):
    """A tokenizer with SigLIP 2's settings: no first token, <eos> at the end, filled on the right with <pad>.

    What stands around a text is in both files, as transformers 4 saved it; transformers 5 reads it from
    `tokenizer.json` alone.
    """
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
    words |= {letter: i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz▁", start=len(words))}
    pairs = [("s", "h"), ("sh", "i"), ("shi", "p"), ("▁", "a")]
    words |= {a + b: i for i, (a, b) in enumerate(pairs, start=len(words))}
    made = Tokenizer(models.BPE(words, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = processors.TemplateProcessing(
        single="$A:0 <eos>:0", pair="$A:0 <eos>:0 $B:1 <eos>:1", special_tokens=[("<eos>", 1)]
    )
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk", "mask")}
    settings = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right", "model_max_length": 64}
    return written(folder, made, {"tokenizer_class": "GemmaTokenizer", **settings, **names}, len(words))


def xlm_v(folder):
    """A tokenizer with the settings of XLM-V: <s>, the words and </s>, filled with <pad>."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    first = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(token, 0.0) for token in first] + [
        (f"▁{word}", -2.0) for word in ("a", "satellite", "image", "of", "Ship")
    ]
    pieces += [(letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"] + [("<mask>", 0.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.add_special_tokens([AddedToken(token, special=True) for token in (*first, "<mask>")])
    names = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>"}
    settings = {f"{name}_token": token for name, token in (names | {"mask": "<mask>"}).items()}
    return written(folder, made, {"tokenizer_class": "XLMRobertaTokenizer", **settings}, len(pieces))


def written(folder, tokenizer, settings, size):
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return size


simple_tokenizer = functools.cache(open_clip.SimpleTokenizer)  # it takes half a second to make
TOKENIZERS = {"siglip2-tokenizer": gemma, "xlm-v-tokenizer": xlm_v}


@pytest.fixture
def small(folder, monkeypatch):
    """Makes an architecture small, with the tokenizer that it needs."""
    from open_clip import factory
    from open_clip.timm_model import timm

    create = timm.create_model

    def small_tower(name, *arguments, **options):
        return create(name, *arguments, **options, **next(TIMM[start] for start in TIMM if name.startswith(start)))

    monkeypatch.setattr(timm, "create_model", small_tower)
    monkeypatch.setattr(factory, "SimpleTokenizer", simple_tokenizer)

    def make(name):
        entry = TABLE[name]
        config = open_clip.get_model_config(entry.architecture)
        config["text_cfg"] |= TEXT
        config["embed_dim"] = 32
        if "timm_model_name" not in config["vision_cfg"]:
            config["vision_cfg"] |= TOWER
        if entry.tokenizer is not None:
            config["text_cfg"]["vocab_size"] = TOKENIZERS[entry.tokenizer](WEIGHTS[entry.tokenizer].path)
        monkeypatch.setitem(factory._MODEL_CONFIGS, entry.architecture, config)
        return config

    return make


def published(name, path):
    """A file as it is published: the names of open_clip, random values that matter in every layer."""
    torch.manual_seed(len(name))
    model = open_clip.create_model(TABLE[name].architecture, load_weights=False, pretrained_text=False)
    state = model.state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.ndim == 4:  # of a convolution: what it makes of the image must not vanish on the way
            torch.nn.init.kaiming_normal_(value)
        elif value.is_floating_point() and value.ndim:
            value.add_(torch.randn_like(value), alpha=0.05)
    state["logit_scale"].fill_(4.2)
    if "logit_bias" in state:
        state["logit_bias"].fill_(-12.7)
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({"state_dict": state} if name.startswith("skyclip") else state, path)


def by_open_clip(name, path, config, monkeypatch):
    """Embeddings of the crops and the sentences, and the scale, by open_clip's own functions."""
    architecture = TABLE[name].architecture
    tag = TAGS.get(name.partition("-")[0], TAGS.get(name.rpartition("-")[0]))
    if tag is not None:  # with what its table says of this entry, but our file
        assert open_clip.get_pretrained_cfg(architecture, tag)
        monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *_, **__: str(path))
    model, _, preprocess = open_clip.create_model_and_transforms(
        architecture, pretrained=str(path) if tag is None else tag, **OPTIONS.get(name, {})
    )
    tokenizer = TABLE[name].tokenizer
    if tokenizer is None:
        tokenize = open_clip.get_tokenizer(architecture)
    else:
        folder = WEIGHTS[tokenizer].path
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
        (folder / "open_clip_config.json").unlink()
    pictures = [Image.fromarray(IMAGE).crop(corners) for corners in crop_corners(BOXES, 400, 300)]
    with torch.inference_mode():
        model.eval()
        images = model.encode_image(torch.stack([preprocess(picture) for picture in pictures]), normalize=True)
        tokens = tokenize(SENTENCES)
        return images.numpy(), model.encode_text(tokens, normalize=True).numpy(), model.logit_scale.exp().item(), tokens


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("error:QuickGELU mismatch")
def test_an_encoder_of_the_table_embeds_as_open_clip_does(name, small, monkeypatch):
    config = small(name)
    path = WEIGHTS[name].path
    published(name, path)
    images, texts, scale, tokens = by_open_clip(name, path, config, monkeypatch)
    encoder = ENCODERS[name].make({"device": "cpu"}).part
    assert np.allclose(encoder.embed_crops(IMAGE, BOXES), images, atol=1e-6)
    assert np.allclose(encoder.embed_labels(LABELS), texts, atol=1e-6)
    assert abs(images[0] - images[1]).max() > 1e-3 < abs(texts[0] - texts[1]).max()
    assert encoder.logit_scale == scale == pytest.approx(np.exp(4.2))
    assert tokens.shape[1] == open_clip.get_model_config(TABLE[name].architecture)["text_cfg"]["context_length"]


@pytest.mark.parametrize(
    ("name", "text", "tokens", "pad"),
    [
        # canonicalised: in lower case, without punctuation; "a", "▁", "ship"
        ("siglip2-b16", "A ship!", [5, 31, 34, 1], 0),
        # <s>, "▁a", "▁Ship", </s>: upper case stays
        ("metaclip2-h14", "a  Ship", [0, 4, 8, 2], 1),
    ],
)
def test_a_sentence_becomes_the_tokens_that_the_model_was_trained_with(name, text, tokens, pad, folder, small):
    config = small(name)
    made = _tokenizer(TABLE[name].architecture, WEIGHTS[TABLE[name].tokenizer].path)([text]).tolist()
    assert made == [tokens + [pad] * (config["text_cfg"]["context_length"] - len(tokens))]


def test_a_tokenizer_that_is_not_here_is_named_with_its_files(folder):
    WEIGHTS["siglip2-b16"].path.touch()
    (line,) = ENCODERS["siglip2-b16"].missing("encoder", {})
    assert line.startswith("weights siglip2-tokenizer: earthinstruct weights fetch siglip2-tokenizer, or get the files")
    assert line.endswith(
        f"from https://huggingface.co/timm/ViT-B-16-SigLIP2 and put them at {folder}/siglip2-tokenizer"
    )
    with pytest.raises(DataError, match=r"siglip2-tokenizer are not at .*fetch siglip2-tokenizer"):
        ENCODERS["siglip2-b16"].make({})
    assert ENCODERS["siglip2-b16"].missing("encoder", {"tokenizer": folder}) == []
    assert len(ENCODERS["metaclip2-h14"].missing("encoder", {})) == 2  # its weights, and its tokenizer
