"""How many tokens a request will have, by the published rules of providers. These are estimates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

_CHARACTERS_PER_TOKEN = 4  # of English text
_Rule = Callable[[int, int], int]  # width and height in pixels -> tokens


def text_tokens(text: str) -> int:
    """About how many tokens an English text has.

    >>> text_tokens("Count the ships.")
    4
    """
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def image_tokens(model: str, width: int, height: int) -> int | None:
    """How many tokens an image has for a model, or None if the rule of the model is not known here.

    Args:
        model: its name on a server, with or without the name of a provider before a slash.
        width: of the image in pixels.
        height: of the image in pixels.

    >>> image_tokens("gpt-4o-2024-11-20", 1024, 1024), image_tokens("openai/gpt-4o", 2048, 4096)
    (765, 1105)
    >>> image_tokens("gpt-4.1-mini", 1800, 2400), image_tokens("unknown", 10, 10)
    (2353, None)
    """
    name = model.rpartition("/")[2].lower()
    rule = next((rule for pattern, rule in _RULES.items() if re.match(pattern, name)), None)
    return None if rule is None else rule(width, height)


def _tiles(base: int, each: int) -> _Rule:
    """OpenAI: the image is reduced to 2048 x 2048, then to a shorter side of 768, and cut into tiles of 512."""

    def tokens(width: int, height: int) -> int:
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (scale * min(width, height)))
        return base + each * math.ceil(round(width * scale, 6) / 512) * math.ceil(round(height * scale, 6) / 512)

    return tokens


def _patches(factor: float) -> _Rule:
    """OpenAI: patches of 32 x 32 pixels, at most 1536, times a factor of the model."""

    def tokens(width: int, height: int) -> int:
        count = math.ceil(width / 32) * math.ceil(height / 32)
        if count > 1536:
            scale = math.sqrt(32 * 32 * 1536 / (width * height))
            across, down = width * scale / 32, height * scale / 32
            scale *= min(math.floor(across) / across, math.floor(down) / down)
            count = math.ceil(round(width * scale / 32, 6)) * math.ceil(round(height * scale / 32, 6))
        return math.ceil(count * factor)

    return tokens


def _merged_patches(side: int, least: int, most: int) -> _Rule:
    """Qwen-VL: the image is resized to multiples of `side` pixels within the limits of the published folder."""

    def tokens(width: int, height: int) -> int:
        rows, columns = max(1, round(height / side)), max(1, round(width / side))
        if rows * columns * side**2 > most:
            scale = math.sqrt(height * width / most)
            rows, columns = (max(1, math.floor(length / scale / side)) for length in (height, width))
        elif rows * columns * side**2 < least:
            scale = math.sqrt(least / (height * width))
            rows, columns = (math.ceil(length * scale / side) for length in (height, width))
        return rows * columns + 2  # with its start and its end

    return tokens


def _claude(width: int, height: int) -> int:
    """Anthropic: a token for 750 pixels, of an image that is reduced to a longer side of 1568 and 1600 tokens."""
    scale = min(1.0, 1568 / max(width, height))
    return min(1600, math.ceil(width * height * scale**2 / 750))


def _gemini(width: int, height: int) -> int:
    """Google: 258 tokens, for a larger image for each of its tiles."""
    if max(width, height) <= 384:
        return 258
    unit = math.floor(min(width, height) / 1.5)
    return 258 * math.ceil(width / max(1, unit)) * math.ceil(height / max(1, unit))


_RULES: Mapping[str, _Rule] = {
    r"gpt-4o-mini": _tiles(2833, 5667),
    r"gpt-4o|gpt-4\.1(?!-mini|-nano)|gpt-4\.5": _tiles(85, 170),
    r"gpt-5(?!-mini|-nano|\.|-codex)": _tiles(70, 140),
    r"o1(?!-mini)|o3(?!-mini)": _tiles(75, 150),
    r"gpt-4\.1-mini|gpt-5-mini": _patches(1.62),
    r"gpt-4\.1-nano|gpt-5-nano": _patches(2.46),
    r"o4-mini": _patches(1.72),
    r"qwen2(\.5)?-vl": _merged_patches(28, 4 * 28**2, 16384 * 28**2),
    r"qwen3-vl": _merged_patches(32, 64 * 32**2, 16384 * 32**2),
    r"claude": _claude,
    r"gemini-2": _gemini,
}
