"""Chats, completions and models in the wire format of OpenAI."""

from __future__ import annotations

import json

import pytest
from openai.types.chat import ChatCompletionMessage

from hub.api import HeadKind
from hub.http.openai.requests import ChatRequest
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

CHAT = {"model": "writer", "messages": [{"role": "user", "content": "Name a river."}]}
COMPLETION = {"model": "writer", "prompt": "Once upon a time", "max_tokens": 5}


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """A server with a deployment that generates, one that summarizes and one that classifies."""
    home = FakeHome(tmp_path_factory.mktemp("openai"), tiny_base_folder)
    for name, task in (("writer", "generation"), ("digest", "summarization")):
        added = home.add(name, task=task, kind=HeadKind.GENERATE, labels=())
        home.store.deploy(name, Deploy(version=added.ref))
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    with serve(home.path) as client:
        yield client


def chunks(client, path, body):
    with client.stream("POST", path, json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = response.read().decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_a_completion_has_the_text_and_counts_of_the_native_route(client) -> None:
    native = client.post("/v1/tasks/generation", json={"prompt": COMPLETION["prompt"], "max_new_tokens": 5})
    reply = client.post("/v1/completions", json=COMPLETION)
    body = reply.json()
    assert body["choices"] == [
        {
            "index": 0,
            "text": native.json()["text"],
            "finish_reason": native.json()["finish_reason"],
            "logprobs": None,
        }
    ]
    assert body["usage"]["prompt_tokens"] == native.json()["prompt_tokens"]
    assert body["usage"]["completion_tokens"] == native.json()["completion_tokens"]
    assert body["model"] == "writer" and body["object"] == "text_completion"
    for name in ("x-hub-version", "x-hub-sha256"):
        assert reply.headers[name] == native.headers[name]
        assert reply.headers[name] in body["system_fingerprint"]


@pytest.mark.parametrize(
    ("path", "body", "native", "asked"),
    [
        (
            "/v1/completions",
            COMPLETION,
            "/v1/tasks/generation",
            {"prompt": "Once upon a time", "max_new_tokens": 5},
        ),
        (
            "/v1/completions",
            {"model": "writer", "prompt": ["x y"], "stop": "a", "temperature": 1, "seed": 3, "top_k": 9},
            "/v1/tasks/generation",
            {"prompt": "x y", "stop": ["a"], "temperature": 1, "seed": 3, "top_k": 9},
        ),
    ],
)
def test_settings_reach_the_task_under_its_own_names(client, monkeypatch, path, body, native, asked) -> None:
    from grafthub_generation.task import GenerationTask

    seen = []
    encode = GenerationTask.encode
    monkeypatch.setattr(
        GenerationTask,
        "encode",
        lambda self, request, *rest: seen.append(request) or encode(self, request, *rest),
    )
    assert client.post(path, json=body).status_code == 200
    assert client.post(native, json=asked).status_code == 200
    assert seen[0] == seen[1]


def test_several_prompts_have_several_answers_each_in_order_and_seeds_of_their_own(
    client, monkeypatch
) -> None:
    from grafthub_generation.task import GenerationTask

    seen = []
    encode = GenerationTask.encode
    monkeypatch.setattr(
        GenerationTask,
        "encode",
        lambda self, request, *rest: seen.append(request) or encode(self, request, *rest),
    )
    sampled = {"temperature": 1, "seed": 7, "n": 2}
    body = client.post("/v1/completions", json={**COMPLETION, "prompt": ["a b", "c"], **sampled}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert [(request.prompt, request.seed) for request in seen] == [
        ("a b", 7),
        ("a b", 8),
        ("c", 7),
        ("c", 8),
    ]
    alone = [
        client.post("/v1/completions", json={**COMPLETION, "prompt": text}).json() for text in ("a b", "c")
    ]
    assert body["usage"]["prompt_tokens"] == sum(one["usage"]["prompt_tokens"] for one in alone)


def test_a_chat_without_a_template_is_refused_as_the_native_route_refuses_it(client) -> None:
    native = client.post("/v1/tasks/generation", json={"messages": CHAT["messages"]})
    refused = client.post("/v1/chat/completions", json=CHAT)
    assert refused.status_code == native.status_code == 400
    assert "no chat template" in refused.json()["error"]["message"]
    assert refused.json()["error"]["message"] == native.json()["error"]["message"]


def test_a_chat_of_one_message_asks_a_task_that_takes_one_text(client) -> None:
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "a warm "}, {"type": "text", "text": "film"}],
    }
    body = {"model": "digest", "messages": [message], "max_tokens": 10}
    native = client.post(
        "/v1/tasks/summarization", json={"document": "a warm film", "max_new_tokens": 10}
    ).json()
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    answer = reply.json()["choices"][0]["message"]
    assert answer == {"role": "assistant", "content": native["summary"], "refusal": None}
    two = {**body, "messages": [{"role": "system", "content": "Be short."}, message]}
    refused = client.post("/v1/chat/completions", json=two)
    assert refused.status_code == 400 and "one message by 'user'" in refused.json()["error"]["message"]


