"""Vision-language models, on a server or on this machine, and the parsing of their replies.

Importing this package imports neither openai nor transformers nor torch.
"""

from earthinstruct_models.lvlm.interface import Lvlm, LvlmError, Reply, answered, checked, closed_object
from earthinstruct_models.lvlm.parsing import Found, find_json, parse_counts

__all__ = ["Found", "Lvlm", "LvlmError", "Reply", "answered", "checked", "closed_object", "find_json", "parse_counts"]
