"""The same question gets the same answer on every family of routes, and every answer names its version.

A new family adds a line to WAYS for each question that it can ask, and to STREAMS if it streams.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from hub.store.store import Store
from tests.e2e.conftest import Hub
from tests.support.homes import add_version
from tests.support.tiny import tiny_adapter, tiny_decoder, tiny_encoder

pytestmark = pytest.mark.e2e

TEXT = "A warm, funny film with a superb cast."
QUESTION, CONTEXT = "Who saw the film?", "Ann saw the film on Monday, and Bob read the book."
PROMPT, TOKENS = "Once upon a time", 8
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
LABELS = ("negative", "positive")
MADE: Mapping[str, tuple[str, HeadKind, Sequence[str]]] = {  # task, head and labels of each deployment
    "mood": ("sentiment", HeadKind.SEQUENCE, LABELS),
    "topic": ("classification", HeadKind.SEQUENCE, ("film", "sport", "travel")),
    "names": ("extraction", HeadKind.TOKEN, ("O", "PER")),
    "reader": ("qa", HeadKind.SPAN, ()),
    "near": ("similarity", HeadKind.EMBEDDING, ()),
    "writer": ("generation", HeadKind.GENERATE, ()),
}


@dataclass(frozen=True)
class Way:
    """How a family asks a question; `read` takes the answer from the body, or from the events of a stream."""

    question: str
    family: str
    path: str
    body: Mapping[str, Any]
    read: Callable[[Any], Any]

    @property
    def id(self) -> str:
        return f"{self.question}-{self.family}"


@dataclass(frozen=True)
class Stream(Way):
    """A question whose answer is streamed; `first` takes the version and its hash from the first event."""

    first: Callable[[Any], str]


def tensors(body: Any) -> dict[str, Any]:
    return {one["name"]: one["data"] for one in body["outputs"]}


def whole(body: Any) -> Any:
    """The whole answer, which the Open Inference Protocol gives as one more tensor."""
    return json.loads(tensors(body)["response"][0])


def infer(parameters: Mapping[str, Any] | None = None, **texts: str) -> Any:
    tensor = {"shape": [1], "datatype": "BYTES"}
    inputs = [{"name": name, "data": [text], **tensor} for name, text in texts.items()]
    return {"inputs": inputs, "parameters": parameters or {}}


def several(name: str, **inputs: Any) -> Any:
    return {"deployments": [name], "inputs": inputs}


def each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda body: read(body["answers"][0]["result"])


def scores(body: Any) -> dict[str, float]:
    return dict(body["scores"])


def hf_scores(body: Any) -> dict[str, float]:
    return {one["label"]: one["score"] for one in body[0]}


def oip_scores(body: Any) -> dict[str, float]:
    return dict(zip(LABELS, tensors(body)["scores"], strict=True))


def best(body: Any) -> list[Any]:
    return [body["label"], body["score"]]


def span(found: Any) -> list[Any]:
    return [found["answer"], found["score"], found["start"], found["end"]]


def entities(found: Any) -> list[Any]:
    """The places and labels of entities; a label is `entity_group` in the pipelines of Hugging Face."""
    return [[one["start"], one["end"], one.get("label") or one.get("entity_group")] for one in found]


def oip_firsts(body: Any) -> dict[str, Any]:
    return {name: data[0] for name, data in tensors(body).items()}


def text(body: Any) -> str:
    return str(body["text"])


def choice(body: Any) -> Any:
    (one,) = body["choices"]
    return one["message"]["content"] if "message" in one else one["text"]


def reranked(body: Any) -> list[float]:
    return [one["score"] for one in sorted(body, key=lambda one: int(one["index"]))]


def delta(event: Any) -> str:
    for one in event["choices"]:
        return one["delta"].get("content") or "" if "delta" in one else one["text"]
    return ""


def same(one: Any, other: Any) -> bool:
    """Equal, up to the last digits of a float that was written as float32."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def version(event: Any) -> str:
    return f"{event['version']} {event['sha256']}"


def fingerprint(event: Any) -> str:
    return str(event["system_fingerprint"])


GREEDY = {"prompt": PROMPT, "max_new_tokens": TOKENS}
ASKED = {"question": QUESTION, "context": CONTEXT}
TALK = {"messages": CHAT, "max_new_tokens": TOKENS}
COMPLETION = {"model": "writer", "prompt": PROMPT, "max_tokens": TOKENS}
COMPLETION_TALK = {"model": "writer", "messages": CHAT, "max_tokens": TOKENS}
HF_TEXT = {"inputs": PROMPT, "parameters": {"max_new_tokens": TOKENS}}
HF_COMPLETION = {**COMPLETION, "model": "dummy"}
HF_TALK = {**COMPLETION_TALK, "model": "dummy"}
OLLAMA = {"model": "writer", "prompt": PROMPT, "options": {"num_predict": TOKENS}}
OLLAMA_TALK = {"model": "writer", "messages": CHAT, "options": {"num_predict": TOKENS}}
WHOLE = {"stream": False}
TEXTS = [TEXT, CONTEXT, PROMPT]
RANK = {"query": QUESTION, "inputs": TEXTS}
TEI_RANK = {"source_sentence": QUESTION, "sentences": TEXTS}
CANDIDATES = {"query": QUESTION, "candidates": TEXTS}
TEI_RERANK = {"query": QUESTION, "texts": TEXTS, "raw_scores": True}
NATIVE, OIP = "/v1/deployments/{}/predict".format, "/v2/models/{}/infer".format
EACH, CHATS, HF_CHATS = "/v1/predict", "/v1/chat/completions", "/hf/writer/v1/chat/completions"

