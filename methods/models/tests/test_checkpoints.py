"""Checkpoints load as they are published; what would run code, or is of another kind, is refused by its name.

A file of full size has the published names and shapes, and one number for each weight: it takes no memory.
"""

import argparse
import collections
import datetime
import math
import pathlib
import types

import numpy as np
import pytest
import torch
from earthinstruct_models.checkpoints import load_weights, read_weights, uninitialised
from earthinstruct_models.choices import ENCODERS, PROPOSERS
from earthinstruct_models.encoders.open_clip import OpenClipEncoder
from earthinstruct_models.encoders.table import ENCODERS as NAMED
from earthinstruct_models.proposers.sam2_model import MODELS
from earthinstruct_models.weights import FOLDER_VARIABLE, WEIGHTS

from earthinstruct.errors import DataError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The weights folder."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def of_shapes(shapes):
    """Weights of these shapes without memory."""
    return {name: torch.full((), 0.5).expand(shape) for name, shape in shapes.items()}


def is_shared(tensor):
    """Whether it is still the one number of the file: it was not copied."""
    return tensor.untyped_storage().nbytes() == tensor.element_size()


# ---------------------------------------------------------------- training checkpoints


def trained():
    """A training checkpoint as scripts write them, and its weights."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    schedulers = [
        torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3]),
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
    ]
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    settings = argparse.Namespace(lr=np.float32(0.1), folder=pathlib.Path("runs"), nested=argparse.Namespace(x=[1]))
    return network.state_dict(), {
        "optimizer": optimizer.state_dict(),
        "schedulers": [scheduler.state_dict() for scheduler in schedulers],
        "args": settings,
        "config": types.SimpleNamespace(name="x"),
        "epoch": np.int64(3),
        "best": {np.int32(1): np.float64(0.5), "f1": np.bool_(True)},
        "history": np.arange(6.0).reshape(2, 3),
        "names": np.array(["ship", "plane"]),
        "random": np.random.RandomState(0).get_state(),
        "losses": collections.defaultdict(list, a=[1.0]),
        "last": collections.deque([1, 2], maxlen=5),
        "counts": collections.Counter("abc"),
        "started": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "dtype": np.dtype("float32"),
        "types": [np.float32, int],
    }


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


FORMS = {
    "model": lambda state, more: {"model": state, **more},
    "state_dict with module.": lambda state, more: {"state_dict": prefixed(state, "module."), **more},
    "nested": lambda state, more: {"model": {"state_dict": state}, **more},
    "model_state_dict compiled": lambda state, more: {
        "model_state_dict": prefixed(state, "module._orig_mod."),
        **more,
    },
    "beside the weights": lambda state, more: {**state, **more},
}


@pytest.mark.parametrize("whole", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("form", FORMS)
def test_the_weights_of_a_training_checkpoint_are_read(tmp_path, form, whole):
    state, more = trained()
    torch.save(FORMS[form](state, more), tmp_path / "last.pth", _use_new_zipfile_serialization=whole)
    weights = read_weights(tmp_path / "last.pth", "checkpoint")
    assert set(weights) == {"weight", "bias"}
    assert all(torch.equal(value, state[key]) for key, value in weights.items())


def test_a_checkpoint_of_numpy_1_is_read(tmp_path, monkeypatch):
    """NumPy 1 pickles its numbers under the names numpy.core."""
    old = types.ModuleType("numpy.core.multiarray")
    old.scalar = lambda *_: None
    old.scalar.__module__, old.scalar.__qualname__ = "numpy.core.multiarray", "scalar"

    class Number:
        def __reduce__(self):
            return old.scalar, (np.dtype("f8"), b"12345678")

    monkeypatch.setitem(__import__("sys").modules, "numpy.core.multiarray", old)
    torch.save({"model": {"weight": torch.ones(2)}, "epoch": Number()}, tmp_path / "last.pth")
    assert set(read_weights(tmp_path / "last.pth", "checkpoint")) == {"weight"}


class Opened:
    """A pickle of it opens a file."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


@pytest.mark.parametrize(
    "hide",
    [
        lambda code: argparse.Namespace(x=code),
        lambda code: np.array([code], dtype=object),
        lambda code: collections.defaultdict(list, a=[code]),
        lambda code: types.SimpleNamespace(x=code),
    ],
    ids=["namespace", "array", "defaultdict", "simple namespace"],
)
def test_code_inside_of_what_is_data_is_refused_by_its_name(tmp_path, hide):
    torch.save({"model": {}, "args": hide(Opened(tmp_path / "ran"))}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"checkpoint .*a\.pt cannot be read: it holds _?io\.open, which may run code"):
        read_weights(tmp_path / "a.pt", "checkpoint")
    assert not (tmp_path / "ran").exists()


