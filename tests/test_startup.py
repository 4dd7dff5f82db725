"""The core starts without torch and without loading any plug-in."""

import subprocess
import sys

import pytest

PROBE = """
import sys
{code}
heavy = [name for name in sys.modules if name.partition(".")[0] in {heavy}]
assert not heavy, heavy
"""
PLUGINS = {"earthinstruct_instructsam", "earthinstruct_baselines"}


def run_probe(code, heavy):
    subprocess.run([sys.executable, "-c", PROBE.format(code=code, heavy=heavy)], check=True)


def test_importing_the_core_imports_neither_torch_nor_a_plugin():
    rooms = "earthinstruct, earthinstruct.contract, earthinstruct.testing, earthinstruct.images.overlay"
    run_probe(f"import {rooms}", {"torch", "torchvision", *PLUGINS})


def test_scoring_and_running_import_nothing_heavy():
    heavy = {"pandas", "rasterio", "scipy", "torch", "torchvision", *PLUGINS}
    run_probe("import earthinstruct.scoring, earthinstruct.running", heavy)


def test_help_imports_nothing_heavy():
    code = "from earthinstruct.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    run_probe(code, {"torch", "numpy", "scipy", "rich", "msgspec", *PLUGINS})


def test_listing_loads_plugins_but_no_torch():
    run_probe("from earthinstruct.cli import main\nmain(['list', 'methods'])", {"torch", "torchvision"})


def test_public_names_exist():
    import earthinstruct

    for name in earthinstruct.__all__:
        assert getattr(earthinstruct, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = earthinstruct.nothing