WAYS = [
    Way("sentiment", "native", NATIVE("mood"), {"text": TEXT}, scores),
    Way("sentiment", "task", "/v1/tasks/sentiment", {"text": TEXT}, scores),
    Way("sentiment", "each", EACH, several("mood", text=TEXT), each(scores)),
    Way("sentiment", "hf", "/hf/mood", {"inputs": TEXT}, hf_scores),
    Way("sentiment", "oip", OIP("mood"), infer(text=TEXT), oip_scores),
    Way("sentiment", "tei", "/tei/mood/predict", {"inputs": TEXT}, lambda body: hf_scores([body])),
    Way(
        "sentiment",
        "tei model",
        "/predict",
        {"model": "mood", "inputs": TEXT},
        lambda body: hf_scores([body]),
    ),
    Way("topic", "native", NATIVE("topic"), {"text": TEXT}, best),
    Way("topic", "each", EACH, several("topic", text=TEXT), each(best)),
    Way("topic", "hf", "/hf/topic", {"inputs": TEXT}, lambda body: best(body[0][0])),
    Way("topic", "oip", OIP("topic"), infer(text=TEXT), lambda body: best(oip_firsts(body))),
    Way("topic", "tei", "/tei/topic/predict", {"inputs": TEXT}, lambda body: best(body[0])),
    Way("names", "native", NATIVE("names"), {"text": TEXT}, lambda body: entities(body["entities"])),
    Way("names", "hf", "/hf/names", {"inputs": TEXT}, entities),
    Way("names", "oip", OIP("names"), infer(text=TEXT), lambda body: entities(whole(body)["entities"])),
    Way("qa", "native", NATIVE("reader"), ASKED, span),
    Way("qa", "each", EACH, several("reader", **ASKED), each(span)),
    Way("qa", "hf", "/hf/reader", {"inputs": ASKED}, span),
    Way("qa", "oip", OIP("reader"), infer(**ASKED), lambda body: span(oip_firsts(body))),
    Way("text", "native", NATIVE("writer"), GREEDY, text),
    Way("text", "each", EACH, several("writer", **GREEDY), each(text)),
    Way("text", "openai", "/v1/completions", COMPLETION, choice),
    Way("text", "hf openai", "/hf/writer/v1/completions", HF_COMPLETION, choice),
    Way("text", "hf", "/hf/writer", HF_TEXT, lambda body: body[0]["generated_text"]),
    Way("text", "ollama", "/api/generate", OLLAMA | WHOLE, lambda body: body["response"]),
    Way(
        "text",
        "oip",
        OIP("writer"),
        infer({"max_new_tokens": TOKENS}, prompt=PROMPT),
        lambda body: text(whole(body)),
    ),
    Way("chat", "native", NATIVE("writer"), TALK, text),
    Way("chat", "openai", CHATS, COMPLETION_TALK, choice),
    Way("chat", "hf", HF_CHATS, HF_TALK, choice),
    Way("chat", "ollama", "/api/chat", OLLAMA_TALK | WHOLE, lambda body: body["message"]["content"]),
    Way("vector", "native", NATIVE("near"), {"inputs": TEXT}, lambda body: body["vectors"][0]),
    Way("vector", "each", EACH, several("near", inputs=TEXT), each(lambda body: body["vectors"][0])),
    Way(
        "vector", "ollama", "/api/embed", {"model": "near", "input": TEXT}, lambda body: body["embeddings"][0]
    ),
    Way("vector", "oip", OIP("near"), infer(inputs=TEXT), lambda body: tensors(body)["vectors"]),
    Way("vector", "tei", "/tei/near/embed", {"inputs": TEXT}, lambda body: body[0]),
    Way(
        "vector",
        "openai",
        "/v1/embeddings",
        {"model": "near", "input": TEXT},
        lambda body: body["data"][0]["embedding"],
    ),
    Way(
        "vector",
        "hf",
        "/hf/near",
        {"inputs": TEXT},
        lambda body: body[0] if isinstance(body[0], list) else body,
    ),
    Way("rank", "native", NATIVE("near"), RANK, lambda body: body["scores"]),
    Way("rank", "each", EACH, several("near", **RANK), each(lambda body: body["scores"])),
    Way(
        "rank", "candidates", "/v1/deployments/near/rank", CANDIDATES, lambda body: reranked(body["results"])
    ),
    Way("rank", "hf", "/hf/near", {"inputs": TEI_RANK}, list),
    Way("rank", "tei", "/tei/near/similarity", {"inputs": TEI_RANK}, list),
    Way("rank", "tei rerank", "/tei/near/rerank", TEI_RERANK, reranked),
]

