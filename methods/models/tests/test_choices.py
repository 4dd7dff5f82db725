"""Parts by name: what they take, what they lack, which parameter goes where, what they say of themselves."""

import inspect

import numpy as np
import pytest
from earthinstruct_models.choices import (
    ENCODERS,
    LVLMS,
    PROPOSERS,
    distributed,
    missing_place,
    still_needed,
)
from earthinstruct_models.devices import missing_device

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

TABLES = {"proposer": PROPOSERS, "encoder": ENCODERS, "lvlm": LVLMS}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, table in TABLES.items() for name in table])
def test_every_choice_can_be_imported_and_tells_its_parameters(part, name):
    parameters = TABLES[part][name].parameters()
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    assert "name" not in parameters


def test_parameters_of_what_is_inside_a_part_are_the_parts(monkeypatch, tmp_path):
    assert {"replies", "model", "concurrency"} <= set(LVLMS["openai"].parameters())
    assert LVLMS["openai"].required({}) == ["model"]
    assert still_needed("lvlm", "openai", LVLMS["openai"], {}) == [
        "lvlm 'openai' needs model: give -M lvlm.model=VALUE"
    ]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    made = LVLMS["openai"].make({"model": "tiny", "replies": tmp_path / "r.jsonl"})
    assert made.model == "tiny"
    assert (tmp_path / "r.jsonl").parent.is_dir()
    made.close()


def test_a_number_of_numpy_reaches_a_language_model(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    made = LVLMS["openai"].make({"model": "tiny", "max_tokens": np.int64(100)})
    made.close()
    assert type(made.describe()["max_tokens"]) is int


def test_a_server_needs_a_key_or_an_address(monkeypatch):
    (line,) = LVLMS["openai"].missing("lvlm", {})
    assert line.startswith("environment variable OPENAI_API_KEY or OPENAI_BASE_URL: set the key, or the address of")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "https://key.example")
            assert LVLMS["openai"].missing("lvlm", {}) == []


def test_a_malformed_key_or_address_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    (line,) = LVLMS["openai"].missing("lvlm", {})
    assert "OPENAI_BASE_URL must be an address such as http://localhost:8000/v1" in line
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\n1")
    (line,) = LVLMS["openai"].missing("lvlm", {})
    assert "OPENAI_API_KEY has characters that no key has" in line
    assert "sk-" not in line


def test_weights_are_looked_for_unless_they_are_given(tmp_path):
    georsclip = ENCODERS["georsclip-l14"]
    assert georsclip.missing("encoder", {})[0].startswith("weights georsclip-l14: ")
    (tmp_path / "own.pt").touch()
    assert georsclip.missing("encoder", {"checkpoint": tmp_path / "own.pt"}) == []
    with pytest.raises(DataError, match="fetch georsclip-l14"):
        georsclip.make({})
    assert PROPOSERS["sam2"].required({}) == []
    assert PROPOSERS["sam2"].required({"model": "own.yaml"}) == ["checkpoint"]


def test_a_parameter_goes_to_the_part_that_takes_it():
    chosen = {"proposer": PROPOSERS["sam2"], "lvlm": LVLMS["openai"]}
    assert distributed("m", chosen, {"points_per_side": 32, "lvlm.model": "x", "replies": "r", "device": "cpu"}) == {
        "proposer": {"points_per_side": 32, "device": "cpu"},
        "lvlm": {"model": "x", "replies": "r"},
    }
    with pytest.raises(EarthInstructError, match=r"-M proposer\.model=VALUE or -M lvlm\.model=VALUE"):
        distributed("m", chosen, {"model": "x"})
    with pytest.raises(UnknownNameError, match=r"parameter of the lvlm of method 'm' 'modle'; did you mean 'model'\?"):
        distributed("m", chosen, {"lvlm.modle": "x"})


def test_every_parameter_that_names_a_file_or_a_folder_is_looked_at(tmp_path):
    """By the kind: a new parameter that takes a path is looked at too, or this fails."""
    (tmp_path / "file").touch()
    for part, table in TABLES.items():
        for name, choice in table.items():
            for key, parameter in choice.parameters().items():
                if "Path" not in str(parameter.annotation):
                    continue
                taken = {"replies": tmp_path, "cache": tmp_path / "file"}  # made when they are not there
                wrong = taken.get(key, tmp_path / "none")
                lines = choice.missing(part, {key: str(wrong), "model": "m"} if key != "model" else {key: str(wrong)})
                assert any(f"{key} {wrong}: " in line for line in lines), (part, name, key)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("FILE", "file", ["folder", "none"]),
        ("DIR", "folder", ["file", "none"]),
        ("PATH", "file", ["none"]),
        ("NEW FILE", "none", ["folder"]),
        ("NEW DIR", "none", ["file"]),
    ],
)
def test_a_path_is_of_its_kind(tmp_path, kind, right, wrong):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert missing_place(tmp_path / right, "encoder.checkpoint", kind) == []
    for name in wrong:
        (line,) = missing_place(tmp_path / name, "encoder.checkpoint", kind)
        assert line.startswith(f"checkpoint {tmp_path / name}: it ")
        assert line.endswith(f"give -M encoder.checkpoint={kind.removeprefix('NEW ')}")


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        (None, None),
        ("cpu", None),
        ("gpu", "torch knows no such device"),
        ("meta", "torch knows no such device"),
        ("cuda:99", "device cuda:99: "),
    ],
)
def test_a_device_that_is_not_there_is_named(device, problem):
    lines = ENCODERS["open_clip"].missing("encoder", {"device": device, "architecture": "ViT-L-14"})
    assert len(lines) == (problem is not None)
    assert all(problem in line and "give -M device=" in line for line in lines)


def test_a_second_gpu_is_not_there_where_there_is_one(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert missing_device("cuda") == missing_device("cuda:0") == []
    (line,) = missing_device("cuda:1", "encoder.device")
    assert line.startswith("device cuda:1: this machine has 1: cuda:0 to cuda:0; give -M encoder.device=")


def test_a_folder_of_a_model_must_hold_one(tmp_path):
    (line,) = LVLMS["transformers"].missing("lvlm", {"folder": tmp_path})
    assert "no config.json" in line
    (tmp_path / "config.json").touch()
    (line,) = LVLMS["transformers"].missing("lvlm", {"folder": tmp_path})
    assert "no *.safetensors" in line
    (tmp_path / "model.safetensors").touch()
    assert LVLMS["transformers"].missing("lvlm", {"folder": tmp_path}) == []


def test_a_checkpoint_of_ones_own_needs_an_architecture(tmp_path):
    (tmp_path / "own.pt").touch()
    open_clip = ENCODERS["open_clip"]
    (line,) = open_clip.missing("encoder", {"checkpoint": tmp_path / "own.pt"})
    assert "give -M encoder.architecture=NAME" in line
    (line,) = open_clip.missing("encoder", {"checkpoint": tmp_path / "own.pt", "architecture": "ViT-B-16-SigLIP"})
    assert "open_clip would download it; get it yourself and give its folder as tokenizer" in line
    with pytest.raises(UnknownNameError, match="did you mean 'ViT-L-14'"):
        open_clip.missing("encoder", {"checkpoint": tmp_path / "own.pt", "architecture": "ViT-L14"})
