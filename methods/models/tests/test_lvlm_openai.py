"""The client against a server on this machine that misbehaves in every way a real one does."""

import asyncio
import base64
import gzip
import io
import json
import logging
import math
import shutil
import socket
import struct
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from earthinstruct_models.lvlm import HopelessLvlmError, LvlmError, Reply, answered, checked, parse_counts
from earthinstruct_models.lvlm.openai import OpenAiLvlm
from earthinstruct_models.store import KeptLvlm
from PIL import Image

from earthinstruct import Prediction, Usage, draw_scenes, evaluate
from earthinstruct.errors import EarthInstructError, UnknownNameError

KEY = "sk-this-is-the-secret-0123456789"
IMAGE = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
SCHEMA = {"type": "object", "properties": {"ship": {"type": "integer"}}, "required": ["ship"]}
CLOSED = {**SCHEMA, "additionalProperties": False}


def completion(content='{"ship": 3}', finish="stop", refusal=None, **changes):
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny-2026",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    return 200, {**body, **changes}, {}


def fault(status, message="out of order", **headers):
    return status, {"error": {"message": message}}, {"retry-after-ms": "5", **headers}


class Server(ThreadingHTTPServer):
    """Answers a request by the next of `plan`, else by `default`: (status, body, headers), or a call on the handler."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = []
        self.default = completion()
        self.requests = []
        self.headers = []
        self.lock = threading.Lock()
        self.active = self.peak = 0
        self.crowd = threading.Condition(self.lock)
        self.over = threading.Event()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        pass  # a client that gave up


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.server.active += 1
            self.server.peak = max(self.server.peak, self.server.active)
            self.server.crowd.notify_all()
            answer = self.server.plan.pop(0) if self.server.plan else self.server.default
        self.body = body
        try:
            answer = answer(self) if callable(answer) else answer
        finally:  # before the reply: the client's next request may be here before this thread goes on
            with self.server.lock:
                self.server.active -= 1
        if answer is not None:
            self.reply(*answer)

    def reply(self, status, body, headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


def reset(handler):
    """The connection is cut off hard."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def silent(handler):
    """No reply while the test lasts."""
    handler.server.over.wait()


def without(*words):
    """A server that refuses a request which has one of these response formats."""

    def answer(handler):
        wanted = handler.body.get("response_format", {}).get("type")
        if wanted in words:
            return fault(400, f"Invalid parameter: 'response_format' of type '{wanted}' is not supported")
        return completion()

    return answer


@pytest.fixture
def server(monkeypatch):
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def make(server):
    made = []

    def make(**parameters):
        made.append(OpenAiLvlm("tiny", **parameters))
        return made[-1]

    yield make
    for lvlm in made:
        lvlm.close()


def failure(lvlm, *arguments):
    with pytest.raises(LvlmError) as caught:
        lvlm.ask(IMAGE, "count", *arguments)
    return caught.value


