"""Parts by name: what they take, what they lack, which parameter goes where, what they say of themselves."""

import inspect

import pytest
from earthinstruct_models.choices import (
    ENCODERS,
    LVLMS,
    PROPOSERS,
    choice_of,
    distributed,
    still_needed,
)

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
    parameters = choice_of(part, name, TABLES[part]).parameters()
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    assert "name" not in parameters


def test_an_unknown_choice_is_answered_with_the_closest():
    with pytest.raises(UnknownNameError, match="did you mean 'georsclip-l14'"):
        choice_of("encoder", "georsclip", ENCODERS)


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


def test_a_server_needs_a_key_or_an_address(monkeypatch):
    (lacking,) = LVLMS["openai"].lacks({})
    assert lacking.startswith("environment variable OPENAI_API_KEY or OPENAI_BASE_URL: set the key, or the address of")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "something")
            assert LVLMS["openai"].lacks({}) == []


def test_weights_are_looked_for_unless_they_are_given():
    georsclip = ENCODERS["georsclip-l14"]
    assert georsclip.lacks({})[0].startswith("weights georsclip-l14: ")
    assert georsclip.lacks({"checkpoint": "own.pt"}) == []
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
    with pytest.raises(UnknownNameError, match=r"parameter of method 'm' 'lvlm\.modle'; did you mean 'lvlm\.model'"):
        distributed("m", chosen, {"lvlm.modle": "x"})
