"""What a user sees in a terminal: names are never cut, examples work, a file repeats a command."""

import json
import re
import shlex
import subprocess
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import yaml
from rich.text import Text

from earthinstruct import cli, method_details, registry, score
from earthinstruct.cli.examples import EXAMPLES
from earthinstruct.registry import list_methods


@pytest.fixture
def terminal(call, monkeypatch):
    """The lines of a command on a terminal of 80 columns."""

    def lines(*arguments):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        code, out, _ = call(*arguments)
        assert code == 0
        return [line.rstrip() for line in Text.from_ansi(out).plain.splitlines()]

    return lines


def test_many_runs_are_compared_within_the_width(terminal, coco, write_coco, tmp_path, monkeypatch):
    """Four runs: every name and every number is whole, and no line of the table is wider than the terminal."""
    monkeypatch.chdir(tmp_path)
    file, folders = write_coco(coco), []
    for i in range(4):
        box = {"image_id": coco["images"][0]["id"], "category_id": coco["categories"][0]["id"], "bbox": [1, 1, 5, 5]}
        (tmp_path / "p.json").write_text(json.dumps([box | {"score": 0.5}] * (i + 1)))
        score(tmp_path / "p.json", file, "open_vocabulary", name=f"detector-{i}", output="runs", kept=folders.append)
    lines = terminal("compare", *folders)
    heading = next(i for i, line in enumerate(lines) if line.startswith("run "))
    table = lines[heading : next(i for i, line in enumerate(lines) if line.startswith("percent;"))]
    assert max(map(len, table)) <= 80
    assert not [line for line in table if "…" in line or "..." in line]
    for letter, i in zip("ABCD", range(4), strict=True):
        (row,) = [line.split() for line in table if line.startswith(f"{letter}: detector-{i} ")]
        assert len([cell for cell in row[2:] if re.fullmatch(r"\*?\d+\.\d", cell)]) == 3


def test_methods_have_one_line_each_and_whole_names(terminal):
    lines = terminal("list", "methods")
    assert max(len(line) for line in lines if line.startswith("  ")) <= 80
    first = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(first) == sorted(row["name"] for row in list_methods())
    states = {row["state"] for row in list_methods()}
    words = {"ready": "ready", "missing": "something", "broken": "cannot", "control": "controls"}
    headings = [line.split()[0].rstrip(":,") for line in lines if line and not line.startswith(" ")]
    assert headings[: len(states)] == [word for state, word in words.items() if state in states]
    assert headings[len(states)] == "earthinstruct"


@pytest.mark.parametrize("what", ["tasks", "metrics", "datasets"])
def test_names_are_whole_at_80_columns(terminal, what, call):
    lines = terminal("list", what)
    assert max(map(len, lines)) <= 80
    _, out, _ = call("list", what, "--json")
    names = [row["name"] for row in json.loads(out)]
    assert [line.split()[0] for line in lines[1:] if line and not line.startswith(" ")] == names


def test_in_a_pipe_each_row_is_one_line(call):
    _, out, _ = call("list", "tasks")
    assert sum("sports_field" in line for line in out.splitlines()) == 5


def test_the_parameters_of_a_method_are_shown(call, tmp_path):
    (tmp_path / "own.py").write_text(
        "import inspect\n"
        "class Base:\n    '''Base.\n\n    Args:\n        least: the lowest\n            score.\n    '''\n"
        "class Own(Base):\n    '''Finds all.\n\n    Args:\n        preset: a choice.\n    '''\n    name = 'own'\n"
        "    def __init__(self, preset='all', least=0.5, *, folder, **more): pass\n"
        "    def predict(self, image, instruction): pass\n"
        "    @classmethod\n    def choices(cls):\n"
        "        taken = inspect.signature(lambda size, depth=2: 0).parameters.values()\n"
        "        return {'finder': {'fast': taken, 'slow': taken, 'none': ()}}\n"
        "    @classmethod\n    def presets(cls): return {'all': {'least': 0, 'finder': 'fast'}}\n"
    )
    name = f"{tmp_path / 'own.py'}:Own"
    details = method_details(name)
    assert details.summary == "Finds all."
    assert [(each.name, each.required, each.meaning) for each in details.parameters] == [
        ("preset", False, "a choice."),
        ("least", False, "the lowest score."),
        ("folder", True, ""),
    ]
    code, out, _ = call("list", "methods", name)
    assert code == 0
    words = out.split()
    for shown in ("preset=all", "least=0.5", "finder=fast", "depth=2", "least=0"):
        assert shown in words
    assert "folder (required)" in out
    assert [line.split(maxsplit=1) for line in out.splitlines() if line.startswith(("  slow", "  none"))] == [
        ["slow", "the same as fast"],
        ["none", "-"],
    ]
    assert "missing: parameter folder: give -M folder=VALUE" in out


