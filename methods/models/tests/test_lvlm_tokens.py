"""Tokens by the published rules: the examples of the providers, and the arithmetic by hand."""

import numpy as np
import pytest
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.lvlm.openai import OpenAiLvlm
from earthinstruct_models.lvlm.tokens import image_tokens, text_tokens
from earthinstruct_models.store import KeptLvlm
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct import Estimate

IMAGE = np.zeros((800, 800, 3), np.uint8)


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("gpt-4o", 1024, 1024, 765),  # 768 x 768: 4 tiles, 85 + 4 * 170
        ("gpt-4o-2024-11-20", 2048, 4096, 1105),  # 768 x 1536: 6 tiles, 85 + 6 * 170
        ("gpt-4o", 800, 800, 765),
        ("gpt-4o", 512, 512, 255),  # nothing is enlarged: one tile
        ("gpt-4o-mini", 800, 800, 2833 + 4 * 5667),
        ("gpt-4.1-2025-04-14", 800, 800, 765),
        ("gpt-5", 800, 800, 70 + 4 * 140),
        ("openai/gpt-5-2025-08-07", 800, 800, 70 + 4 * 140),
        ("o3", 800, 800, 75 + 4 * 150),
        ("gpt-4.1-mini", 1024, 1024, 1659),  # 32 x 32 patches, times 1.62
        ("gpt-5-mini", 1800, 2400, 2353),  # 33 x 44 patches, 1452 * 1.62
        ("o4-mini", 800, 800, 1075),  # 25 x 25 patches, times 1.72
        ("Qwen/Qwen2.5-VL-7B-Instruct", 800, 800, 29 * 29 + 2),  # 800 / 28 = 28.6
        ("qwen2.5-vl-72b-instruct", 10, 10, 4 + 2),  # enlarged to 56 x 56
        ("qwen3-vl-8b", 800, 800, 25 * 25 + 2),
        ("anthropic/claude-sonnet-4-5", 800, 800, 854),
        ("claude-opus-4", 4000, 4000, 1600),
        ("gemini-2.5-flash", 384, 384, 258),
        ("gemini-2.5-flash", 960, 540, 6 * 258),  # units of 360 pixels: 3 x 2
        ("gpt-5.2", 800, 800, None),
        ("llava", 800, 800, None),
    ],
)
def test_tokens_of_an_image(model, width, height, tokens):
    assert image_tokens(model, width, height) == tokens


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-nano", "qwen2.5-vl", "qwen3-vl", "claude", "gemini-2.0"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 20_000), (20_000, 1), (20_000, 20_000)])
def test_images_of_extreme_sizes_have_tokens(model, width, height):
    assert image_tokens(model, width, height) > 0


def test_tokens_of_a_text():
    assert [text_tokens(text) for text in ("", "ship", "ships")] == [0, 1, 2]


@pytest.fixture
def lvlm(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing-is-sent")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    def make(model):
        made.append(OpenAiLvlm(model, max_tokens=50))
        return made[-1]

    made = []
    yield make
    for one in made:
        one.close()


def test_a_request_to_a_server(lvlm):
    schema = {"type": "integer"}  # {"type":"integer"}: 18 characters, 5 tokens
    assert lvlm("gpt-4o").estimate(IMAGE, "Count the ships.", schema) == Estimate(1, 765 + 4 + 5, 50)
    assert lvlm("llava").estimate(IMAGE, "Count the ships.") == Estimate(1, None, 50)


class Ships(ScriptedLvlm):
    def answer(self, image):
        return LvlmError("no connection") if image.size == 3 else Reply('{"ship": 3}', 900, 7)


def test_a_repeat_has_replies_of_its_own(tmp_path):
    kept = KeptLvlm(Ships(), tmp_path / "replies.jsonl")
    for number in (0, 1, 1, 0, 2):
        kept.repeat(number)
        kept.ask(IMAGE, "count")
    assert kept.part.requests == [1, 1, 1]


def test_a_kept_reply_costs_nothing(tmp_path, lvlm):
    file = tmp_path / "replies.jsonl"
    scripted = Ships()
    scripted.estimate = lvlm("gpt-4o").estimate
    kept = KeptLvlm(scripted, file)
    small = np.zeros((1, 1, 3), np.uint8)
    kept.ask_many([IMAGE, small], "count")
    for again in (kept, KeptLvlm(scripted, file)):
        assert again.estimate(IMAGE, "count") == Estimate()
        assert again.estimate(IMAGE, "name").requests == 1
        assert again.estimate(small, "count").requests == 1
    assert KeptLvlm(Ships()).estimate(IMAGE, "count") == Estimate(0, None, None)  # on this machine
    assert scripted.requests == [2]
