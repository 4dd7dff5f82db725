"""Files never run code, names never become markup or paths, secrets are written nowhere. See docs/security.md."""

import ast
import html
import json
import logging
import pickle
import sys
import traceback
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from earthinstruct import Prediction, Usage, check_method, evaluate, load_dataset, predict, score
from earthinstruct.cli import main
from earthinstruct.datasets.samrs import parse_samrs
from earthinstruct.datasets.voc import parse_voc
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.results import build_leaderboards, file_result
from earthinstruct.running import EngineOptions
from earthinstruct.texts import redacted, secret_values, without_secrets

ROOT = Path(__file__).parent.parent
SOURCES = [*(ROOT / "earthinstruct").rglob("*.py"), *(ROOT / "methods").glob("*/src/**/*.py")]
KEY = "sk-live-8c1f2e"


class Payload:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


# ---------------------------------------------------------------- code


def load_open_clip(checkpoint):
    pytest.importorskip("open_clip")
    encoders = pytest.importorskip("earthinstruct_models.encoders.open_clip")
    config = checkpoint.with_name("tiny-payload.json")
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    encoders.OpenClipEncoder(checkpoint, config=config, device="cpu")


def load_sam2(checkpoint):
    pytest.importorskip("sam2")
    pytest.importorskip("earthinstruct_models.proposers.sam2").Sam2Proposer(checkpoint, "sam2_hiera_t")


def load_faster_rcnn(checkpoint):
    categories = checkpoint.with_name("classes.json")
    categories.write_text(json.dumps({"1": "ship"}))
    pytest.importorskip("earthinstruct_baselines.faster_rcnn").FasterRCNN(checkpoint, categories)


def load_counter(checkpoint):
    pytest.importorskip("earthinstruct_instructsam.counters.small").SmallCounter(checkpoint)


LOADERS = {"open_clip": load_open_clip, "sam2": load_sam2, "faster-rcnn": load_faster_rcnn, "counter": load_counter}
FORMS = ["zip", "legacy", "pickle"]


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loader", LOADERS)
def test_a_pickle_payload_in_a_checkpoint_is_refused(tmp_path, loader, form, suffix):
    torch = pytest.importorskip("torch")
    checkpoint, content = tmp_path / f"payload{suffix}", {"model": {}, "extra": Payload(tmp_path / "ran")}
    if form == "pickle":
        checkpoint.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, checkpoint, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(DataError, match=r"payload\."):
        LOADERS[loader](checkpoint)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", FORMS)
def test_such_a_payload_does_run_where_it_is_not_refused(tmp_path, form):
    torch = pytest.importorskip("torch")
    content = Payload(tmp_path / "ran")
    if form == "pickle":
        pickle.loads(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / "payload.pt", _use_new_zipfile_serialization=form == "zip")
        torch.load(tmp_path / "payload.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("beside", [[], ["model.safetensors"]], ids=["alone", "in the place of safetensors"])
@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_payload_in_a_folder_of_transformers_is_refused(tmp_path, file, beside):
    pytest.importorskip("transformers")
    loading = pytest.importorskip("earthinstruct_models.pretrained")
    import torch

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1}))
    for name in {file, *beside}:
        torch.save({"weight": Payload(tmp_path / "ran")}, tmp_path / name)
    with pytest.raises(DataError, match=r"may run code|does not load"):
        loading.weight_files(tmp_path)
        loading.load_model(tmp_path, "BertModel", "a model")
    assert not (tmp_path / "ran").exists()


def test_a_picture_that_would_start_a_program_is_not_decoded(coco, write_coco):
    file = write_coco(coco)
    picture = file.parent / "images/a.png"
    with Image.open(picture) as image:
        image.save(picture, format="EPS")  # Pillow hands these to Ghostscript, whatever they are called
    with pytest.raises(DataError, match="it is not an image; expected JPEG, PNG"):
        load_dataset(str(file)).read_image(0)


