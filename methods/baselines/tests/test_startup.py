"""Listing methods, or importing one, loads no torch."""

import subprocess
import sys
from pathlib import Path

from earthinstruct.registry import METHODS, plugins


def test_no_entry_point_imports_torch():
    modules = {plugin.entry_point.module for plugin in plugins(METHODS).values() if "baselines" in plugin.distribution}
    assert len(modules) > 1
    code = f"import sys, importlib\nfor m in {sorted(modules)}: importlib.import_module(m)\n"
    heavy = "[m for m in ('torch', 'transformers', 'torchvision', 'open_clip', 'openai') if m in sys.modules]"
    done = subprocess.run([sys.executable, "-c", f"{code}print({heavy})"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_table_of_the_readme_names_every_method():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    names = [plugin.name for plugin in plugins(METHODS).values() if "baselines" in plugin.distribution]
    assert [name for name in names if f"\n| `{name}` |" not in readme] == []