def test_what_is_sent_and_what_comes_back(server, make):
    reply = make(max_tokens=50).ask(IMAGE, "count the ships")
    assert (reply.text, reply.finish, reply.model) == ('{"ship": 3}', "complete", "tiny-2026")
    assert (reply.input_tokens, reply.output_tokens) == (11, 7)
    assert reply.seconds > 0
    (sent,) = server.requests
    assert {name: sent[name] for name in ("model", "temperature", "top_p", "max_tokens")} == {
        "model": "tiny",
        "temperature": 0.01,
        "top_p": 1.0,
        "max_tokens": 50,
    }
    assert "response_format" not in sent
    text, image = sent["messages"][0]["content"]
    assert text == {"type": "text", "text": "count the ships"}
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    kind, _, data = image["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), IMAGE)


def test_jpeg(server, make):
    make(image_format="jpeg").ask(IMAGE, "count")
    kind, _, data = server.requests[0]["messages"][0]["content"][1]["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "JPEG"


def test_sampling_can_be_left_to_the_server(server, make):
    make(temperature=None, top_p=None).ask(IMAGE, "count")
    assert not {"temperature", "top_p"} & set(server.requests[0])


@pytest.mark.parametrize("broken", [fault(429), fault(500), fault(503), fault(408), reset])
def test_a_passing_fault_is_tried_again(server, make, broken):
    server.plan = [broken]
    assert make().ask(IMAGE, "count").text == '{"ship": 3}'
    assert len(server.requests) == 2


class Clock:
    """Time that passes in sleep alone, and at once."""

    now = 0.0

    def perf_counter(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


def test_the_server_says_how_long_to_wait(server, make, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("earthinstruct_models.lvlm.openai.time", clock)
    monkeypatch.setattr("anyio.sleep", clock.sleep)  # the client waits by it
    server.plan = [fault(429, **{"retry-after-ms": "40000"})]
    assert make().ask(IMAGE, "count").seconds == 40.0


def test_a_lasting_fault_is_given_up(server, make):
    server.default = fault(503, "overloaded")
    error = failure(make(max_retries=2))
    assert len(server.requests) == 3
    assert str(error) == f"model 'tiny' at 127.0.0.1:{server.server_port}: 503 'overloaded'"
    assert error.reply is None


def test_time_outs(server, make):
    server.plan = [silent]
    assert make(timeout=1).ask(IMAGE, "count").text == '{"ship": 3}'
    assert len(server.requests) > 1
    server.default = silent
    assert "timed out" in str(failure(make(timeout=0.1, max_retries=0)))


@pytest.mark.timeout(50)  # before the server's minute is over
def test_deadline(server, make):
    server.default = fault(429, **{"retry-after-ms": "60000"})
    assert "deadline of 0.2 s" in str(failure(make(deadline=0.2)))


def test_no_server(monkeypatch, no_server):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{no_server}/v1")
    lvlm = OpenAiLvlm("tiny", max_retries=0)
    assert "OPENAI_BASE_URL" in str(failure(lvlm))
    lvlm.close()


def test_a_wrong_key_is_not_tried_again(server, make):
    server.default = fault(401, f"Incorrect API key provided: {KEY}")
    lvlm = make()
    error = failure(lvlm)
    assert "OPENAI_API_KEY" in str(error)
    assert KEY not in str(error)
    assert str(failure(lvlm)) == str(error)
    assert len(server.requests) == 1


def test_another_refusal_of_the_server_is_shown_without_the_key(server, make):
    server.default = fault(404, f"the model does not exist for {KEY}")
    assert "404 'the model does not exist for ***'" in str(failure(make()))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (completion(None, refusal="I cannot help with that"), "I cannot help with that"),
        (completion("", finish="content_filter"), ""),
    ],
)
def test_refusal(server, make, answer, text):
    server.default = answer
    reply = make().ask(IMAGE, "count")
    assert (reply.finish, reply.text, reply.output_tokens) == ("refused", text, 7)
    with pytest.raises(LvlmError, match="refused") as caught:
        parse_counts(reply)
    assert caught.value.reply == reply


def test_cut_off(server, make):
    server.default = completion('{"ship": 3, "har', finish="length")
    reply = make().ask(IMAGE, "count")
    with pytest.raises(LvlmError, match="cut off after 7 tokens"):
        checked(reply)


@pytest.mark.parametrize(
    "text",
    ['```json\n{"ship": 3}\n```', 'I see three: {"ship": 3}. Anything else?', '{"counts": {"ship": "3"}}'],
)
def test_fences_and_prose(server, make, text):
    server.default = completion(text)
    reply = make().ask(IMAGE, "count")
    assert reply.text == text
    assert parse_counts(reply) == {"ship": 3}


@pytest.mark.parametrize("text", ["There are three ships.", '{"ship": "many"}', '{"ship": -1}', '{"ship": 3, "h', ""])
def test_unusable_text_is_kept(server, make, text):
    server.default = completion(text)
    with pytest.raises(LvlmError) as caught:
        parse_counts(make().ask(IMAGE, "count"))
    assert caught.value.reply.text == text
    assert caught.value.reply.input_tokens == 11


def test_a_huge_reply(server, make):
    server.default = completion("ships, " * 300_000 + '{"ship": 3}')
    reply = make().ask(IMAGE, "count")
    assert len(reply.text) > 2_000_000
    assert parse_counts(reply) == {"ship": 3}
    server.default = completion("ships, " * 300_000)
    with pytest.raises(LvlmError) as caught:
        parse_counts(make().ask(IMAGE, "count"))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "answer",
    [
        completion(choices=[]),
        completion(choices=None),
        (200, {"hello": "world"}, {}),
        (200, [1, 2], {}),
        (200, b"<html>login</html>", {"content-type": "text/html"}),
        (200, b'{"choices": ', {}),
        completion(choices=[{"index": 0, "message": None}]),
        completion(choices={"first": 1}),
    ],
)
def test_not_a_chat_completion(server, make, answer):
    server.default = answer
    assert "not a chat completion" in str(failure(make(max_retries=0)))


def test_tokens_may_be_missing(server, make):
    server.default = completion(usage=None)
    assert make().ask(IMAGE, "count").input_tokens == 0


def test_content_of_another_type(server, make):
    server.default = completion([{"type": "text", "text": "3"}])
    with pytest.raises(LvlmError):
        parse_counts(make().ask(IMAGE, "count"))


def test_an_error_of_the_caller_ends_the_batch(server, make):
    def stop(i, reply):
        raise OSError("disk full")

    lvlm = make(concurrency=1)
    with pytest.raises(OSError, match="disk full"):
        lvlm.ask_many([IMAGE] * 20, "count", arrived=stop)
    asked = len(server.requests)
    assert asked < 5
    lvlm.ask(IMAGE, "count")  # the bound on requests is free again
    assert len(server.requests) <= asked + 2


def test_half_a_character(server, make):
    server.default = completion('{"ship \ud83d": 3}')
    assert make().ask(IMAGE, "count").text == '{"ship ?": 3}'


@pytest.mark.parametrize(("schema", "strict"), [(SCHEMA, False), (CLOSED, True)])
def test_schema(server, make, schema, strict):
    make().ask(IMAGE, "count", schema)
    wanted = {"name": "answer", "schema": schema, "strict": strict}
    assert server.requests[0]["response_format"] == {"type": "json_schema", "json_schema": wanted}


@pytest.mark.parametrize(
    ("lacking", "first", "then"),
    [
        (("json_schema",), ["json_schema", "json_object"], "json_object"),
        (("json_schema", "json_object"), ["json_schema", "json_object", None], None),
    ],
)
def test_a_server_without_response_formats(server, make, caplog, lacking, first, then):
    server.default = without(*lacking)
    lvlm = make()

    def formats():
        return [sent.get("response_format", {}).get("type") for sent in server.requests]

    assert lvlm.ask(IMAGE, "count", SCHEMA).text == '{"ship": 3}'
    assert formats() == first
    assert len(caplog.records) == len(lacking)
    lvlm.ask(IMAGE, "count", SCHEMA)
    assert formats() == [*first, then]


def test_the_format_can_be_chosen(server, make):
    make(reply_format="json_object").ask(IMAGE, "count", SCHEMA)
    make(reply_format="plain").ask(IMAGE, "count", SCHEMA)
    assert [sent.get("response_format") for sent in server.requests] == [{"type": "json_object"}, None]


def test_another_bad_request_is_an_error(server, make):
    server.default = fault(400, "image too large")
    assert "400 'image too large'" in str(failure(make(), SCHEMA))
    assert len(server.requests) == 1


def test_models_that_call_the_limit_otherwise(server, make):
    server.plan = [fault(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")]
    make(max_tokens=9).ask(IMAGE, "count")
    assert server.requests[1]["max_completion_tokens"] == 9
    assert "max_tokens" not in server.requests[1]


def test_many_at_once_but_bounded(server, make):
    def numbered(handler):
        with server.crowd:
            assert server.crowd.wait_for(lambda: server.peak >= 3, 60)
        time.sleep(0.02)  # time for one too many to come
        url = handler.body["messages"][0]["content"][1]["image_url"]["url"]
        return completion(str(len(url)))

    lvlm = make(concurrency=3)
    lvlm.ask(IMAGE, "count")  # the first request goes alone
    server.default = numbered
    arrived = {}
    outcomes = lvlm.ask_many([IMAGE] * 12, "count", arrived=arrived.__setitem__)
    assert server.peak == 3
    assert arrived == dict(enumerate(outcomes))
    with ThreadPoolExecutor(8) as threads:  # callers of several threads share the bound
        list(threads.map(lambda _: lvlm.ask(IMAGE, "count"), range(12)))
    assert server.peak == 3


def test_many_keep_their_order_and_fail_alone(server, make):
    def by_size(handler):
        url = handler.body["messages"][0]["content"][1]["image_url"]["url"]
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        time.sleep(0.01 * (6 - picture.width))  # the last first
        return fault(400, "no") if picture.width == 3 else completion(str(picture.width))

    server.default = by_size
    outcomes = make(concurrency=5).ask_many([np.zeros((1, width, 3), np.uint8) for width in range(1, 6)], "count")
    assert [out.text if isinstance(out, Reply) else "failed" for out in outcomes] == ["1", "2", "failed", "4", "5"]


def test_inside_a_running_loop(make):
    lvlm = make()

    async def notebook():
        return lvlm.ask(IMAGE, "count")

    assert asyncio.run(notebook()).text == '{"ship": 3}'


def test_the_key_is_nowhere(server, make, caplog, tmp_path, monkeypatch):
    """Not in logs at their loudest, nor in files, descriptions, errors and their tracebacks."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)
    user = "someone:pass-word-9876"
    monkeypatch.setenv("OPENAI_BASE_URL", server.address.replace("//", f"//{user}@"))
    server.plan = [fault(500, KEY), fault(429, KEY), fault(400, f"'response_format' for {KEY} {user}")]
    lvlm = make()
    kept = KeptLvlm(lvlm, tmp_path / "replies.jsonl")
    kept.ask(IMAGE, "count", SCHEMA)
    said = []
    for broken in (fault(404, f"{KEY} " * 50), fault(401, f"{KEY} {user}"), reset):
        server.default = broken
        with pytest.raises(LvlmError) as caught:
            make(max_retries=0).ask(IMAGE, "count")
        said += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    said += [json.dumps(lvlm.describe()), json.dumps(kept.describe()), repr(lvlm), caplog.text]
    said += [str(record.__dict__) for record in caplog.records]
    said += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (KEY, "pass-word-9876", base64.b64encode(user.encode()).decode()):
        assert [text for text in said if secret in text] == []
    assert len(caplog.records) > 10  # the logs were on
    assert server.headers[0]["authorization"] == "Basic " + base64.b64encode(user.encode()).decode()


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(EarthInstructError, match="OPENAI_API_KEY"):
        OpenAiLvlm("tiny")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u201csmart")
    with pytest.raises(EarthInstructError, match="OPENAI_API_KEY has characters") as caught:
        OpenAiLvlm("tiny")
    assert "smart" not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    for address in ("localhost:1234", "http://server/v1?key=abc", "ftp://server"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        with pytest.raises(EarthInstructError, match="OPENAI_BASE_URL") as caught:
            OpenAiLvlm("tiny")
        assert address not in str(caught.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")  # a server that asks for no key
    described = OpenAiLvlm("tiny").describe()
    assert len(described.pop("address")) == 16
    assert described == {
        "lvlm": "openai",
        "model": "tiny",
        "server": "localhost:8000",
        "temperature": 0.01,
        "top_p": 1.0,
        "max_tokens": 2000,
        "image_format": "png",
        "reply_format": "schema",
    }


def test_parameters(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("image_format", "reply_format"):
        with pytest.raises(UnknownNameError):
            OpenAiLvlm("tiny", **{name: "gif"})
    for name in ("max_tokens", "concurrency"):
        with pytest.raises(EarthInstructError, match=f"{name} must be an integer >= 1, got 0"):
            OpenAiLvlm("tiny", **{name: 0})
    for name, value in (
        *(("temperature", value) for value in ("warm", math.nan, -1)),
        *(("top_p", value) for value in ("x", 1.5)),
        *((name, value) for name in ("timeout", "deadline") for value in ("q", math.nan, None)),
    ):
        with pytest.raises(EarthInstructError, match=f"{name} must be a number from 0.*, got {value!r}"):
            OpenAiLvlm("tiny", **{name: value})


def test_one_and_one_point_nought_are_one_parameter(make):
    described = [
        json.dumps(make(temperature=one, top_p=one, max_tokens=many).describe())
        for one, many in ((1, 100), (1.0, np.int64(100)), (np.float64(1), 100))
    ]
    assert len(set(described)) == 1


def test_a_server_is_known_by_its_whole_address(monkeypatch):
    """Scheme, port and path count; the user does not, nor does a slash at the end. OpenAI's own address has no hash."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def described(address):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        return OpenAiLvlm("tiny").describe()

    addresses = [
        *("http://server/v1", "https://server/v1", "http://server:8001/v1", "http://server:8002/v1"),
        *("http://server/v2", "http://server/path-with-a-key/v1"),
    ]
    found = [json.dumps(described(address)) for address in addresses]
    assert len(set(found)) == len(addresses)
    assert not [text for text in found if "path-with-a-key" in text]
    assert described("http://me:password@server:8001/v1/") == described("http://server:8001/v1")
    assert described("https://api.openai.com/v1") == described("")
    assert "address" not in described("")


def test_kept_replies_are_those_of_one_server(server, make, monkeypatch, tmp_path):
    """A server at another path may have another model."""
    file = tmp_path / "replies.jsonl"
    for path, requests in (("", 1), ("", 1), ("/other", 2), ("/", 2)):
        monkeypatch.setenv("OPENAI_BASE_URL", server.address + path)
        KeptLvlm(make(), file).ask(IMAGE, "count")
        assert len(server.requests) == requests


def test_a_run_is_not_continued_with_another_server(server, make, monkeypatch, tmp_path):
    scenes = draw_scenes(tmp_path / "scenes", images=2, size=128)

    def run(**options):
        lvlm = make()
        method = Counts(lvlm, tmp_path / "replies.jsonl")
        method.describe = lambda: {"version": "1", "parameters": lvlm.describe()}
        return evaluate(method, scenes, setting="open_ended", output=tmp_path / "runs", **options)

    run(limit=1)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.address}/other")
    with pytest.raises(EarthInstructError, match="parameter address was"):
        run(limit=1)
    assert len(server.requests) == 1
    run()  # the image that the first server answered is asked about again
    assert len(server.requests) == 3


# ---------------------------------------------------------------- servers, with their documented errors and answers


def body_error(status, error, **headers):
    return status, error, {"retry-after-ms": "5", **headers}


def openai_error(message, param, code, status=400):
    return body_error(
        status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    )


def gpt_4o(sent):
    return completion()


def gpt_5(sent):
    if "max_tokens" in sent:
        words = "Unsupported parameter: 'max_tokens' is not supported with this model."
        return openai_error(words, "max_tokens", "unsupported_parameter")
    if sent.get("temperature", 1) != 1:
        words = "Unsupported value: 'temperature' does not support 0.01 with this model."
        return openai_error(words, "temperature", "unsupported_value")
    if "top_p" in sent:
        return openai_error("Unsupported parameter.", "top_p", "unsupported_parameter")
    return completion()


def o1_pro(sent):
    for name in ("temperature", "top_p"):
        if name in sent:
            return openai_error("Not with this model.", name, None)
    return completion()


def azure(sent):
    if sent.get("response_format", {}).get("type") == "json_schema":
        words = "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"
        return body_error(400, {"error": {"code": "BadRequest", "message": words}})
    return completion()


def openrouter(sent):  # the error of a provider, as text inside the error; with status 200
    if "temperature" in sent:
        raw = json.dumps({"error": {"message": "Unsupported.", "param": "temperature", "code": "unsupported_value"}})
        error = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "OpenAI"}}
        return body_error(200, {"error": error, "user_id": "user_1"})
    return completion()


