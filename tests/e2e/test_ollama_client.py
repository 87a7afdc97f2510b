"""Ollama's own client, unchanged, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest
from pydantic import BaseModel

from hub.api import HeadKind
from hub.store.change import Deploy
from hub.store.store import Store
from tests.e2e.conftest import Hub
from tests.support.homes import add_version
from tests.support.tiny import tiny_adapter, tiny_decoder, tiny_encoder

pytestmark = pytest.mark.e2e

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ollama.Client]:
    folder: Path = tmp_path_factory.mktemp("ollama")
    tiny = tiny_decoder(folder / "tiny", "llama").path
    settings = json.loads((tiny / "tokenizer_config.json").read_text())
    (tiny / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    store = Store(folder / "home")
    base = store.bases.pull(str(tiny), "tiny")
    adapter = tiny_adapter(base, folder / "adapter", kind=HeadKind.GENERATE, labels=(), spread=0.3)
    made = {
        "task": "generation",
        "head": HeadKind.GENERATE,
        "labels": (),
        "settings": {"max_new_tokens": 12},
        "max_length": 128,
    }
    store.deploy("writer", Deploy(version=add_version(store, base, "writer", adapter, **made).ref))
    tiny_encoder(folder / "encoder")
    encoder = store.bases.pull(str(folder / "encoder"), "encoder")
    near = tiny_adapter(encoder, folder / "near", kind=HeadKind.EMBEDDING, labels=())
    made = {"task": "similarity", "head": HeadKind.EMBEDDING, "labels": ()}
    store.deploy("near", Deploy(version=add_version(store, encoder, "near", near, **made).ref))
    store.close()
    with (
        Hub(folder / "home").serving("--engine", "torch") as server,
        ollama.Client(host=str(server.base_url)) as client,
    ):
        yield client


def test_a_text_is_generated_whole_and_streamed_alike(client: ollama.Client) -> None:
    whole = client.generate(model="writer", prompt="Once upon", options={"num_predict": 6})
    assert whole.response and whole.done and whole.done_reason in ("stop", "length")
    assert whole.eval_count and whole.eval_count <= 6 and whole.prompt_eval_count
    assert whole.total_duration and whole.eval_duration and whole.total_duration > whole.eval_duration > 0
    *parts, last = client.generate(
        model="writer:latest", prompt="Once upon", options={"num_predict": 6}, stream=True
    )
    assert "".join(part.response or "" for part in parts) == whole.response
    assert (last.done, last.done_reason, last.eval_count) == (True, whole.done_reason, whole.eval_count)


def test_a_chat_is_answered_whole_and_streamed_alike(client: ollama.Client) -> None:
    whole = client.chat(model="writer", messages=CHAT)
    assert whole.message.role == "assistant" and whole.message.content
    parts = list(client.chat(model="writer", messages=CHAT, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_a_sampled_text_comes_again_with_its_seed(client: ollama.Client) -> None:
    texts = [
        client.generate(model="writer", prompt="Once", options={"temperature": 1, "seed": seed}).response
        for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1] != texts[2]


class Verdict(BaseModel):
    sure: bool


def test_an_answer_keeps_to_its_format(client: ollama.Client) -> None:
    options = {"num_predict": 30}
    schema = Verdict.model_json_schema() | {"additionalProperties": False}
    reply = client.chat(model="writer", messages=CHAT, format=schema, options=options)
    assert isinstance(Verdict.model_validate_json(reply.message.content or "").sure, bool)
    whole = client.generate(model="writer", prompt="As JSON:", format="json", options={"num_predict": 60})
    assert (whole.response or "").lstrip().startswith("{")


def test_models_are_listed_shown_and_loaded(client: ollama.Client) -> None:
    near, model = client.list().models
    assert (near.model, model.model) == ("near:latest", "writer:latest")
    assert model.digest and model.modified_at
    shown = client.show("writer")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo and shown.modelinfo["hub.version"] == "writer@1"
    assert client.generate(model="writer").done_reason == "load"
    assert model.digest in [one.digest for one in client.ps().models]


def test_texts_become_vectors(client: ollama.Client) -> None:
    texts = ["alpha beta", "gamma"]
    found = client.embed(model="near", input=texts)
    assert found.prompt_eval_count and len(found.embeddings) == 2
    for text, vector in zip(texts, found.embeddings, strict=True):
        (alone,) = client.embed(model="near:latest", input=text).embeddings
        assert alone == pytest.approx(list(vector), abs=1e-5)
        assert sum(value * value for value in vector) == pytest.approx(1)
        assert client.embeddings(model="near", prompt=text).embedding == pytest.approx(list(vector), abs=1e-5)


def test_an_error_is_the_clients_exception(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="No deployment named 'nobody'") as caught:
        client.chat(model="nobody", messages=CHAT)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="mirostat") as caught:
        list(client.generate(model="writer", prompt="x", options={"mirostat": 1}, stream=True))
    assert caught.value.status_code == 400
