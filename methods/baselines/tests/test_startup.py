"""Importing a method loads no torch; what it lacks on this machine is said, with where to get it."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from earthinstruct_baselines.florence2 import Florence2
from earthinstruct_baselines.grounding_dino import GroundingDino
from earthinstruct_baselines.omdet_turbo import OmDetTurbo
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_baselines.sam3 import SAM3

from earthinstruct.cli import main
from earthinstruct.errors import DataError
from earthinstruct.registry import METHODS, plugins


def test_no_entry_point_imports_torch():
    modules = {plugin.entry_point.module for plugin in plugins(METHODS).values() if "baselines" in plugin.distribution}
    assert len(modules) > 1
    code = f"import sys, importlib\nfor m in {sorted(modules)}: importlib.import_module(m)\n"
    heavy = "[m for m in ('torch', 'transformers', 'torchvision', 'open_clip', 'openai') if m in sys.modules]"
    done = subprocess.run([sys.executable, "-c", f"{code}print({heavy})"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("method", "parameters", "said"),
    [
        ("grounding-dino", [], ["grounding-dino-base from https://huggingface.co/IDEA-Research/grounding-dino-base"]),
        ("mm-grounding-dino", [], ["mm_grounding_dino_tiny_o365v1_goldg_v3det"]),
        ("llmdet", [], ["iSEE-Laboratory/llmdet_large"]),
        ("omdet-turbo", [], ["omlab/omdet-turbo-swin-tiny-hf"]),
        ("owlv2", [], ["google/owlv2-large-patch14-ensemble"]),
        ("sam3", [], ["facebook/sam3"]),
        ("sam3-litetext", [], ["vil-uob/sam3-litetext-s0"]),
        ("florence-2", [], ["florence-community/Florence-2-large"]),
        ("lvlm-boxes", ["family=qwen2.5-vl"], ["Qwen/Qwen2.5-VL-7B-Instruct"]),
        ("lvlm-boxes", ["family=qwen3-vl"], ["Qwen/Qwen3-VL-8B-Instruct"]),
        ("lvlm-boxes", ["family=gemini", "lvlm=openai"], ["OPENAI_API_KEY or OPENAI_BASE_URL", "-M lvlm.model=VALUE"]),
        ("lvlm-boxes", ["family=internvl"], ["-M lvlm.folder=DIR"]),
        ("lvlm-boxes", [], ["give -M family=NAME"]),
        ("lae-label", [], ["sam2_hiera_l", "OPENAI_API_KEY", "-M lvlm.model=VALUE"]),
        ("lvlm-owl", ["weights=own", "model=m"], ["OPENAI_API_KEY", "weights own: it does not exist"]),
        ("lvlm-sam3", ["lvlm=transformers"], ["Qwen/Qwen2.5-VL-7B-Instruct", "facebook/sam3"]),
        ("lvlm-sam3", ["finder=llmdet", "model=m"], ["OPENAI_API_KEY", "iSEE-Laboratory/llmdet_large"]),
        ("owlv2", ["weights=own", "device=gpu"], ["device gpu: torch knows no such device", "-M weights=DIR"]),
        (
            "lvlm-boxes",
            ["family=qwen2.5-vl", "lvlm.folder=own"],
            ["folder own: it does not exist; give -M lvlm.folder=DIR"],
        ),
        ("faster-rcnn", [], ["-M weights=VALUE", "-M classes=VALUE"]),
        ("faster-rcnn", ["weights=w", "classes=c"], ["weights w: it does not exist", "classes c: it does not exist"]),
        ("clip-threshold", ["proposer=segments"], ["georsclip-l14"]),
    ],
)
def test_doctor_says_what_a_method_lacks_and_where_it_goes(method, parameters, said, folder, capsys):
    options = [option for pair in parameters for option in ("-M", pair)]
    assert main(["doctor", "--method", method, *options]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing")]
    assert len(lines) == len(said)
    assert all(words in line for words, line in zip(said, lines, strict=True))
    if "huggingface" in said[0]:
        assert str(folder) in lines[0]


def test_weights_are_found_in_the_weights_folder(folder, owlv2_weights, image):
    with pytest.raises(DataError, match=r"the weights owlv2-large are not at .*owlv2-large-patch14-ensemble"):
        OWLv2(device="cpu")
    shutil.copytree(owlv2_weights, folder / "owlv2-large-patch14-ensemble")
    found, given = OWLv2(device="cpu"), OWLv2(owlv2_weights, device="cpu")
    assert found.describe() == given.describe() | {"training_data": ("webli", "lvis", "wit-400m")}
    assert given.describe()["training_data"] == ("unknown",)
    assert OWLv2.missing() == []


@pytest.mark.parametrize(
    ("detector", "weights"),
    [
        (functools.partial(Florence2, max_new_tokens=100), "florence_2_weights"),
        (GroundingDino, "grounding_dino_weights"),
        (OmDetTurbo, "omdet_turbo_weights"),
        (OWLv2, "owlv2_weights"),
        (SAM3, "sam3_weights"),
    ],
)
def test_what_weights_of_ones_own_were_trained_on_is_a_parameter(detector, weights, request):
    declared = detector(request.getfixturevalue(weights), device="cpu", training_data="dior, webli")
    assert declared.describe()["training_data"] == ("dior", "webli")


def test_the_table_of_the_readme_names_every_method():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    names = [plugin.name for plugin in plugins(METHODS).values() if "baselines" in plugin.distribution]
    assert [name for name in names if f"\n| `{name}` |" not in readme] == []