def claude_behind_litellm(sent):
    if {"temperature", "top_p"} <= set(sent):
        words = "AnthropicException - `temperature` and `top_p` cannot both be specified for this model."
        return body_error(400, {"error": {"message": words, "type": None, "param": None, "code": "400"}})
    return completion()


def gemini(sent):  # a list
    if "additionalProperties" in json.dumps(sent.get("response_format", {})):
        words = 'Invalid JSON payload received. Unknown name "additionalProperties"'
        violation = {"field": "generation_config.response_schema", "description": words}
        details = [
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]},
        ]
        error = {"code": 400, "message": words, "status": "INVALID_ARGUMENT", "details": details}
        return body_error(400, [{"error": error}])
    return completion()


def mistral(sent):  # refuses fields that it does not know; thoughts are parts of the content
    entries = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": sent[name]}
        for name in ("top_p",)
        if name in sent
    ]
    if entries:
        message = {"detail": entries}
        error = {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": None}
        return body_error(422, error)
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": '{"ship": 99}'}]}
    return completion([thoughts, {"type": "text", "text": '{"ship"'}, {"type": "text", "text": ": 3}"}])


def fastapi(sent):
    if "response_format" in sent:
        entry = {"type": "literal_error", "loc": ["body", "response_format", "type"], "msg": "Input should be 'text'"}
        return body_error(422, {"detail": [entry]})
    return completion()


def vllm(sent):
    return completion()


def sglang(sent):
    if "response_format" in sent and sent["response_format"]["type"] == "json_schema":
        error = {"object": "error", "message": "No grammar.", "type": "BadRequestError", "code": 400}
        return body_error(400, {**error, "param": "response_format"})
    return completion()


def ollama(sent):
    return completion(usage=None)


def lm_studio(sent):
    if sent.get("response_format", {}).get("type") == "json_object":
        return body_error(400, {"error": "'response_format.type' must be 'json_schema' or 'text'"})
    return completion()


def moonshot(sent):
    if sent.get("top_p", 0.95) != 0.95:
        words = "invalid top_p: only 0.95 is allowed for this model"
        return body_error(400, {"error": {"message": words, "type": "invalid_request_error"}})
    return completion()


SAMPLING = {"temperature": 0.01, "top_p": 1.0, "max_tokens": 2000}


@pytest.mark.parametrize(
    ("play", "requests", "sampling", "response_format"),
    [
        (gpt_4o, 1, SAMPLING, "json_schema"),
        (gpt_5, 4, {"max_completion_tokens": 2000}, "json_schema"),
        (o1_pro, 3, {"max_tokens": 2000}, "json_schema"),
        (azure, 2, SAMPLING, "json_object"),
        (openrouter, 2, {"top_p": 1.0, "max_tokens": 2000}, "json_schema"),
        (claude_behind_litellm, 2, {"temperature": 0.01, "max_tokens": 2000}, "json_schema"),
        (gemini, 2, SAMPLING, "json_object"),
        (mistral, 2, {"temperature": 0.01, "max_tokens": 2000}, "json_schema"),
        (fastapi, 3, SAMPLING, None),
        (vllm, 1, SAMPLING, "json_schema"),
        (sglang, 2, SAMPLING, "json_object"),
        (ollama, 1, SAMPLING, "json_schema"),
        (lm_studio, 1, SAMPLING, "json_schema"),
        (moonshot, 2, {"temperature": 0.01, "max_tokens": 2000}, "json_schema"),
    ],
)
def test_what_a_server_refuses_is_left_out(server, make, caplog, play, requests, sampling, response_format):
    server.default = lambda handler: play(handler.body)
    lvlm = make()
    outcomes = lvlm.ask_many([IMAGE] * 3, "count", CLOSED)
    assert [outcome.text for outcome in outcomes] == ['{"ship": 3}'] * 3
    assert len(server.requests) == requests + 2  # found out once, and remembered
    assert len(caplog.records) == requests - 1
    sent = server.requests[-1]
    assert {name: sent[name] for name in sent if name not in ("model", "messages", "response_format")} == sampling
    assert sent.get("response_format", {}).get("type") == response_format


@pytest.mark.parametrize(
    ("play", "schema", "without"),
    [
        (gpt_4o, CLOSED, ()),
        (gpt_5, CLOSED, ("temperature", "top_p")),
        (azure, CLOSED, ("a JSON schema",)),
        (azure, None, ()),
        (fastapi, CLOSED, ("JSON mode", "a JSON schema")),
    ],
)
def test_a_reply_says_what_its_request_lacked(server, make, tmp_path, play, schema, without):
    server.default = lambda handler: play(handler.body)
    reply = KeptLvlm(make(), tmp_path / "replies.jsonl").ask(IMAGE, "count", schema)
    assert reply.without == without
    assert reply.events == {f"requests without {name}": 1 for name in without}
    assert KeptLvlm(make(), tmp_path / "replies.jsonl").ask(IMAGE, "count", schema) == reply


class Counts:
    """Counts ships by a language model, whose replies are kept in a file."""

    name = "counts"

    def __init__(self, lvlm, file):
        self.lvlm = KeptLvlm(lvlm, file)

    def describe(self):
        return {"version": "1"}

    def repeat(self, number):
        self.lvlm.repeat(number)

    def predict(self, image, instruction):
        return self.predict_batch([image], instruction)[0]

    def predict_batch(self, images, instruction):
        replies = answered(self.lvlm.ask_many(images, "count"))
        return [
            Prediction(
                counts=parse_counts(reply), usage=Usage({}, reply.input_tokens, reply.output_tokens, reply.events)
            )
            for reply in replies
        ]


def seeds(server):
    return [sent.get("seed") for sent in server.requests]


def test_each_repeat_sends_a_seed_of_its_own_and_shares_no_reply(server, make, tmp_path):
    server.default = lambda handler: completion(json.dumps({"ship": handler.body.get("seed", 0) + 1}))
    scenes = draw_scenes(tmp_path / "scenes", images=2, size=128)

    def run():
        method = Counts(make(), tmp_path / "replies.jsonl")
        (result,) = evaluate(method, scenes, setting="open_ended", output=tmp_path / "runs", repeats=3)
        return result.variants["repeats"]

    found = run()
    assert sorted(seeds(server), key=str) == [1, 1, 2, 2, None, None]
    assert [of.agreement for of in found.runs.values()] == [0, 0]
    assert [of.input_tokens for of in found.runs.values()] == [22, 22]  # each is paid for
    shutil.rmtree(tmp_path / "runs")
    again = run()  # from the file of replies
    assert len(server.requests) == 6
    scores = [{name: of.scores for name, of in each.runs.items()} for each in (found, again)]
    assert scores[0] == scores[1]


def test_a_seed_that_a_server_refuses_is_left_out_and_that_is_said(server, make, caplog, tmp_path):
    def seedless(handler):
        if "seed" in handler.body:
            return openai_error("Unknown parameter: 'seed'.", "seed", "unknown_parameter")
        return completion()

    server.default = seedless
    method = Counts(make(concurrency=1), tmp_path / "replies.jsonl")
    scenes = draw_scenes(tmp_path / "scenes", images=2, size=128)
    (result,) = evaluate(method, scenes, setting="open_ended", output=tmp_path / "runs", repeats=2)
    assert len(server.requests) == 2 * 2 + 1  # found out once, and remembered
    assert (
        sum("does not support seed; later requests leave it out" in entry.getMessage() for entry in caplog.records) == 1
    )
    assert not result.run.events  # the run itself has no seed
    assert result.variants["repeats"].runs["2"].events == {"requests without seed": 2}
    assert "repeats: requests without seed: 2" in str(result)


def test_another_schema_may_be_accepted(server, make):
    server.default = lambda handler: gemini(handler.body)
    lvlm = make()
    lvlm.ask(IMAGE, "count", CLOSED)
    lvlm.ask(IMAGE, "count", SCHEMA)
    lvlm.ask(IMAGE, "count", CLOSED)
    formats = [sent["response_format"]["type"] for sent in server.requests]
    assert formats == ["json_schema", "json_object", "json_schema", "json_object"]


@pytest.mark.parametrize(
    "refusal",
    [
        openai_error("The schema of the image is not known.", None, None),
        openai_error("json_schema, top_p, temperature: no such image", "messages.0.content", "invalid_image"),
        openai_error("Invalid 'temperature': above the maximum value.", "temperature", "decimal_above_max_value"),
        body_error(422, {"detail": [{"loc": ["body", "top_p"], "msg": "Too large", "type": "less_than_equal"}]}),
        body_error(400, {"error": {"message": "Invalid image format", "type": "BadRequestError", "code": 400}}),
    ],
)
def test_an_error_about_something_else_changes_no_later_request(server, make, refusal):
    lvlm = make()
    lvlm.ask(IMAGE, "count", CLOSED)
    server.plan = [refusal]
    failure(lvlm, CLOSED)
    lvlm.ask(IMAGE, "count", CLOSED)
    assert len(server.requests) == 3
    assert {**server.requests[0], "messages": 0} == {**server.requests[2], "messages": 0}


def test_what_is_refused_in_vain_is_sent_again(server, make):
    """A feature is left out in later requests only if the request without it was answered."""
    server.plan = [openai_error("No.", "response_format", None)] * 3
    lvlm = make()
    assert "400 'No.'" in str(failure(lvlm, CLOSED))
    lvlm.ask(IMAGE, "count", CLOSED)
    formats = [sent.get("response_format", {}).get("type") for sent in server.requests]
    assert formats == ["json_schema", "json_object", None, "json_schema"]


HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>" + b"<p>x</p>" * 999 + b"</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (400, {"error": {"message": "too many images"}}, "400 'too many images'"),
        (400, {"error": "too many images"}, "400 'too many images'"),
        (400, [{"error": {"code": 400, "message": "too many images", "status": "INVALID_ARGUMENT"}}], "too many"),
        (400, {"object": "error", "message": "too many images", "code": 400}, "400 'too many images'"),
        (400, {"detail": "too many images"}, "400 'too many images'"),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "too many images", "type": "x"}]}, "too many images"),
        (422, {"message": {"detail": [{"loc": ["body"], "msg": "too many images"}]}}, "422 'too many images'"),
        (400, b"too many images", "400 'too many images'"),
        (413, b"", "413 'Error code: 413'"),
        (502, HTML, "502 '502 Bad Gateway'"),
        (400, {"error": {"message": "Provider returned error", "metadata": {"raw": "too many images"}}}, "too many"),
        (400, {"error": {"code": "BadRequest", "innererror": {"message": "too many images"}}}, "too many images"),
        (400, {"error": None, "message": "too many images"}, "too many images"),
        (400, {"error": {"message": ["too many images"]}}, "too many images"),
        (400, {"error": {"message": "half \ud83d"}}, r"400 'half \ud83d'"),
        (400, {"error": {"message": "no\u001b[31m\nship"}}, r"400 'no\x1b[31m ship'"),
    ],
)
def test_what_a_server_says_is_shown(server, make, status, body, shown):
    server.default = (status, body, {})
    assert shown in str(failure(make(max_retries=0)))


