"""Every family of routes takes `NAME@N`."""

from __future__ import annotations

import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

TEXT = {"text": "a warm and funny film"}
CHAT = {"messages": [{"role": "user", "content": "Name a river."}]}
CALLS = {
    "a deployment": ("/v1/deployments/mood@{}/predict", TEXT),
    "an escaped path": ("/v1/deployments/mood%40{}/predict", TEXT),
    "a task": ("/v1/tasks/sentiment", {**TEXT, "deployment": "mood@{}"}),
    "hugging face": ("/hf/mood@{}", {"inputs": TEXT["text"]}),
    "openai chat": ("/v1/chat/completions", {**CHAT, "model": "writer@{}", "max_tokens": 5}),
    "openai completion": ("/v1/completions", {"prompt": "Once", "model": "writer@{}", "max_tokens": 5}),
    "hugging face chat": ("/hf/writer@{}/v1/chat/completions", {**CHAT, "model": "dummy", "max_tokens": 5}),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """A server in which `mood` and `writer` have a first version and, as a canary, a second."""
    home = FakeHome(tmp_path_factory.mktemp("pins"), tiny_base_folder)
    writes = {"task": "summarization", "kind": HeadKind.GENERATE, "labels": ()}
    for name, made in (("mood", {}), ("writer", writes)):
        versions = [home.add(name, seed=seed, **made) for seed in (1, 2)]
        home.store.deploy(name, Deploy(version=versions[0].ref))
        home.store.deploy(name, Deploy(version=versions[1].ref, canary=0.0))
    with serve(home.path) as client:
        yield client


def ask(client, call, number):
    path, body = CALLS[call]
    filled = {key: value.format(number) if isinstance(value, str) else value for key, value in body.items()}
    return client.post(path.format(number), json=filled)


@pytest.mark.parametrize("call", CALLS)
def test_exactly_the_named_version_answers(client, call) -> None:
    for number in (1, 2):
        reply = ask(client, call, number)
        assert reply.status_code == 200, reply.text
        name = reply.headers["x-hub-deployment"]
        assert reply.headers["x-hub-version"] == f"{name}@{number}"
        assert reply.headers["x-hub-track"] == "pinned"


@pytest.mark.parametrize("call", CALLS)
def test_a_version_that_is_not_live_is_answered_with_those_that_are(client, call) -> None:
    reply = ask(client, call, 7)
    assert reply.status_code == 404
    assert "version_unavailable" in reply.text
    assert "@1 (stable)" in reply.text and "@2 (canary)" in reply.text


def test_the_description_of_a_pinned_deployment_is_that_of_the_version(client) -> None:
    assert client.get("/hf/mood@2/info").json()["model_id"] == "mood@2"
