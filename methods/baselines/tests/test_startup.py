"""Listing methods, or importing one, loads no torch."""

import subprocess
import sys

from earthinstruct.registry import METHODS, plugins


def test_no_entry_point_imports_torch():
    modules = {plugin.entry_point.module for plugin in plugins(METHODS).values() if "baselines" in plugin.distribution}
    assert len(modules) > 1
    code = f"import sys, importlib\nfor m in {sorted(modules)}: importlib.import_module(m)\n"
    heavy = "[m for m in ('torch', 'transformers', 'torchvision', 'open_clip', 'openai') if m in sys.modules]"
    done = subprocess.run([sys.executable, "-c", f"{code}print({heavy})"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
