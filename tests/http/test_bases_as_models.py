"""A base is a model that can be asked by its name."""

from __future__ import annotations

import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome, add_version, plain_adapter

CHAT = {"model": "small", "messages": [{"role": "user", "content": "Name a river."}]}
COMPLETION = {"model": "small", "prompt": "Once upon a time", "max_tokens": 5}
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """Deployments on the encoder `tiny` and on the decoder `small`."""
    import json

    from tests.support.tiny import tiny_decoder

    folder = tmp_path_factory.mktemp("bases")
    home = FakeHome(folder / "home", tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    path = tiny_decoder(folder / "small", "llama").path
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    base = home.store.bases.pull(str(path), "small")
    writer = {"task": "generation", "head": HeadKind.GENERATE, "labels": ()}
    adapter = plain_adapter(folder / "adapter", kind=HeadKind.GENERATE)
    home.store.deploy(
        "writer", Deploy(version=add_version(home.store, base, "writer", adapter, **writer).ref)
    )
    with serve(home.path) as client:
        yield client


def test_bases_and_deployments_are_listed_with_what_they_come_from(client) -> None:
    listed = {one["id"]: (one["root"], one["parent"]) for one in client.get("/v1/models").json()["data"]}
    assert listed == {
        "small": ("small", None),
        "tiny": ("tiny", None),
        "mood": ("mood@1", "tiny"),
        "writer": ("writer@1", "small"),
    }
    pinned = client.get("/v1/models/writer@1").json()
    assert (pinned["id"], pinned["root"], pinned["parent"]) == ("writer@1", "writer@1", "small")
    assert client.get("/v1/models/writer@7").json()["error"]["code"] == "version_unavailable"
    assert client.get("/v1/models/large").status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", COMPLETION),
        ("/hf/small/v1/chat/completions", {**CHAT, "model": "dummy"}),
        ("/hf/small", {"inputs": "Once upon a time", "parameters": {"max_new_tokens": 5}}),
        ("/v1/tasks/generation", {"prompt": "Once", "deployment": "small", "max_new_tokens": 5}),
        ("/v1/deployments/small/predict", {"prompt": "Once", "max_new_tokens": 5}),
        ("/v1/deployments/tiny/predict", {"inputs": "a text"}),
        ("/v1/tasks/similarity", {"inputs": ["a text"], "deployment": "tiny"}),
    ],
)
def test_a_base_answers_and_the_headers_say_so(client, path, body) -> None:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-hub-deployment"] == reply.headers["x-hub-version"]
    assert reply.headers["x-hub-version"] in ("small", "tiny")
    assert len(reply.headers["x-hub-sha256"]) == 64
    assert reply.headers["x-hub-track"] == "base"


def test_a_base_is_not_its_adapter(client) -> None:
    asked = {"prompt": "Once upon a time", "max_new_tokens": 5}
    base, adapter = (
        client.post(f"/v1/deployments/{name}/predict", json=asked).json() for name in ("small", "writer")
    )
    assert base["text"] != adapter["text"]


def test_a_base_is_one_of_several_deployments(client) -> None:
    body = {"deployments": ["mood", "tiny"], "inputs": {"text": "a film", "inputs": "a film"}}
    mood, tiny = client.post("/v1/predict", json=body).json()["answers"]
    assert mood["result"]["label"] and tiny["result"]["vectors"]
    assert tiny["track"] == "base"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tasks/sentiment", {"text": "a film", "deployment": "tiny"}),
        ("/v1/tasks/classification", {"text": "a film", "deployment": "small"}),
        ("/v1/chat/completions", {**CHAT, "model": "tiny"}),
        ("/v1/completions", {**COMPLETION, "model": "tiny"}),
    ],
)
def test_what_a_base_cannot_do_is_a_conflict(client, path, body) -> None:
    reply = client.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")


def test_a_base_streams(client) -> None:
    with client.stream("POST", "/v1/completions", json={**COMPLETION, "stream": True}) as response:
        assert response.headers["x-hub-track"] == "base"
        assert response.headers["x-hub-sha256"] in response.read().decode()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**CHAT, "model": "smal"}),
        ("/v1/deployments/smal/predict", {"prompt": "Once"}),
        ("/hf/smal", {"inputs": "Once"}),
        ("/tei/smal/embed", {"inputs": "Once"}),
        ("/api/generate", {"model": "smal", "prompt": "Once"}),
    ],
)
def test_an_unknown_model_is_answered_with_the_deployments_and_the_bases(client, path, body) -> None:
    reply = client.post(path, json=body)
    assert reply.status_code == 404
    assert "Available: mood, writer. Bases: small, tiny." in reply.text