def test_the_meaning_of_a_parameter_folds_in_a_pipe(call, tmp_path):
    words, name = "word " * 60, "    name = 'own'\n"
    long = f'class Own:\n    """Finds.\n\n    Args:\n        least: {words}\n    """\n{name}'
    (tmp_path / "long.py").write_text(
        f"{long}    def __init__(self, least=1): pass\n    def predict(self, image, instruction): pass\n"
    )
    _, out, _ = call("list", "methods", f"{tmp_path / 'long.py'}:Own")
    lines = [line for line in out.splitlines() if "word" in line]
    assert (len(lines), out.count("word")) == (4, 60)
    assert max(map(len, lines)) <= 100


def test_only_methods_are_shown_one_by_one(call):
    code, _, err = call("list", "tasks", "dior")
    assert code == 2
    assert "only methods are shown one by one" in err


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"earthinstruct {version('earthinstruct')}\n"


@pytest.mark.parametrize("verb", EXAMPLES)
def test_the_examples_of_a_verb_are_commands_that_parse(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/scenes/open_vocabulary/instructsam"
    run.mkdir(parents=True)
    (run / "run.yaml").write_text("method: instructsam\n")
    with pytest.raises(SystemExit, match="0"):
        cli.parser().parse_args([*verb.split(), "--help"])
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for example in EXAMPLES[verb]:
        assert example.startswith(verb)
        assert f"earthinstruct {example}" in shown
        assert cli.parser().parse_args(shlex.split(example.partition(" > ")[0])).verb


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--methodx", "x"], "unknown option '--methodx'; did you mean '--method'?"),
        (["leaderboard", "build", "--rot=x"], "unknown option '--rot'; did you mean '--root'?"),
        (["list", "methods", "a", "b"], "unexpected argument 'b'"),
    ],
)
def test_an_unknown_option_is_told_from_those_of_its_verb(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    err = capsys.readouterr().err
    assert message in err
    verb = " ".join(arguments[: 2 if arguments[0] == "leaderboard" else 1])
    assert f"For help: earthinstruct {verb} --help" in err


def test_a_run_keeps_the_file_that_repeats_it(call, method, file, tmp_path):
    first = ("--method", f"{method}:Finds", "--dataset", file, "--setting", "open_vocabulary", "--limit", "2")
    code, out, _ = call("evaluate", *first, "--per-category")
    assert code == 0
    run = tmp_path / "runs" / "set" / "open_vocabulary" / "finds-limit-2"
    assert out.splitlines()[-1] == f"look at it: earthinstruct report {run}"
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) == 11}
    assert {"ship", "harbor"} <= rows.keys()
    kept = yaml.safe_load((run / "run.yaml").read_text())
    assert kept["limit"] == 2
    (tmp_path / "ends.py").write_text(
        "class Ends:\n    name = 'ends'\n    def predict(self, image, instruction): raise KeyboardInterrupt\n"
    )
    code, *_ = call("evaluate", "--method", f"{tmp_path / 'ends.py'}:Ends", *first[2:])
    assert code == 130
    begun = yaml.safe_load((run.with_name("ends-limit-2") / "run.yaml").read_text())  # written before the first image
    assert begun["limit"] == 2
    assert kept["method"] == f"{method}:Finds"
    # an option of the command line replaces that of the file, wherever it stands
    for arguments in (["--config", run / "run.yaml", "--limit", "1"], ["--limit", "1", "--config", run / "run.yaml"]):
        code, out, _ = call("evaluate", *arguments)
        assert code == 0
        assert yaml.safe_load((run.with_name("finds-limit-1") / "run.yaml").read_text()) == {**kept, "limit": 1}


