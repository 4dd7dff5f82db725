"""What comes from outside never moves the cursor, changes a colour, ends a line or turns the writing of a terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from earthinstruct.cli import main
from earthinstruct.texts import printable, printable_json, printable_lines, shortened

# a colour, the title of the window, CSI in one character of C1, a new line, a turn of the direction, markup of rich
BAD = "\x1b[31m \x1b]0;title\x07 \x9b31m \x7f \r\n\u2028 \u202egnp [bold] [/x] :ship:"
SEEN = r"\x1b[31m \x1b]0;title\x07 \x9b31m \x7f \r\n\u2028 \u202egnp [bold] [/x] :ship:"

METHOD = f'''
import warnings

from earthinstruct import Prediction, Usage

BAD = {BAD!r}


class Loud:
    name = "loud" + BAD

    def predict(self, image, instruction):
        if image[0, 0, 0] == 1:
            raise RuntimeError("reason " + BAD)
        return Prediction(
            labels=["ship", "label " + BAD],
            boxes=[[1, 1, 4, 4], [2, 2, 3, 3]],
            usage=Usage(events={{"event " + BAD: 1}}),
        )

    def describe(self):
        return {{"version": "1", "notes": ["note " + BAD], "made_for": ["set " + BAD]}}

    def close(self):
        raise ValueError("closing " + BAD)


class Broken:
    """Broken."""

    name = "broken"

    def __init__(self):
        raise ValueError("broken " + BAD)

    def predict(self, image, instruction):
        return None
'''


def assert_plain(text: str) -> None:
    """Nothing but text and ends of lines."""
    turning = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    for character in set(text) - {"\n"}:
        assert unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs"), text
        assert unicodedata.bidirectional(character) not in turning, text


@pytest.fixture
def loud(coco, write_coco, tmp_path, monkeypatch):
    """The path of a method, and that of a dataset, whose every text is hostile."""
    monkeypatch.chdir(tmp_path)
    coco["images"][1] |= {"id": f"id {BAD}", "file_name": f"file {BAD.replace('/', '')}.png"}
    coco["annotations"][3]["image_id"] = f"id {BAD}"
    coco["categories"][1]["name"] = "category [bold] [/x] :ship:"  # no control character is accepted there
    file = write_coco(coco)
    path = file.parent / "images" / coco["images"][1]["file_name"]
    with Image.open(path) as image:
        image.putpixel((0, 0), (1, 0, 0))
        image.save(path)
    (tmp_path / "loud.py").write_text(METHOD)
    return f"{tmp_path / 'loud.py'}:Loud", file


def test_no_command_prints_a_control_character(loud, tmp_path, capsys, caplog):
    method, file = loud
    data = ("--dataset", str(file))
    setting = ("--setting", "open_ended")

    def said(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert_plain(out + err)
        return code, out + err

    evaluate = ("evaluate", "--method", method, *data, *setting)
    code, text = said(*evaluate, "--output", "runs")
    assert code == 1, text
    for what in ("loud", "reason ", "label ", "event ", "note ", "set "):
        assert what + SEEN in text
    (result,) = (tmp_path / "runs").rglob("result.json")
    run = result.parent
    assert said(*evaluate, "--output", "json", "--json", "-")[0] == 1
    assert said("score", run, *data, *setting)[0] == 1
    code, text = said("score", run, *data, "--setting", "open_vocabulary", "--no-output")
    assert (code, "label " in text) == (2, True)
    assert said("compare", run, run, *data, "--all")[0] == 0
    assert said("check", run, "--against", "guarded", "--update")[0] == 0
    assert said("check", run, "--against", "guarded")[0] == 0
    said("validate", run, *data)
    said("leaderboard", "--root", tmp_path, "add", run)
    images = sorted((file.parent / "images").iterdir())
    code, text = said("predict", "--method", method, "--open-ended", *images, "--json", "-")
    assert (code, "label " + SEEN in text, "reason " + SEEN in text) == (1, True, True)
    broken = method.replace(":Loud", ":Broken")
    for words in (("evaluate", "--method", broken, *data), ("check-method", broken)):
        code, text = said(*words)
        assert (code, r"broken \x1b[31m" in text) == (2, True), text
    assert "closing " in caplog.text
    for record in caplog.records:
        if record.name.startswith("earthinstruct"):
            assert_plain(record.getMessage())


def test_an_argument_is_quoted_without_control_characters(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--method", "random", "--limit", BAD])
    assert_plain(capsys.readouterr().err)
    assert main(["evaluate", "--method", BAD]) == 2
    assert_plain(capsys.readouterr().err)


def test_json_for_a_terminal_means_the_same(capsys):
    text = json.dumps({"a": BAD, BAD: [1, "é", None]}, ensure_ascii=False, indent=2)
    assert json.loads(printable_json(text)) == json.loads(text)
    assert_plain(printable_json(text))


@given(st.text())
def test_any_text_is_printed_as_one_plain_line(text):
    assert_plain(printable(text))
    assert "\n" not in printable(text)
    assert_plain(printable_lines(text))
    assert not [line for line in printable_lines(text).split("\n")[1:] if not line.startswith("  ")]
    assert printable(printable(text)) == printable(text)
    if text.isprintable():
        assert printable(text) == text


def test_long_texts_are_shortened():
    assert shortened("a" * 1000) == "a" * 1000
    assert shortened(shortened("a" * 5_000_000)) == shortened("a" * 5_000_000) == "a" * 985 + "... (shortened)"
    assert len(printable("\n" * 5_000_000)) < 50_000


def test_an_error_of_five_megabytes_takes_a_screen(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.py").write_text(
        "class Long:\n    def __init__(self):\n        raise ValueError('a' * 5_000_000)\n"
    )
    assert main(["evaluate", "--method", "long.py:long"]) == 2
    assert len(capsys.readouterr().err) < 25_000
