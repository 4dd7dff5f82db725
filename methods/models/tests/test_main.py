"""`python -m earthinstruct_models`: weights are listed and fetched by name."""

import pytest
from earthinstruct_models.__main__ import main
from earthinstruct_models.weights import WEIGHTS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    return tmp_path


def test_weights_are_listed(capsys, folder):
    (folder / WEIGHTS["georsclip-l14"].file).write_bytes(b"")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in WEIGHTS)
    assert out.count("yes") == 1
    assert "EARTHINSTRUCT_WEIGHTS" in out


def test_what_cannot_be_fetched_is_an_error_of_one_line(capsys):
    assert main(["fetch", "skyclip"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "did you mean" in error


def test_fetching_shows_the_licence_and_the_hash(capsys, folder, monkeypatch):
    def fetched(name, progress):
        path = folder / WEIGHTS[name].file
        path.with_name(f"{path.name}.sha256").write_text(f"{'0' * 64}  x\n")
        progress(1, 2)
        return path

    monkeypatch.setattr("earthinstruct_models.__main__.fetch", fetched)
    assert main(["fetch", "sam2_hiera_t"]) == 0
    out = capsys.readouterr().out.replace("\n", "")
    assert "licence Apache-2.0" in out
    assert "0" * 64 in out