def choice_error(code):
    choice = {"index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": "{"}}
    status, body, _ = completion(choices=[{**choice, "error": {"code": code, "message": "upstream died"}}])
    return body_error(status, body)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (body_error(200, {"error": {"code": 502, "message": "upstream died"}}), 3),
        (body_error(200, {"error": {"code": "429", "message": "upstream died"}}), 3),
        (body_error(200, {"error": {"code": "rate_limit_exceeded", "message": "upstream died"}}), 3),
        (body_error(200, {"error": {"code": 400, "message": "upstream died"}}), 1),
        (body_error(200, {"error": "upstream died"}), 1),
        (body_error(200, [{"error": {"code": 503, "message": "upstream died"}}]), 3),
        (body_error(200, {"object": "error", "message": "upstream died", "code": 500}), 3),
        (choice_error(502), 3),
        (choice_error(400), 1),
    ],
)
def test_an_error_with_status_200_is_shown_and_tried_again_by_its_code(server, make, answer, tries):
    server.default = answer
    assert "upstream died" in str(failure(make(max_retries=2)))
    assert len(server.requests) == tries
    server.requests.clear()
    server.plan, server.default = [answer], completion()
    if tries > 1:
        assert make().ask(IMAGE, "count").text == '{"ship": 3}'


def message(finish="stop", **fields):
    return completion(choices=[{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **fields}}])


