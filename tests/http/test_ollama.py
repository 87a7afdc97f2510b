"""Texts, chats and models in the wire format of Ollama."""

from __future__ import annotations

import json

import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

TEXT = {"model": "writer", "prompt": "Once upon a time", "options": {"num_predict": 5}}
CHAT = {"model": "writer", "messages": [{"role": "user", "content": "Name a river."}]}
DURATIONS = ("total_duration", "load_duration", "eval_duration")


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """A server with a deployment that generates, one that summarizes and one that classifies."""
    home = FakeHome(tmp_path_factory.mktemp("ollama"), tiny_base_folder)
    for name, task in (("writer", "generation"), ("digest", "summarization")):
        added = home.add(name, task=task, kind=HeadKind.GENERATE, labels=())
        home.store.deploy(name, Deploy(version=added.ref))
    near = home.add("near", task="similarity", kind=HeadKind.EMBEDDING, labels=())
    home.store.deploy("near", Deploy(version=near.ref))
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    with serve(home.path) as client:
        yield client


@pytest.fixture
def asked(monkeypatch):
    """The requests that reach the task `generation`."""
    from grafthub_generation.task import GenerationTask

    seen = []
    encode = GenerationTask.encode
    monkeypatch.setattr(
        GenerationTask,
        "encode",
        lambda task, request, *more: (seen.append(request), encode(task, request, *more))[1],
    )
    return seen


def test_a_text_is_that_of_the_native_route_with_counts_and_version(client) -> None:
    native = client.post("/v1/tasks/generation", json={"prompt": TEXT["prompt"], "max_new_tokens": 5})
    reply = client.post("/api/generate", json={**TEXT, "stream": False})
    body, wanted = reply.json(), native.json()
    assert (body["response"], body["done"], body["model"]) == (wanted["text"], True, "writer")
    assert body["done_reason"] == wanted["finish_reason"] == "length"
    assert body["prompt_eval_count"] == wanted["prompt_tokens"]
    assert body["eval_count"] == wanted["completion_tokens"] == 5
    assert all(isinstance(body[name], int) and body[name] > 0 for name in DURATIONS)
    assert body["total_duration"] >= body["load_duration"] + body["eval_duration"]
    assert body["version"] == reply.headers["x-hub-version"] == "writer@1"
    assert body["sha256"] == reply.headers["x-hub-sha256"] == native.headers["x-hub-sha256"]


def test_without_stream_the_answer_comes_line_by_line(client) -> None:
    whole = client.post("/api/generate", json={**TEXT, "stream": False}).json()
    with client.stream("POST", "/api/generate", json=TEXT) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in response.read().decode().splitlines()]
    *parts, last = lines
    assert "".join(part["response"] for part in parts) == whole["response"]
    assert not any(part["done"] for part in parts)
    assert (parts[0]["version"], parts[0]["sha256"]) == (whole["version"], whole["sha256"])
    assert not any("version" in line for line in lines[1:])
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "length")
    assert last["eval_count"] == whole["eval_count"]


def test_options_reach_the_task_under_its_own_names(client, asked) -> None:
    options = {
        "temperature": 1,
        "top_k": 9,
        "top_p": 0.5,
        "min_p": 0.1,
        "seed": 3,
        "stop": "a",
        "repeat_penalty": 1.2,
        "num_predict": 4,
        "num_ctx": 4096,
    }
    body = {**TEXT, "options": options, "stream": False, "format": {"type": "object"}, "keep_alive": "5m"}
    client.post("/api/generate", json=body)
    (request,) = asked
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (1, 9, 0.5, 0.1)
    assert (sampling.seed, sampling.stop, sampling.repetition_penalty) == (3, ("a",), 1.2)
    assert request.max_new_tokens == 4
    assert sampling.response_format.json_schema.schema_ == {"type": "object"}


def test_json_is_a_response_format_and_negative_numbers_are_defaults(client, asked) -> None:
    options = {
        "num_predict": -1,
        "seed": -1,
        "repeat_last_n": -1,
        "mirostat": 0,
        "tfs_z": 1.0,
        "presence_penalty": 0.0,
    }
    client.post("/api/generate", json={**TEXT, "format": "json", "options": options, "stream": False})
    client.post("/api/generate", json={**TEXT, "format": "", "stream": False})
    client.post("/api/generate", json={**TEXT, "options": {"stop": ["x", "y"]}, "stream": False})
    assert asked[2].stop == ("x", "y")
    assert asked[0].response_format.type == "json_object"
    assert (asked[0].max_new_tokens, asked[0].seed) == (None, None)
    assert asked[1].response_format is None


def test_a_chat_of_one_message_reaches_a_task_that_takes_one_text(client) -> None:
    native = client.post("/v1/tasks/summarization", json={"document": "A text.", "max_new_tokens": 9}).json()
    body = {
        "model": "digest:latest",
        "messages": [{"role": "user", "content": "A text."}],
        "options": {"num_predict": 9},
    }
    reply = client.post("/api/chat", json={**body, "stream": False}).json()
    assert reply["message"] == {"role": "assistant", "content": native["summary"]}
    assert reply["model"] == "digest:latest"
    lines = client.post("/api/chat", json=body).text.splitlines()
    assert "".join(json.loads(line)["message"]["content"] for line in lines) == native["summary"]


def test_a_model_name_may_pin_a_version(client) -> None:
    reply = client.post("/api/generate", json={**TEXT, "model": "writer@1:latest", "stream": False})
    assert (reply.json()["version"], reply.headers["x-hub-track"]) == ("writer@1", "pinned")


