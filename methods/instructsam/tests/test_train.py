import json

from earthinstruct_instructsam.counters.small import SmallCounter
from earthinstruct_instructsam.small import CLIP_CONFIG
from earthinstruct_instructsam.small.train import main
from earthinstruct_models.encoders.open_clip import OpenClipEncoder


def test_both_models_are_trained_and_load(tmp_path):
    main(["--steps", "2", "--scenes", "1", "--val-scenes", "1", "--output", str(tmp_path)])
    assert SmallCounter(tmp_path / "counter-scenes.safetensors").describe()["weights"]
    assert OpenClipEncoder(tmp_path / "clip-scenes.safetensors", config=CLIP_CONFIG).describe()["weights"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["counter"]["steps"] == figures["clip"]["steps"] == 2
    assert 0 <= figures["clip"]["crop_accuracy"]["mean"] <= 1