CALL = {"id": "1", "type": "function", "function": {"name": "count", "arguments": '{"ship": 3}'}}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (completion('{"ship"', finish="error"), "ended with 'error'"),
        (completion("", finish="abort"), "ended with 'abort'"),
        (message("tool_calls", content=None, tool_calls=[CALL]), "ended with 'tool_calls'"),
        (message("tool_calls", content="Let me count.", tool_calls=[CALL]), "ended with 'tool_calls'"),
        (message(content=None, tool_calls=[CALL]), "ended with 'stop', not with an answer"),
        (message("length", content="", reasoning_content="I see"), "no answer, at most thoughts; a larger max_tokens"),
        (message(content=None, reasoning="I see"), "no answer"),
        (message(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "{}"}]}]), "no answer"),
        (completion("\n"), "no answer"),
    ],
)
def test_what_is_no_answer_is_not_kept(server, make, tmp_path, answer, why):
    server.plan = [answer]
    lvlm = KeptLvlm(make(), tmp_path / "replies.jsonl")
    with pytest.raises(LvlmError, match=why) as caught:
        lvlm.ask(IMAGE, "count")
    assert (caught.value.usage.input_tokens, caught.value.usage.output_tokens) == (11, 7)  # it was paid for
    assert not (tmp_path / "replies.jsonl").exists()
    assert lvlm.ask(IMAGE, "count").text == '{"ship": 3}'