def test_a_pickle_payload_in_a_mask_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="was refused, and nothing was executed"):
        parse_samrs(pickle.dumps([Payload(tmp_path / "ran")]), Path("masks.pkl"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reader", ["predictions", "annotations"])
def test_a_pickle_in_the_place_of_json_is_refused(dataset, tmp_path, reader):
    file = tmp_path / ("hostile.jsonl" if reader == "predictions" else "hostile.json")
    file.write_bytes(pickle.dumps([Payload(tmp_path / "ran")]) + b"\n")
    with pytest.raises(EarthInstructError, match="hostile"):
        if reader == "predictions":
            score(file, dataset, "open_ended")
        else:
            load_dataset(str(file))
    assert not (tmp_path / "ran").exists()


def calls(tree):
    """Every call of a module as (dotted name, keyword arguments)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


EVALUATE = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNPICKLE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "subprocess", "runpy", "code"}
UNPACK = (".extract", ".extractall", ".unpack_archive", ".Unzip", ".Untar", ".read_pickle", ".hub.load", ".jit.load")
SAFE = {"shell": "False", "allow_pickle": "False", "trust_remote_code": "False", "weights_only": "True"}


def test_no_module_runs_what_it_reads_or_unpacks_an_archive_by_its_own_names():
    assert len(SOURCES) > 80
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = [name for name in imports(tree) if name.partition(".")[0] in UNPICKLE or name in EVALUATE]
        if path.name != "samrs.py":  # it has a find_class of its own, tested above
            found += [(path, name) for name in imported]
        for name, keywords in calls(tree):
            if name in EVALUATE or name.endswith(UNPACK):
                found.append((path, name))
            found += [(path, name, keyword) for keyword, safe in SAFE.items() if keywords.get(keyword, safe) != safe]
            if name == "torch.load" and "weights_only" not in keywords:
                found.append((path, name))
    assert found == []


# ---------------------------------------------------------------- data

LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "declared",
    [
        f'<!ENTITY a0 "ha">{LAUGHS}',
        '<!ENTITY a9 SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a9 SYSTEM "http://localhost:9/x.dtd">',
    ],
    ids=["billion laughs", "local file", "remote file"],
)
def test_xml_entities_are_refused(declared):
    content = f"<!DOCTYPE annotation [{declared}]><annotation><filename>&a9;</filename></annotation>"
    with pytest.raises(DataError, match="defines entities"):
        parse_voc(content.encode(), Path("hostile.xml"))


@pytest.mark.parametrize(
    "name", ["../outside.png", "/etc/passwd", "a/../../b.png", "..\\b.png", "C:\\b.png", "a\0.png"]
)
def test_a_name_from_data_does_not_leave_its_folder(coco, write_coco, name):
    file = write_coco(coco)
    coco["images"][0]["file_name"] = name
    file.write_text(json.dumps(coco))
    with pytest.raises(DataError, match=r"file name .* (leads out of|is an absolute path|has a backslash|has the)"):
        load_dataset(str(file))


@pytest.mark.parametrize("name", ["../../outside", "..", "a/b", "\0"])
def test_the_name_of_a_method_does_not_leave_the_output(constant, dataset, tmp_path, name):
    constant.name = name
    folder = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs").folders[0]
    assert folder.resolve().parent == (tmp_path / "runs/set/open_ended").resolve()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "set"]


# ---------------------------------------------------------------- pages


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def assert_no_markup_of(page, hostile):
    """What was written stands in the text, and made no element and no attribute."""
    elements = Elements(page)
    assert [text for text in hostile if text not in elements.text] == []
    for tag, attributes in elements.found:
        assert tag not in {"img", "b", "iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name.startswith("on")]
        assert not str(attributes.get("href", "")).lower().startswith("javascript:")


def test_names_that_are_markup_stay_text_in_report_and_leaderboard(coco, write_coco, tmp_path):
    pytest.importorskip("jinja2")
    from earthinstruct.reporting import report

    def hostile(what):
        return f"{what}'\"</script></textarea><img src=x onerror=alert(1)><b onclick=alert(2)>"

    class Method:
        name = hostile("name")

        def predict(self, image, instruction):
            if image[0, 0, 0] == 1:
                raise RuntimeError(hostile("reason"))
            counted = Usage(events={hostile("event"): 1})
            return Prediction(labels=[hostile("label"), "ship"], boxes=[[1, 1, 4, 4]] * 2, usage=counted)

        def describe(self):
            return {"version": "1", "notes": [hostile("note")], "parameters": {hostile("key"): hostile("value")}}

    coco["images"][1] |= {"id": hostile("id"), "file_name": "<script>alert(1)<!--.png"}
    coco["annotations"][3]["image_id"] = hostile("id")
    coco["categories"][1]["name"] = hostile("category")
    coco["categories"][1]["supercategory"] = hostile("parent")
    file = write_coco(coco)
    failing = file.parent / "images" / coco["images"][1]["file_name"]
    for image in coco["images"]:
        with Image.open(file.parent / "images" / image["file_name"]) as picture:
            picture.putpixel((0, 0), (int(image["file_name"] == failing.name), 0, 0))
            picture.save(file.parent / "images" / image["file_name"])
    run = evaluate(Method(), load_dataset(str(file)), setting="open_ended", output=tmp_path / "runs")
    assert list(run.results[0].run.failed) == [hostile("id")]
    page = report(run.folders[0], tmp_path / "page.html", dataset=str(file)).read_text()
    shown = ("name", "reason", "event", "label", "note", "key", "category")  # the value is written as JSON
    assert_no_markup_of(page, [hostile(what) for what in shown])
    assert "<script>alert(1)" not in page
    root = tmp_path / "boards"
    root.mkdir()
    described = replace(run.results[0].method, name="constant", version="1")
    file_result(root, replace(run.results[0], method=described))
    build_leaderboards(root)
    for table in root.rglob("*.html"):
        assert_no_markup_of(table.read_text(), [])


# ---------------------------------------------------------------- secrets

LEAKY = '''
import logging
import os

from earthinstruct import Prediction


class Leaky:
    """Quotes its key where it can."""

    name = "leaky"

    def __init__(self, api_key, url, hub):
        self.api_key, self.url, self.hub = api_key, url, hub

    def predict(self, image, instruction):
        logging.getLogger("earthinstruct.leaky").debug("asking a server")
        raise RuntimeError(f"401: {self.api_key}, {self.hub['token']}, {os.environ.get('SOME_API_KEY')} at {self.url}")

    def describe(self):
        return {"parameters": vars(self)}
'''


@pytest.mark.parametrize("workers", [1, 2])
def test_secrets_are_in_no_file_of_a_run_and_in_no_log(dataset, tmp_path, caplog, capfd, monkeypatch, workers):
    (tmp_path / "leaky.py").write_text(LEAKY)
    monkeypatch.setenv("SOME_API_KEY", "env-31415926")
    secrets = (KEY, "hf_2718281828", "env-31415926", "me:hunter2")
    with caplog.at_level(logging.DEBUG):
        run = evaluate(
            f"{tmp_path / 'leaky.py'}:Leaky",
            dataset,
            setting="open_ended",
            output=tmp_path / "runs",
            parameters={
                "api_key": KEY,
                "hub": {"token": "hf_2718281828"},
                "url": "https://me:hunter2@host/v1",
            },
            engine=EngineOptions(workers=workers),
        )
    assert run.results[0].run.failed["7"] == "RuntimeError: 401: ***, ***, *** at https://***@host/v1"
    told = caplog.text + "".join(capfd.readouterr())
    files = [path for path in run.folders[0].rglob("*") if path.is_file()]
    assert len(files) == 5
    with np.load(run.folders[0] / "tallies.npz") as stored:
        tallied = b"".join(array.tobytes() for array in stored.values()).decode(errors="replace")
    for text in (told, tallied, *(path.read_text() for path in files if path.suffix != ".npz")):
        assert not [secret for secret in secrets if secret in text]


def test_secrets_are_not_on_the_terminal(dataset, tmp_path, capsys):
    (tmp_path / "leaky.py").write_text(LEAKY)
    command = [
        "evaluate",
        "--method",
        f"{tmp_path / 'leaky.py'}:Leaky",
        "-M",
        f"api_key={KEY}",
        "-M",
        "url=https://a:b@c",
    ]
    command += ["-M", 'hub={"token": "hf_2718281828"}', "--dataset", str(tmp_path / "set/annotations.json")]
    command += ["--setting", "open_ended", "--output", str(tmp_path / "runs")]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert "leaky" in out
    assert not [secret for secret in (KEY, "hf_2718281828", "a:b@") if secret in out + err]


@pytest.mark.parametrize(
    ("parameters", "written"),
    [
        (
            {"servers": ["https://me:hunter2@host/v1", {"api_key": KEY, "size": 1}]},
            {"servers": ["https://host/v1", {"size": 1}]},
        ),
        ({"apiKey": KEY, "passwd": KEY, "credentials": {"a": KEY}}, {}),
        ({"max_tokens": 3, "monkey": "x"}, {"max_tokens": 3, "monkey": "x"}),
        (
            {"prompt": "Is it a ship? As on http://[x, or https://me:hunter2@host/a?sig=1 or so?"},
            {"prompt": "Is it a ship? As on http://[x, or https://host/a or so?"},
        ),
    ],
)
def test_parameters_are_written_without_secrets_wherever_they_are(parameters, written):
    assert without_secrets(parameters) == written


def test_a_secret_that_begins_with_another_is_replaced_whole():
    found = secret_values({"a_key": "secret", "b_key": "secret-and-more", "keys": [{"token": ["in-a-list"]}]})
    assert found.index("secret-and-more") < found.index("secret")
    assert "in-a-list" in found


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("at http://me:hunter2@host/v1", "at http://***@host/v1"),
        ("at http://me:p@ss@host:8000/v1", "at http://***@host:8000/v1"),
        ("at http://token@host", "at http://***@host"),
        ("at http://:pass@host", "at http://***@host"),
        ("at http://me:p/ss@host/v1", "at http://***@host/v1"),
        ("at http://me:p#s?s@host/v1", "at http://***@host/v1"),
        ("http://a:b@c and ftp://d:e@f/g", "http://***@c and ftp://***@f/g"),
        ("http://a:b@c/x,http://d:e@f", "http://***@c/x,http://***@f"),
        ("['http://a:b@c', 'http://d:e@f']", "['http://***@c', 'http://***@f']"),
        ("cannot reach me:p@ss@host:8000", "cannot reach ***@host:8000"),
        ("proxy=me:hunter2@[::1]:8000", "proxy=***@[::1]:8000"),
        ("at http://host/v1?key=sk-1#top", "at http://host/v1?***"),
        # nothing secret in these
        ("at http://host:8000/models/a@b", "at http://host:8000/models/a@b"),
        ("http://host/a@b is not there", "http://host/a@b is not there"),
        ("write to someone@example.org", "write to someone@example.org"),
        ("git@host:group/project", "git@host:group/project"),
        ("line 3: unexpected @", "line 3: unexpected @"),
        ("box[0]: a, b@c", "box[0]: a, b@c"),
    ],
)
def test_credentials_in_an_address_are_not_shown(said, shown):
    assert redacted(said, ()) == shown
    secrets = ("hunter2", "p@ss", "p/ss", "p#s?s", "a:b", "d:e", "sk-1")
    assert not [secret for secret in secrets if secret in without_secrets({"text": said})["text"]]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("at http://me:p/s@s@host/v1", "at http://***@host/v1"),
        ("at postgres://me:p%40ss@host/v1", "at postgres://***@host/v1"),
        ("GET /v1/models?key=sk-1&page=2 HTTP/1.1", "GET /v1/models?key=***&page=2 HTTP/1.1"),
        ("host:8000/v1?sig=abc", "host:8000/v1?sig=***"),
        ("DRIVER=x;UID=me;PWD=hunter2;", "DRIVER=x;UID=me;PWD=***;"),
        ("api_key=sk-1, client_secret=abc", "api_key=***, client_secret=***"),
        ("{'Authorization': 'Bearer abc.def-123'}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic bWU6aHVudGVyMg==", "Authorization: Basic ***"),
        # nothing secret in these
        ("parameter 'x' must be key=value, for example -M seed=1", None),
        ("a basic understanding of max_tokens=2000, monkey=3", None),
    ],
)
def test_pairs_and_headers_in_a_text_are_not_shown(said, shown):
    assert redacted(said, ()) == (said if shown is None else shown)


ODD = 'p@ss/w"o\\rd é+&<'


@pytest.mark.parametrize("name", ["api_key", "pwd", "hf_token", "client_secret", "token_of_hub", "password2", "apiKey"])
@pytest.mark.parametrize(
    "written",
    [
        str,
        repr,
        json.dumps,
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="").lower(),
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(text).replace("/", "\\/"),
        html.escape,
    ],
)
def test_a_secret_is_known_however_it_is_written(name, written):
    text = redacted(f"401 for {written(ODD)}", secret_values({name: ODD}))
    assert text.replace('"', "").replace("'", "") == "401 for ***"


def test_secrets_in_addresses_are_known_without_their_address():
    found = secret_values({"url": "https://me:hunter%402@host/v1?sig=abcdef&n=1"})
    assert {"hunter%402", "hunter@2", "abcdef"} <= set(found)
    assert "me" not in found


def test_the_working_folder_is_no_secret(monkeypatch):
    monkeypatch.setenv("PWD", "/home/someone")
    assert "/home/someone" not in secret_values({})


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("max_tokens", 3, True),
        ("token_limit", 3, True),
        ("tokenizer", "a folder", True),
        ("keys", ["a", "b"], True),
        ("author", "someone", True),
        ("pwd", 123456, False),
        ("tokens", ["hf_12345"], False),
        ("secrets", {"a": "b"}, False),
        ("session_cookie", "abcdef", False),
    ],
)
def test_names_of_secrets(name, value, kept):
    assert (name in without_secrets({name: value})) == kept


SPILLS = """
import sys

from earthinstruct import EarthInstructError, Prediction


class Spills:
    name = "spills"

    def __init__(self, pwd, where="", ours=False):
        self.pwd, self.where, self.ours = pwd, where, ours
        self.spill("init")

    def spill(self, place):
        if place != self.where:
            return
        if self.ours:
            raise EarthInstructError(f"the server refuses {self.pwd}")
        try:
            raise ValueError(self.pwd)
        except ValueError as error:
            raise RuntimeError("no answer") if self.where == "predict" else RuntimeError(str(error)) from error

    def predict(self, image, instruction):
        self.spill("predict")
        return Prediction()

    def describe(self):
        self.spill("describe")
        return {"parameters": vars(self), "notes": [f"made with {self.pwd}"], "version": self.pwd}

    def skip(self, task):
        self.spill("skip")
        return f"skipped with {self.pwd}" if self.where == "skipped" else None

    def close(self):
        self.spill("close")
"""


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("where", ["", "init", "describe", "skip", "skipped", "predict", "close"])
def test_a_secret_leaves_by_no_way(dataset, tmp_path, capsys, caplog, where, ours):
    (tmp_path / "spills.py").write_text(SPILLS)
    method, parameters = f"{tmp_path / 'spills.py'}:Spills", {"pwd": KEY, "where": where, "ours": ours}
    options = [word for name, value in parameters.items() for word in ("-M", f"{name}={json.dumps(value)}")]
    image = tmp_path / "set" / "images" / "a.png"
    asked = [
        ["evaluate", "--dataset", str(tmp_path / "set/annotations.json"), "--output", str(tmp_path / "runs")],
        ["predict", str(image), "--open-ended", "--json", str(tmp_path / "out.json")],
        ["predict", str(image), str(image.with_name("b.png")), "--open-ended"],
    ]
    for command in asked:
        main([*command, "--method", method, *options])
    main(["check-method", method, *options])
    main(["evaluate", "--method", method, "-M", f"api-key={KEY}"])
    for call in (
        lambda: evaluate(method, dataset, parameters=parameters, output=tmp_path / "runs"),
        lambda: predict(method, image, open_ended=True, parameters=parameters),
        lambda: check_method(method, parameters),
    ):
        try:
            sys.stdout.write(str(call()))
        except Exception:
            traceback.print_exc()
    said = "".join(capsys.readouterr()) + caplog.text
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "spills.py"]
    assert len(said) > 1000
    assert KEY not in said
    assert not [content for content in files if KEY.encode() in content]