STREAMS = [
    Stream(
        "text", "hf openai", "/hf/writer/v1/completions", HF_COMPLETION | {"stream": True}, delta, fingerprint
    ),
    Stream("text", "native", NATIVE("writer"), GREEDY, lambda event: event.get("text", ""), version),
    Stream("text", "openai", "/v1/completions", COMPLETION | {"stream": True}, delta, fingerprint),
    Stream(
        "text", "hf", "/hf/writer", HF_TEXT | {"stream": True}, lambda event: event["token"]["text"], version
    ),
    Stream("text", "ollama", "/api/generate", OLLAMA, lambda event: event["response"], version),
    Stream("chat", "native", NATIVE("writer"), TALK, lambda event: event.get("text", ""), version),
    Stream("chat", "openai", CHATS, COMPLETION_TALK | {"stream": True}, delta, fingerprint),
    Stream("chat", "hf", HF_CHATS, HF_TALK | {"stream": True}, delta, fingerprint),
    Stream("chat", "ollama", "/api/chat", OLLAMA_TALK, lambda event: event["message"]["content"], version),
]
PAIRS = [(one, other) for one, other in combinations(WAYS, 2) if one.question == other.question]


class Served:
    """A server with a deployment for each of MADE; `answer` asks once in each way."""

    def __init__(self, client: httpx.Client, hashes: Mapping[str, str]) -> None:
        self.client = client
        self.hashes = hashes
        self._answers: dict[str, Any] = {}

    def answer(self, way: Way) -> Any:
        if way.id not in self._answers:
            self._answers[way.id] = way.read(self.ask(way).json())
        return self._answers[way.id]

    def ask(self, way: Way) -> httpx.Response:
        reply = self.client.post(way.path, json=way.body)
        assert reply.status_code == 200, reply.text
        return reply

    def events(self, way: Stream) -> list[Any]:
        headers = {"accept": "text/event-stream"} if way.family == "native" else {}
        with self.client.stream("POST", way.path, json=way.body, headers=headers) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["x-hub-sha256"] in self.hashes.values()
            lines = [line.removeprefix("data: ") for line in response.iter_lines()]
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("families")
    tiny_encoder(folder / "encoder")
    decoder = tiny_decoder(folder / "decoder", "llama").path
    settings = json.loads((decoder / "tokenizer_config.json").read_text())
    (decoder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    store = Store(folder / "home")
    bases = {name: store.bases.pull(str(folder / name), name) for name in ("encoder", "decoder")}
    hashes = {}
    for name, (task, head, labels) in MADE.items():
        base = bases["decoder" if head is HeadKind.GENERATE else "encoder"]
        adapter = tiny_adapter(base, folder / name, kind=head, labels=tuple(labels), spread=0.3)
        made = add_version(store, base, name, adapter, task=task, head=head, labels=tuple(labels))
        store.deploy(name, Deploy(version=str(made.ref)))
        hashes[name] = made.sha256
    store.close()
    with Hub(folder / "home").serving("--engine", "torch") as client:
        yield Served(client, hashes)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda way: way.id)
def test_two_families_give_the_same_answer(served: Served, one: Way, other: Way) -> None:
    assert same(served.answer(one), served.answer(other)), (served.answer(one), served.answer(other))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_an_answer_names_its_version_and_hash(served: Served, way: Way) -> None:
    reply = served.ask(way)
    named = reply.json()["answers"][0] if way.path == EACH else reply.headers
    prefix = "" if way.path == EACH else "x-hub-"
    deployment = named[f"{prefix}deployment"]
    assert deployment in MADE
    assert named[f"{prefix}version"] == f"{deployment}@1"
    assert named[f"{prefix}sha256"] == served.hashes[deployment]


@pytest.mark.parametrize("way", STREAMS, ids=lambda way: way.id)
def test_a_stream_adds_up_to_the_answer_and_its_first_event_names_the_version(
    served: Served, way: Stream
) -> None:
    events = served.events(way)
    assert "".join(map(way.read, events)) == served.answer(next(one for one in WAYS if one.id == way.id))
    assert way.first(events[0]) == f"writer@1 {served.hashes['writer']}"


def test_every_question_can_be_asked_in_several_ways() -> None:
    asked = {way.question for way in WAYS}
    assert asked == {"sentiment", "topic", "names", "qa", "text", "chat", "vector", "rank"}
    assert len({way.id for way in WAYS}) == len(WAYS)