def test_a_stream_is_the_answer_in_chunks_with_its_usage(client) -> None:
    whole = client.post("/v1/completions", json=COMPLETION).json()
    found = chunks(client, "/v1/completions", {**COMPLETION, "stream_options": {"include_usage": True}})
    *texts, last, usage = found
    assert "".join(chunk["choices"][0]["text"] for chunk in texts) == whole["choices"][0]["text"]
    assert len(texts) > 2
    assert {chunk["choices"][0]["finish_reason"] for chunk in texts} == {None}
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]
    assert {chunk["id"] for chunk in found} == {found[0]["id"]}
    assert {chunk["system_fingerprint"] for chunk in found} == {whole["system_fingerprint"]}
    assert all("usage" not in chunk for chunk in chunks(client, "/v1/completions", COMPLETION))


def test_deployments_and_their_bases_are_models(client) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["tiny", "digest", "mood", "writer"]
    writer = client.get("/v1/models/writer").json()
    assert writer == listed[-1]
    assert (writer["root"], writer["parent"], writer["owned_by"]) == ("writer@1", "tiny", "grafthub")
    assert writer["created"] > 1_700_000_000
    assert listed[0]["parent"] is None and listed[0]["root"] == "tiny"


def test_nulls_that_clients_send_for_what_they_do_not_set_are_taken(client) -> None:
    answer = ChatCompletionMessage(role="assistant", content="The Rhine.").model_dump()
    assert answer["tool_calls"] is None and "refusal" in answer
    ChatRequest.model_validate({**CHAT, "messages": [*CHAT["messages"], answer, *CHAT["messages"]]})
    nulls = dict.fromkeys(("tools", "tool_choice", "functions", "top_logprobs", "reasoning_effort"))
    reply = client.post("/v1/chat/completions", json={**CHAT, "model": "digest", "max_tokens": 5, **nulls})
    assert reply.status_code == 200, reply.text
    reply = client.post("/v1/completions", json={**COMPLETION, "logprobs": None, "suffix": None})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        ("/v1/completions", {**COMPLETION, "model": "nobody"}, 404, "not_found", None),
        ("/v1/completions", {**COMPLETION, "model": "mood"}, 409, "conflict", None),
        ("/v1/chat/completions", {**CHAT, "model": "mood"}, 409, "conflict", None),
        ("/v1/chat/completions", {**CHAT, "tools": []}, 400, "bad_request", "tools"),
        ("/v1/completions", {**COMPLETION, "suffix": "The end"}, 400, "bad_request", "suffix"),
        ("/v1/chat/completions", {**CHAT, "n": 99}, 400, "bad_request", "n"),
        ("/v1/completions", {**COMPLETION, "temperature": -1}, 400, "bad_request", "temperature"),
        ("/v1/completions", {**COMPLETION, "stream": True, "n": 2}, 400, "bad_request", None),
        ("/v1/completions", {**COMPLETION, "frequency_penalty": 1}, 400, "bad_request", "frequency_penalty"),
        ("/v1/completions", {**COMPLETION, "prompt": " "}, 400, "invalid_text", "prompt"),
        ("/v1/completions", {**COMPLETION, "prompt": ["a", " "]}, 400, "invalid_text", "prompt.1"),
        ("/v1/completions", {**COMPLETION, "logit_bias": {"x": 1}}, 400, "bad_request", "logit_bias.x.[key]"),
    ],
)
def test_an_error_has_the_shape_of_openai_and_our_code(client, path, body, status, code, param) -> None:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    missing = client.get("/v1/models/nobody")
    assert missing.status_code == 404 and "digest, mood, tiny, writer" in missing.json()["error"]["message"]
