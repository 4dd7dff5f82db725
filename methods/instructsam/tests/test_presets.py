"""Which parameter reaches which part; what presets choose; what they lack on this machine."""

import inspect
import sys

import pytest
from earthinstruct_instructsam.choices import CHOICES, PARTS
from earthinstruct_instructsam.method import InstructSAM
from earthinstruct_instructsam.presets import PRESETS
from earthinstruct_models.choices import distributed
from earthinstruct_models.devices import best_device

from earthinstruct.cli import main as earthinstruct
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.registry import make_method, parse_parameters

PAPER = {"counter": CHOICES["counter"]["openai"], "proposer": CHOICES["proposer"]["sam2"]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_names_choices_and_parameters_that_exist(preset):
    chosen = {part: CHOICES[part][PRESETS[preset][part]] for part in PARTS if part in PRESETS[preset]}
    given = {key: value for key, value in PRESETS[preset].items() if "." in key}
    assert sum(map(len, distributed("instructsam", chosen, given).values())) == len(given)


@pytest.mark.parametrize("preset", ["paper-gpt4o", "paper-qwen"])
def test_presets_of_the_paper_are_the_authors_code(preset):
    chosen = PRESETS[preset]
    counter = {"paper-gpt4o": ("reply_format", "plain"), "paper-qwen": ("max_new_tokens", 5000)}[preset]
    assert chosen[f"counter.{counter[0]}"] == counter[1]
    assert chosen["proposer.dtype"] == "float32"
    assert (chosen["encoder.crop_rounding"], chosen["encoder.keep_underscores"]) == ("nearest", True)


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in PARTS for name in CHOICES[part]])
def test_every_choice_can_be_imported_and_tells_its_parameters(part, name):
    parameters = CHOICES[part][name].parameters()
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    assert not set(parameters) & {"lvlm", "name"}


def test_a_parameter_goes_to_the_part_that_takes_it():
    assert distributed("instructsam", PAPER, {"points_per_side": 32, "counter.model": "m", "device": "cpu"}) == {
        "counter": {"model": "m"},
        "proposer": {"points_per_side": 32, "device": "cpu"},
    }
    local = {**PAPER, "counter": CHOICES["counter"]["transformers"]}
    assert distributed("instructsam", local, {"device": "cuda"}) == {
        "counter": {"device": "cuda"},
        "proposer": {"device": "cuda"},
    }
    assert distributed("instructsam", local, {"proposer.device": "cpu"})["counter"] == {}


def test_a_parameter_that_two_parts_take_must_say_whose_it_is():
    with pytest.raises(EarthInstructError, match=r"-M counter\.model=VALUE or -M proposer\.model=VALUE"):
        distributed("instructsam", PAPER, {"model": "x"})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"limt": 3}, r"did you mean 'limit'.*The proposer takes cache, limit"),
        ({"encoder.limit": 3}, "unknown parameter of the encoder of method 'instructsam' 'limit'"),
        ({"assignmnt": "nearest"}, "did you mean 'assignment'"),
        ({"clip.device": "cpu"}, "unknown parameter"),
    ],
)
def test_a_parameter_that_no_part_takes_is_answered_with_those_there_are(parameters, message):
    with pytest.raises(UnknownNameError, match=message):
        InstructSAM(**parameters)


def test_parameters_from_the_command_line_reach_their_parts_and_the_record():
    pairs = ["limit=5", "encoder.batch_size=3", "encoder.device=cpu", "crops=device"]
    method = make_method("instructsam", parse_parameters(pairs))
    assert (method.proposer.limit, method.encoder.batch_size) == (5, 3)
    described = method.describe()
    assert described["parameters"]["proposer.limit"] == 5
    assert described["parameters"]["encoder.crops"] == "device"
    assert described["parameters"]["encoder"] == described["parameters"]["counter"] == "small"
    assert described["device"] == "cpu"
    assert described["training_data"] == {"counter": ["scenes"], "proposer": [], "encoder": ["scenes"]}
    assert described["deterministic"] is True
    assert {entry["name"] for entry in described["weights"]} == {
        "counter-scenes.safetensors",
        "clip-scenes.safetensors",
    }