@pytest.mark.parametrize("finish", ["length", "model_length"])
def test_reasons_of_other_servers_to_finish(server, make, finish):
    server.plan = [completion("{", finish=finish), completion("", finish="content_filter: RECITATION")]
    lvlm = make()
    assert [lvlm.ask(IMAGE, "count").finish for _ in range(2)] == ["truncated", "refused"]


QUOTA = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (401, {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}, "OPENAI_API_KEY"),
        (401, {"statusCode": 401, "message": "Access token is missing"}, "OPENAI_API_KEY"),  # Azure
        (401, {"detail": "Unauthorized"}, "OPENAI_API_KEY"),  # Mistral
        (402, {"error": {"code": 402, "message": "Insufficient credits"}}, "no credit"),  # OpenRouter
        (403, {"error": {"message": "Country not supported", "code": "unsupported_country"}}, "OPENAI_API_KEY"),
        (
            404,
            {"error": {"message": "model 'x' not found", "type": "not_found_error"}},
            "the name of the model",
        ),  # Ollama
        (404, {"error": {"code": "DeploymentNotFound", "message": "no such deployment"}}, "the name of the model"),
        (429, {"error": QUOTA}, "You exceeded your current quota."),
        (200, {"error": QUOTA}, "You exceeded your current quota."),
        (
            400,
            [{"error": {"code": 400, "details": [{"reason": "API_KEY_INVALID"}], "message": "not valid"}}],
            "not valid",
        ),
        (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}, "Invalid"),
        # LM Studio, without a code
        (400, {"error": "Model does not support images. Please use a model that does."}, "does not support images"),
        (400, {"error": 'Failed to load model "x". Error: insufficient system resources.'}, "Failed to load model"),
        (400, {"error": {"message": "No models loaded. Please load a model.", "type": "x"}}, "No models loaded."),
        (200, {"error": 'Invalid model identifier "x". Please specify a valid downloaded model.'}, "Invalid model"),
        (400, {"error": {"message": "this model does not support image input"}}, "image input"),  # Ollama
    ],
)
def test_after_a_hopeless_error_nothing_more_is_sent(server, make, status, body, shown):
    server.default = body_error(status, body)
    lvlm = make()
    outcomes = lvlm.ask_many([IMAGE] * 4, "count")
    assert [type(outcome) for outcome in outcomes] == [HopelessLvlmError] * 4
    assert shown in str(outcomes[0])
    assert str(failure(lvlm)) == str(outcomes[0])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "x"}}),
        (400, {"code": "content_filter", "message": "flagged", "param": "prompt", "status": 400}),
        (400, {"message": "Image too small: failed to load model input"}),
        (429, {"code": "rate_limit_exceeded", "message": "slow down"}),
        (500, {"message": "out of order"}),
    ],
)
def test_an_error_of_one_image_lets_the_others_through(server, make, status, error):
    server.plan = [body_error(status, {"error": error})]
    first, second = make(max_retries=0).ask_many([IMAGE] * 2, "count")
    assert type(first) is LvlmError
    assert second.text == '{"ship": 3}'