def test_a_whole_network_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "network.pt")
    with pytest.raises(DataError, match=r"it holds torch\.nn\.modules\.linear\.Linear, which may run code"):
        read_weights(tmp_path / "network.pt", "checkpoint")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_refused_by_its_name(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1)), tmp_path / "ViT-L-14.pt")
    with pytest.raises(DataError, match=r"ViT-L-14\.pt is a TorchScript archive, which holds code.*state_dict"):
        read_weights(tmp_path / "ViT-L-14.pt", "CLIP checkpoint")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1], "found a list"),
        ({"epoch": 1, "args": argparse.Namespace()}, r"found a dictionary with 2 keys \(epoch, args\)"),
        ({"model": {"state_dict": {}}}, r"found a dictionary with 1 keys \(model\)"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path, content, found):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=f"holds no weights: expected a state dict, or one under 'model' .*; {found}"):
        read_weights(tmp_path / "a.pt", "checkpoint")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"<html>404</html>", b"\x80\x02}q\x00."[:3]])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"checkpoint .*{name} cannot be read"):
        read_weights(tmp_path / name, "checkpoint")


def test_whatever_byte_of_the_directory_of_a_file_is_damaged_it_is_read_or_refused(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "whole.pt")
    whole, refused = (tmp_path / "whole.pt").read_bytes(), 0
    start = whole.index(b"PK\x01\x02")
    for place in range(start, len(whole)):
        (tmp_path / "a.pt").write_bytes(whole[:place] + b"\xbb" + whole[place + 1 :])
        try:
            read_weights(tmp_path / "a.pt", "checkpoint")
        except DataError:
            refused += 1
    assert refused > (len(whole) - start) // 4