def test_another_choice_of_a_part_drops_what_the_preset_gave_the_first():
    lacking = InstructSAM.missing(preset="paper-gpt4o", counter="small", encoder="small")
    assert len(lacking) == 1
    assert lacking[0].startswith("weights sam2_hiera_l: ")


@pytest.mark.parametrize(
    ("parameters", "lacking"),
    [
        ({"preset": "small"}, []),
        ({"preset": "paper-gpt4o"}, ["environment variable OPENAI_API_KEY", "sam2_hiera_l", "georsclip-l14"]),
        ({"preset": "paper-qwen"}, ["weights qwen2.5-vl-7b", "sam2_hiera_l", "georsclip-l14"]),
        ({"preset": "fast"}, ["environment variable OPENAI_API_KEY", "sam2_hiera_s", "skyclip-b32"]),
        ({"preset": "fast", "proposer.model": "sam2.1_hiera_b+"}, ["OPENAI", "sam2.1_hiera_b+", "skyclip-b32"]),
        ({"encoder": "remoteclip-b32"}, ["weights remoteclip-b32"]),
        ({"encoder": "remoteclip-b32", "checkpoint": "own.pt"}, ["checkpoint own.pt: it does not exist"]),
        (
            {"preset": "recorded", "images": "a", "counts": "b", "proposals": "c", "checkpoint": "d"},
            ["counts b", "images a", "proposals c", "checkpoint d", "-M encoder.architecture=NAME"],
        ),
        ({"device": "gpu"}, [f"device gpu: torch knows no such device; give -M device={best_device()}"]),
        ({"weights": "w", "cache": __file__}, ["it is not a folder; give -M cache=DIR", "weights w"]),
        ({"counter": "recorded"}, ["-M counter.counts=DIR", "-M images=DIR"]),
    ],
)
def test_what_is_missing_is_named(parameters, lacking, monkeypatch):
    monkeypatch.setattr("earthinstruct_models.choices.missing_packages", lambda _: [])
    found = InstructSAM.missing(**parameters)
    assert len(found) == len(lacking)
    assert all(words in line for words, line in zip(lacking, found, strict=True))


def test_a_server_that_is_not_openais_needs_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert InstructSAM.missing(counter="openai", model="m") == []


def test_a_package_that_is_not_there_is_one_error_before_the_first_image(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "sam2", None)  # as where it is not installed
    given = ("-M", "proposer=sam2", "-M", f"proposer.checkpoint={__file__}", "-M", "device=gpu")
    assert earthinstruct(["evaluate", "--method", "instructsam", *given, "--output", "runs"]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "error: method 'instructsam' cannot run on this machine. Nothing was run. Missing:",
        "  package sam2: pip install --no-build-isolation sam2",
        f"  device gpu: torch knows no such device; give -M device={best_device()}, or leave it out",
    ]
    assert (out, list(tmp_path.iterdir())) == ("", [])


def test_doctor_says_where_weights_come_from_and_where_they_go(folder, capsys):
    assert earthinstruct(["doctor", "--method", "instructsam", "-M", "encoder=skyclip-b32"]) == 1
    out = capsys.readouterr().out
    assert "fetch skyclip-b32" in out
    assert str(folder / "skyclip-b32.pt") in out
    assert earthinstruct(["doctor", "--method", "instructsam"]) == 0
    assert "ok       method instructsam" in capsys.readouterr().out
    assert earthinstruct(["doctor", "-M", "encoder=small"]) == 2
    assert "give --method NAME" in capsys.readouterr().err


def test_a_method_made_without_its_weights_says_the_same():
    with pytest.raises(DataError, match="fetch sam2_hiera_l"):
        InstructSAM(proposer="sam2")