def test_a_run_stops_at_the_first_image_of_a_hopeless_server(server, make, tmp_path):
    scenes = draw_scenes(tmp_path / "scenes", images=4)

    def run():
        return evaluate(
            Counts(make(), tmp_path / "replies.jsonl"),
            scenes,
            setting="open_ended",
            output=tmp_path / "runs",
        )

    server.default = fault(401, f"no such key: {KEY}")
    with pytest.raises(EarthInstructError, match=r"401 .*the run stops.*continue with the same command") as caught:
        run()
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1
    server.default = completion()
    assert run().results[0].run.n_failed == 0
    assert len(server.requests) == 5


# ---------------------------------------------------------------- hostile answers


def endless(part, status=200, **headers):
    """An answer without an end, in chunks; how much was sent is in `sent` of the server."""

    def answer(handler):
        handler.send_response(status)
        for name, value in {"content-type": "application/json", "connection": "close", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.server.sent = 0
        try:
            while handler.server.sent < 3 * 2**30:
                handler.wfile.write(part)
                handler.server.sent += len(part)
        except OSError:
            pass  # the client has closed the connection
        handler.close_connection = True

    return answer


@pytest.mark.timeout(60)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_an_answer_without_an_end_is_one_error(server, make, monkeypatch, status):
    monkeypatch.setattr("earthinstruct_models.lvlm.bounded_http.LARGEST_ANSWER", 2**20)
    server.default = endless(b" " * 2**16, status)
    lvlm = make()
    assert "more than 1 MiB" in str(failure(lvlm))
    server.default = completion()
    assert lvlm.ask(IMAGE, "count").text == '{"ship": 3}'
    assert server.sent < 2**26  # the buffers of the connection included


def test_a_compressed_answer_is_not_unpacked(server, make):
    zeros = gzip.compress(b" " * 2**24)
    server.default = (200, zeros, {"content-encoding": "gzip"})
    assert "compressed ('gzip'), which was not requested" in str(failure(make()))
    assert server.headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "hostile",
    [
        (200, b"[" * 200_000, {}),
        (200, b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", {}),
        (400, b'{"error": ' + b'{"error": ' * 200_000, {}),
        (200, b'{"choices": [{"message": {"content": "3"}}], "usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}", {}),
        (200, b'{"choices": [{"message": {"content": "\xff"}}]}', {}),
        (307, b"", {"location": "http://["}),
        (307, b"", {"location": "//:99999999/"}),
        (307, b"", {"location": "\x00"}),
        (200, b'{"error": {"message": "\\ud83d", "code": "\\ud83d", "param": {"a": []}}}', {}),
    ],
)
def test_a_hostile_answer_fails_one_image(server, make, hostile):
    lvlm = make(max_retries=0)
    lvlm.ask(IMAGE, "count")
    server.plan = [hostile]
    first, second = make(max_retries=0, concurrency=1).ask_many([IMAGE] * 2, "count")
    assert isinstance(first, LvlmError)
    str(first).encode()
    if not isinstance(first, HopelessLvlmError):
        assert second.text == '{"ship": 3}'


def test_odd_values_are_kept_and_read_again(server, make, tmp_path):
    usage = {"prompt_tokens": 10**30, "completion_tokens": True}
    server.default = completion('{"ship \ud83d": 3}', model="tiny \ud83d", usage=usage)
    reply = KeptLvlm(make(), tmp_path / "replies.jsonl").ask(IMAGE, "count")
    assert (reply.model, reply.input_tokens, reply.output_tokens) == ("tiny ?", 0, 0)
    assert KeptLvlm(make(), tmp_path / "replies.jsonl").ask(IMAGE, "count") == reply
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_image_is_sent_to_no_other_host(server, make, status):
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        server.default = (status, b"", {"location": f"{other.address}/chat/completions?key={KEY}"})
        error = failure(make())
        other.shutdown()
        thread.join()
        assert isinstance(error, HopelessLvlmError)
        assert f"redirects to 'http://127.0.0.1:{other.server_port}" in str(error)
        assert KEY not in str(error)
        assert other.requests == []


def test_a_redirect_on_the_same_host_is_followed(server, make):
    server.plan = [(307, b"", {"location": "/v2/chat/completions"})]
    assert make().ask(IMAGE, "count").text == '{"ship": 3}'
    assert server.requests[0] == server.requests[1]
    server.default = (307, b"", {"location": "/v2/chat/completions"})
    assert isinstance(failure(make()), HopelessLvlmError)
    assert len(server.requests) < 10