def test_the_file_of_a_run_holds_no_secret(call, file, tmp_path):
    (tmp_path / "paid.py").write_text(
        "from earthinstruct import Prediction\n"
        "class Paid:\n    name = 'paid'\n    def __init__(self, api_key, size=1, **more): pass\n"
        "    def predict(self, image, instruction): return Prediction()\n"
    )
    code, *_ = call(
        *("evaluate", "--method", f"{tmp_path / 'paid.py'}:Paid", "-M", "api_key=sk-123456", "-M", "size=3"),
        *("-M", "token=abc", "-M", 'headers={"x-api-key": "abc"}', "-M", "url=https://me:secret9@host/v1"),
        *("--dataset", file, "--setting", "open_vocabulary"),
    )
    assert code == 0
    (kept,) = (tmp_path / "runs").rglob("run.yaml")
    assert not [secret for secret in ("sk-123456", "abc", "secret9") if secret in kept.read_text()]
    assert yaml.safe_load(kept.read_text())["parameters"] == {"size": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methodx: x", "unknown option in c.yaml 'methodx'; did you mean 'method'?"),
        ("limit: x", "config file c.yaml: limit: 'x' must be a whole number >= 1"),
        ("limit: [1]", "config file c.yaml: limit: unusable value [1]"),
        ("limit: true", "config file c.yaml: limit: unusable value True"),
        ("skip-invalid: 3", "config file c.yaml: skip-invalid: unusable value 3"),
        ("parameters: 3", "config file c.yaml: parameters: unusable value 3"),
        ("slice-by: {gsd: 1}", "config file c.yaml: slice-by: unusable value {'gsd': 1}"),
        ("[a", "config file c.yaml: invalid YAML"),
        ("limit: 5\nlimit: 50", "config file c.yaml: invalid YAML: 'limit' is there twice"),
        ("3", "config file c.yaml: must be a mapping of options to values, got int"),
        ("limit: 3", "the following arguments are required: --method"),
    ],
)
def test_a_config_file_is_refused_by_its_place(call, tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    code, _, err = call("evaluate", "--config", "c.yaml")
    assert code == 2
    assert message in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_completes_the_options_of_a_verb(call, shell):
    code, out, _ = call("completion", shell)
    assert code == 0
    assert "instruction-file" in out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out, text=True, check=True)


def test_weights_are_listed_and_fetched_by_name(call, tmp_path, monkeypatch):
    place = tmp_path / "weights" / "net.pt"
    weights = SimpleNamespace(
        name="net", licence=None, page="https://example.org/net", url=None, path=place, here=False
    )

    def fetch(name, progress):
        progress(1, 2)
        place.parent.mkdir()
        place.with_name("net.pt.sha256").write_text(f"{'0' * 64}  net.pt\n")
        return place

    module = SimpleNamespace(WEIGHTS={"net": weights}, fetch=fetch)
    monkeypatch.setattr(
        registry, "plugins", lambda group: {"own": SimpleNamespace(load=lambda: module)} if "weights" in group else {}
    )
    code, out, _ = call("weights", "list")
    assert code == 0
    assert "https://example.org/net" in out
    assert f"kept in {place.parent}" in out
    code, out, _ = call("weights", "fetch", "net")
    assert code == 0
    assert "licence not recorded here, see https://example.org/net" in out
    assert f"{'0' * 64}  net.pt" in out
    code, _, err = call("weights", "fetch", "nett")
    assert code == 2
    assert "did you mean 'net'?" in err


def test_without_a_distribution_that_knows_weights_it_is_said(call, monkeypatch):
    monkeypatch.setattr(registry, "plugins", lambda group: {})
    code, _, err = call("weights", "list")
    assert code == 2
    assert "no installed distribution knows weights" in err
