"""Language models that see: asked about an image, over a server or on this machine; their replies kept and read.

Importing this package imports neither openai nor transformers nor torch.
"""

from earthinstruct_models.lvlm.interface import Lvlm, LvlmError, Reply, answered, checked
from earthinstruct_models.lvlm.parsing import Found, find_json, parse_counts
from earthinstruct_models.lvlm.remembered import RememberedLvlm

__all__ = ["Found", "Lvlm", "LvlmError", "RememberedLvlm", "Reply", "answered", "checked", "find_json", "parse_counts"]