def test_vectors_are_those_of_the_native_route(client) -> None:
    texts = ["a warm film", "a cold night"]
    native = client.post("/v1/tasks/similarity", json={"inputs": texts, "normalize": True})
    reply = client.post("/api/embed", json={"model": "near:latest", "input": texts})
    body = reply.json()
    assert body["embeddings"] == native.json()["vectors"]
    assert body["prompt_eval_count"] == native.json()["tokens"]
    assert body["total_duration"] >= body["load_duration"] > 0
    assert (body["model"], body["version"]) == ("near:latest", "near@1")
    assert reply.headers["x-hub-sha256"] == body["sha256"]
    short = client.post("/api/embed", json={"model": "near", "input": texts[0], "dimensions": 2}).json()
    assert [len(vector) for vector in short["embeddings"]] == [2]
    single = client.post("/api/embeddings", json={"model": "near", "prompt": texts[0]}).json()
    assert [single["embedding"]] == client.post("/v1/tasks/similarity", json={"inputs": texts[0]}).json()[
        "vectors"
    ]


def test_a_request_without_input_loads_the_deployment(client) -> None:
    body = client.post("/api/generate", json={"model": "writer"}).json()
    assert (body["done"], body["done_reason"], body["response"]) == (True, "load", "")
    assert body["version"] == "writer@1"
    body = client.post("/api/chat", json={"model": "writer", "messages": [], "keep_alive": 0}).json()
    assert (body["done_reason"], body["message"]["content"]) == ("unload", "")
    assert client.post("/api/generate", json={"model": "nobody"}).status_code == 404


def test_models_are_listed_shown_and_those_that_are_loaded(client, admin) -> None:
    models = client.get("/api/tags").json()["models"]
    assert [model["model"] for model in models] == [
        "digest:latest",
        "mood:latest",
        "near:latest",
        "writer:latest",
    ]
    live = {one["name"]: one for one in client.get("/v1/deployments").json()["deployments"]}
    assert {model["digest"] for model in models} == {one["sha256"] for one in live.values()}
    shown = client.post("/api/show", json={"model": "writer:latest"}).json()
    assert shown["model_info"]["hub.sha256"] == live["writer"]["sha256"]
    assert (shown["capabilities"], shown["details"]["parent_model"]) == (["completion"], "tiny")
    assert client.post("/api/show", json={"model": "mood"}).json()["capabilities"] == []
    status = client.get("/admin/status", headers=admin).json()
    resident = {one["sha256"] for engine in status["engines"] for one in engine["slots"]["resident"]}
    assert {model["digest"] for model in client.get("/api/ps").json()["models"]} == resident
    assert (
        client.get("/api/version").json()["version"] == client.get("/openapi.json").json()["info"]["version"]
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("generate", {**TEXT, "model": "nobody"}, 404, "not_found"),
        ("generate", {**TEXT, "model": "mood"}, 409, "conflict"),
        ("generate", {**TEXT, "suffix": "end"}, 400, "bad_request"),
        ("generate", {**TEXT, "images": ["aGk="]}, 400, "bad_request"),
        ("generate", {**TEXT, "raw": True}, 400, "bad_request"),
        ("generate", {**TEXT, "raw": 0}, 400, "bad_request"),
        ("chat", {**CHAT, "messages": [{"role": "user", "content": ""}]}, 400, "invalid_text"),
        ("generate", {**TEXT, "context": [1]}, 400, "bad_request"),
        ("generate", {**TEXT, "options": {"mirostat": 2}}, 400, "bad_request"),
        ("generate", {**TEXT, "options": {"temperature": -1}}, 400, "bad_request"),
        ("generate", {**TEXT, "options": {"unheard_of": 1}}, 400, "bad_request"),
        ("generate", {**TEXT, "model": "digest", "system": "Be brief."}, 400, "bad_request"),
        ("generate", {**TEXT, "format": {"type": "object", "x": 2**60}}, 400, "bad_request"),
        ("generate", {**TEXT, "prompt": "\u200b"}, 400, "invalid_text"),
        ("chat", {**CHAT, "tools": [{"type": "function"}]}, 400, "bad_request"),
        ("chat", {**CHAT, "think": True}, 400, "bad_request"),
        ("chat", {**CHAT, "top_logprobs": False}, 400, "bad_request"),
        ("show", {"model": "writer", "verbose": 0}, 400, "bad_request"),
        ("chat", {**CHAT, "messages": [{"role": "tool", "content": "x"}]}, 400, "bad_request"),
        ("embed", {"model": "mood", "input": "x"}, 409, "conflict"),
        ("embed", {"model": "near", "input": []}, 400, "bad_request"),
        ("embed", {"model": "near", "input": "x " * 500, "truncate": False}, 413, "too_large"),
        ("embeddings", {"model": "near", "prompt": ""}, 400, "invalid_text"),
        ("show", {"model": "nobody"}, 404, "not_found"),
        ("show", {}, 400, "bad_request"),
        ("generate", {**TEXT, "model": "writer@9"}, 404, "version_unavailable"),
        ("show", {"model": "writer:other"}, 404, "not_found"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_is_ollamas(client, path, body, status, code, stream) -> None:
    given = {**body, "stream": stream} if path in ("chat", "generate") else body
    reply = client.post(f"/api/{path}", json=given)
    assert reply.status_code == status, reply.text
    assert reply.json().keys() == {"error", "code"}
    assert isinstance(reply.json()["error"], str) and reply.json()["code"] == code


def test_an_error_within_a_stream_is_its_last_line(client, monkeypatch) -> None:
    from grafthub_generation.task import GenerationTask

    def fail(*given):
        raise RuntimeError

    monkeypatch.setattr(GenerationTask, "decode", fail)
    *parts, last = client.post("/api/generate", json=TEXT).text.splitlines()
    assert parts
    assert json.loads(last)["code"] == "plugin_failed"
    assert isinstance(json.loads(last)["error"], str)
