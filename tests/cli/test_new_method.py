import subprocess
import sys

import pytest

from earthinstruct.cli import main


def test_the_template_keeps_the_contract(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-method", "my-method"]) == 0
    folder = tmp_path / "my-method"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "pyproject.toml",
        "src/my_method/__init__.py",
        "tests/test_method.py",
    ]
    monkeypatch.syspath_prepend(folder / "src")
    assert main(["check-method", "my_method:MyMethod"]) == 0
    assert main(["new-method", "my-method"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["My", "a/b", "../x", ""])
def test_a_name_that_makes_no_package_is_refused(name, tmp_path):
    assert main(["new-method", name, "--output", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_third_party_plugin_is_found_once_installed(tmp_path):
    """A real distribution, built and installed for this test alone, is a method by its name."""
    assert main(["new-method", "third-party", "--output", str(tmp_path)]) == 0
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*command, str(tmp_path / "third-party")], check=True)
    probe = f"import sys; sys.path.insert(0, {str(site)!r}); from earthinstruct.cli import main; main(sys.argv[1:])"
    listed = subprocess.run(
        [sys.executable, "-c", probe, "list", "methods"], check=True, capture_output=True, text=True
    )
    assert "third-party" in listed.stdout
    subprocess.run([sys.executable, "-c", probe, "check-method", "third-party"], check=True, capture_output=True)
