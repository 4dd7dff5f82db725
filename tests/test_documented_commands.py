"""Every command in the pages against the programs: it parses, its targets exist, a method takes its parameters."""

import functools
import importlib
import importlib.util
import re
import shlex
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from earthinstruct import EarthInstructError, missing_for
from earthinstruct.cli import parser
from earthinstruct.registry import parse_parameters

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "data/*.md", "docs/**/*.md", "methods/*/*.md", "tests/**/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
ASSIGNED = re.compile(r"^(?:[A-Z_0-9]+=\S* )+")
PROGRAMS = ("earthinstruct", "python", "pip", "make")
PARSER = parser()
VERBS = next(action.choices for action in PARSER._actions if action.choices)
GENERIC = {"key", "part", "part.key"}  # parameters that stand for any
FOLDERS = {"": ".", **{f"-{name}": f"methods/{name}" for name in ("models", "instructsam", "baselines")}}


def lines(page):
    """The lines of code in a page: whole commands in blocks, also in workflows, and what stands in the text."""
    text = re.sub(r"^### Removed\n.*?(?=^##)", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for language, block in FENCE.findall(text):
        if language in ("", "yaml"):
            yield from (line.strip().removeprefix("- run: ") for line in block.replace("\\\n", " ").splitlines())
    yield from (re.sub(r"\\\|", "|", code) for code in INLINE.findall(FENCE.sub("", text)))


def words(line):
    """A line as a program gets it: without comments, variables, brackets of options, and what a shell adds."""
    line = re.sub(r"\s(?:&&|\|).*|\s+&$", "", ASSIGNED.sub("", line)).replace("[", "").replace("]", "")
    split = shlex.split(line, comments=True)
    if split and Path(split[0]).parent.name == "bin":
        split[0] = Path(split[0]).name
    return split[2:] if split[:2] == ["python", "-m"] and split[2:3] == ["earthinstruct"] else split


def found():
    """Every command in the pages: (page, its line, its words)."""
    for page in PAGES:
        for line in lines(page):
            try:
                split = words(line)
            except ValueError:  # not of a shell
                continue
            if line.startswith("earthinstruct  "):  # of a drawing
                continue
            if split and (split[0] in PROGRAMS or split[0] in VERBS or split[0] == "-M"):
                yield page.relative_to(ROOT).as_posix(), line, split


COMMANDS = list(found())


def of(*programs):
    chosen = [(page, line, split) for page, line, split in COMMANDS if split[0] in programs]
    assert len(chosen) > 5, programs
    return pytest.mark.parametrize(
        ("page", "line", "split"), chosen, ids=[f"{page}: {line}" for page, line, _ in chosen]
    )


def test_commands_are_found():
    assert len(COMMANDS) > 250
    assert {split[0] for _, _, split in COMMANDS} >= {*PROGRAMS, "-M", "score"}


@of("earthinstruct", *VERBS)
def test_a_command_of_ours_parses(page, line, split, capsys):
    ours = split[0] == "earthinstruct"
    given = split[1:] if ours else split
    if given and given[0] in ("--help", "VERB"):
        return
    for alternative in alternatives(given):
        verb, rest = below(alternative)
        if not rest or "..." in rest or (not ours and rest[0].startswith("-")):  # a part of a command
            options = {word for word in rest if word.startswith("-")}
            assert options <= set(verb._option_string_actions), (options, sorted(verb._option_string_actions))
            continue
        try:
            parsed = PARSER.parse_args(["1" if word == "N" else word for word in alternative])
        except SystemExit:
            pytest.fail(capsys.readouterr().err)
        takes(getattr(parsed, "method", None), getattr(parsed, "parameters", []))


def alternatives(given):
    """`build|check` is each of them."""
    place = next((i for i, word in enumerate(given) if re.fullmatch(r"[a-z|]*\|[a-z|]*", word)), None)
    if place is None:
        return [given]
    return [[*given[:place], word, *given[place + 1 :]] for word in given[place].split("|")]


def below(given):
    """The parser of the verb that words begin with, and the rest of the words."""
    verb, rest = PARSER, list(given)
    while rest:
        choices = next((action.choices for action in verb._actions if isinstance(action.choices, dict)), {})
        if rest[0] not in choices:
            break
        verb = choices[rest.pop(0)]
    return verb, rest


@functools.cache
def methods():
    return {entry.name: entry.module for entry in entry_points(group="earthinstruct.methods")}


def takes(method, parameters):
    """The method takes these parameters, where it is installed."""
    if method in methods():
        missing_for(method, parse_parameters(parameters))


@of("-M")
def test_parameters_in_the_text_are_those_of_a_method(page, line, split):
    parameters = [
        word for word in split if word != "-M" and not word.endswith(("=", "=NAME"))
    ]  # of any value: not tried
    if {pair.partition("=")[0] for pair in parameters} <= GENERIC or all("=" not in pair for pair in parameters):
        return None
    package = "earthinstruct_baselines" if "baselines" in page else "earthinstruct_instructsam"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    refused = []
    for method, module in methods().items():
        if module.startswith(package):
            try:
                return takes(method, parameters)
            except EarthInstructError as error:
                refused.append(str(error))
    pytest.fail("\n".join(refused))


@of("python", "make", "pip")
def test_what_other_commands_name_exists(page, line, split):
    if split[0] == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in split[1:] if "=" not in word} <= targets
    elif split[:2] == ["python", "-m"]:
        if importlib.util.find_spec(split[2].partition(".")[0]) is None:
            pytest.skip(f"{split[2]} is not installed")
        assert importlib.util.find_spec(split[2]) is not None
        if split[2].endswith(".rank_encoders") and split[3:]:
            importlib.import_module(split[2]).parser().parse_args(split[3:])
    elif split[0] == "pip":
        # brackets are gone: "methods/models[lvlm]" reads methods/modelslvlm here
        for requirement in re.findall(r"(?:(?<=-e )|earthinstruct)[\"']?([\w./-]*)(?:\[([\w,]+)\])?", line):
            folder = FOLDERS.get(requirement[0], requirement[0])
            if (ROOT / folder / "pyproject.toml").is_file():
                project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
                assert set(filter(None, requirement[1].split(","))) <= set(project["optional-dependencies"])
            else:
                assert folder in ("my-method", "yolo-world"), requirement