def test_a_network_takes_the_weights_of_the_file_as_they_are():
    with uninitialised():
        network = torch.nn.Sequential(torch.nn.Linear(2000, 3000), torch.nn.BatchNorm1d(3000))
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    load_weights(network, of_shapes(shapes), "no", "no")
    assert all(is_shared(value) for value in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_nothing_is_left_unfilled_by_the_weights():
    torch.manual_seed(0)
    with uninitialised():
        network = torch.nn.Linear(3, 2)
    filled = torch.nn.Linear(3, 2)  # and the context ends
    assert filled.weight.abs().max() > 0
    with pytest.raises(DataError, match=r"it is not: 1 weights \(bias\) missing, none unexpected; look"):
        load_weights(network, {"weight": torch.zeros(2, 3)}, "it is not", "look")
    with pytest.raises(DataError, match=r"it is not: size mismatch for weight: .*\[2, 4\].*\[2, 3\].*; look"):
        load_weights(network, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "it is not", "look")


# ---------------------------------------------------------------- CLIP


def of_blocks(prefix, layers, width):
    """The names of a transformer's weights in OpenAI's CLIP."""
    of_block = {
        **{f"ln_{i}.{name}": (width,) for i in (1, 2) for name in ("weight", "bias")},
        **{"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,)},
        **{"attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,)},
        **{"mlp.c_fc.weight": (4 * width, width), "mlp.c_fc.bias": (4 * width,)},
        **{"mlp.c_proj.weight": (width, 4 * width), "mlp.c_proj.bias": (width,)},
    }
    return {
        f"{prefix}transformer.resblocks.{i}.{name}": shape for i in range(layers) for name, shape in of_block.items()
    }


def clip(embedding, width, layers, patch, vision, text=12):
    """The published names and shapes of a CLIP for images of 224 pixels and 77 tokens."""
    return {
        **{"positional_embedding": (77, width), "text_projection": (width, embedding), "logit_scale": ()},
        **{"token_embedding.weight": (49408, width), "ln_final.weight": (width,), "ln_final.bias": (width,)},
        **of_blocks("", text, width),
        **{"visual.class_embedding": (vision,), "visual.proj": (vision, embedding)},
        "visual.positional_embedding": ((224 // patch) ** 2 + 1, vision),
        "visual.conv1.weight": (vision, 3, patch, patch),
        **{f"visual.ln_{at}.{name}": (vision,) for at in ("pre", "post") for name in ("weight", "bias")},
        **of_blocks("visual.", layers, vision),
    }


CLIPS = {
    "b32": clip(512, 512, 12, 32, 768),
    "l14": clip(768, 768, 24, 14, 1024),
    "h14": clip(1024, 1024, 32, 14, 1280, 24),
}
PARAMETERS = {"b32": 151_277_313, "l14": 427_616_513, "h14": 986_109_441}  # as the models of OpenAI and LAION have
AS_PUBLISHED = {
    "georsclip": lambda state: state,
    "remoteclip": lambda state: state,
    "skyclip": lambda state: {
        **{"epoch": 20, "name": "run", "state_dict": prefixed(state, "module.")},
        **{"optimizer": {"state": {}, "param_groups": []}, "scaler": {"scale": 1.0}},
    },
    "dfn2b": lambda state: state,
    "farslip1": lambda state: state,
    "farslip2": lambda state: state,
}


@pytest.mark.parametrize("name", [name for name in NAMED if name.partition("-")[0] in AS_PUBLISHED])
def test_every_encoder_loads_a_file_of_its_published_names_and_shapes(folder, name, caplog):
    family, size = name.split("-")
    torch.save(AS_PUBLISHED[family](of_shapes(CLIPS[size])), WEIGHTS[name].path)
    model = ENCODERS[name].make({"device": "cpu"}).part._model
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[size]
    assert all(is_shared(parameter) for parameter in model.parameters())
    assert torch.equal(model.attn_mask, torch.full((77, 77), -torch.inf).triu(1))  # the file does not hold it
    assert not any("random" in record.message for record in caplog.records)


# published by timm in the names of open_clip, as it saves its model. Millions of parameters: as their pages list them,
# where they do; those of PE-Core leave out the embeddings of the 49,408 tokens
OF_TIMM = {
    **{"pe-core-b16": 90 + 310, "pe-core-l14": 320 + 310, "pe-core-g14": 1880 + 470},
    **{"mobileclip2-s0": 11.4 + 63.4, "mobileclip2-b": 86.3 + 63.4},
}


@pytest.mark.parametrize("name", [name for name in NAMED if name.partition("-")[0] not in AS_PUBLISHED])
def test_every_encoder_of_timm_loads_a_file_of_its_published_names_and_shapes(folder, name, monkeypatch):
    import open_clip

    with uninitialised():
        model = open_clip.create_model(NAMED[name].architecture, load_weights=False, pretrained_text=False)
    state = model.state_dict()
    torch.save(of_shapes({key: tuple(value.shape) for key, value in state.items()}), folder / "full.pt")
    if NAMED[name].tokenizer is not None:  # too large for a test; `test_encoders_published.py` has small ones
        WEIGHTS[NAMED[name].tokenizer].path.mkdir()
        monkeypatch.setattr("earthinstruct_models.encoders.open_clip._tokenizer_of_folder", lambda *_: None)
    encoder = ENCODERS[name].make({"device": "cpu", "checkpoint": folder / "full.pt"}).part
    assert all(is_shared(parameter) for parameter in encoder._model.parameters())
    assert encoder.logit_scale == pytest.approx(math.exp(0.5))
    if name in OF_TIMM:
        tokens = model.text.token_embedding.weight.numel() if name.startswith("pe-core") else 0
        assert (encoder.weight_bytes / 4 - tokens) / 1e6 == pytest.approx(OF_TIMM[name], rel=0.016)


@pytest.fixture
def embed(tiny_clip, tmp_path):
    """Embeds a label with a checkpoint of this content."""

    def run(content):
        torch.save(content, tmp_path / "clip.pt")
        return OpenClipEncoder(tmp_path / "clip.pt", config=tiny_clip[0], device="cpu").embed_labels(["ship"])

    return run


EXTRA = {
    "constants of OpenAI's releases": {
        "attn_mask": torch.zeros(16, 16),
        **{key: torch.tensor(1) for key in ("input_resolution", "context_length", "vocab_size")},
    },
    "a parameter of SigLIP's loss": {"logit_bias": torch.tensor(-10.0)},
    "positions of an old transformers": {"text.transformer.embeddings.position_ids": torch.arange(16)},
    "a scale in brackets": {"logit_scale": torch.tensor([4.6])},
}


@pytest.mark.parametrize("extra", EXTRA.values(), ids=EXTRA)
def test_a_clip_loads_with_what_no_embedding_depends_on(tiny_clip, embed, extra):
    state = tiny_clip[1].state_dict()
    assert np.array_equal(embed({**state, **extra}), embed(state))
    with pytest.raises(DataError, match=r"1 weights \(other\) unexpected"):
        embed({**state, **extra, "other": torch.zeros(1)})


def test_the_text_encoder_of_longclip_is_refused_by_its_name(tiny_clip, embed):
    state = tiny_clip[1].state_dict()
    longer = {key: torch.zeros(248, 16) for key in ("positional_embedding", "positional_embedding_res")}
    masks = {key: torch.zeros(248, 1) for key in ("mask1", "mask2")}  # in FarSLIP ViT-B-16
    for more in ({}, masks):
        with pytest.raises(DataError, match=r"has the text encoder of LongCLIP.*248 tokens.*; take a checkpoint with"):
            embed({**state, **longer, **more})


# ---------------------------------------------------------------- SAM2

# millions of parameters, as the package's README lists them for both releases
SAM2_SIZES = {"t": 38.9, "s": 46, "b+": 80.8, "l": 224.4}


@pytest.mark.parametrize("model", MODELS)
def test_every_sam2_loads_a_file_of_its_published_names_and_shapes(folder, model):
    pytest.importorskip("sam2", reason="the package sam2 is not installed")
    from importlib.resources import files

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    config = OmegaConf.load(str(files("sam2") / "configs" / model.partition("_")[0] / f"{model}.yaml"))
    with uninitialised():
        shapes = {key: tuple(value.shape) for key, value in instantiate(config.model).state_dict().items()}
    torch.save({"model": of_shapes(shapes)}, WEIGHTS[model].path)
    network = PROPOSERS["sam2"].make({"model": model, "device": "cpu"}).part._network
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(
        SAM2_SIZES[model[-2:].strip("_")], abs=0.1
    )
    assert all(is_shared(parameter) for parameter in network.parameters())
