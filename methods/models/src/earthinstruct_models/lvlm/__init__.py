"""Vision-language models, on a server or on this machine, and the parsing of their replies.

Importing this package imports neither openai nor transformers nor torch.
"""

from earthinstruct_models.lvlm.interface import (
    HopelessLvlmError,
    Lvlm,
    LvlmError,
    Reply,
    answered,
    checked,
    closed_object,
)
from earthinstruct_models.lvlm.json_in_text import Found, find_json
from earthinstruct_models.lvlm.parsing import Boxes, Counts, parse_counts, read_boxes, read_counts
from earthinstruct_models.lvlm.points_in_text import Points, read_points

__all__ = [
    "Boxes",
    "Counts",
    "Found",
    "HopelessLvlmError",
    "Lvlm",
    "LvlmError",
    "Points",
    "Reply",
    "answered",
    "checked",
    "closed_object",
    "find_json",
    "parse_counts",
    "read_boxes",
    "read_counts",
    "read_points",
]
