"""Hugging Face's client for JavaScript, unchanged, against a real server; its schemas hold for answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.e2e.test_huggingface_client import CONTEXT, TASKS, native
from tests.support.homes import FakeHome
from tests.support.tiny import tiny_encoder

PACKAGES = ("@huggingface/inference@4.13.30", "@huggingface/tasks@0.21.54")  # MIT, both
MIN_NODE = 18  # the first with fetch
CHAT = [{"role": "user", "content": "Name a river."}]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def why_not() -> str:
    """Return why there is no Node.js; .ci/run installs it where it can."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    major = int(re.findall(r"\d+", version)[0])
    return "" if major >= MIN_NODE else f"node {version.strip()} is older than {MIN_NODE}"


pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages and the script; npm keeps what it fetched in its own cache."""
    folder = tmp_path_factory.mktemp("npm")
    npm = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run([*npm, *PACKAGES], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    shutil.copy(Path(__file__).with_name("huggingface.mjs"), folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a deployment of each task, on the fake engine and a base with a chat template."""
    folder = tmp_path_factory.mktemp("hf-js")
    tiny_encoder(folder / "tiny")
    config = folder / "tiny" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": TEMPLATE}))
    home = FakeHome(folder / "home", folder / "tiny")
    for name, (task, kind, labels) in TASKS.items():
        home.store.deploy(name, Deploy(version=home.add(name, task=task, kind=kind, labels=labels).ref))
    with Hub(home.path).serving("--engine", "fake") as client:
        yield client


CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "text-classification": ("mood", "textClassification", {"inputs": "a warm film"}),
    "token-classification": ("names", "tokenClassification", {"inputs": "Ada Novak moved to Oslo."}),
    "question-answering": (
        "reader",
        "questionAnswering",
        {"inputs": {"question": "Who designed it?", "context": CONTEXT}},
    ),
    "translation": (
        "desk",
        "translation",
        {"inputs": "a warm film", "parameters": {"src_lang": "en", "tgt_lang": "fr"}},
    ),
    "summarization": ("digest", "summarization", {"inputs": "a film", "parameters": {"max_new_tokens": 9}}),
    "text-generation": (
        "writer",
        "textGeneration",
        {"inputs": "Once upon", "parameters": {"max_new_tokens": 5}},
    ),
    "feature-extraction": ("search", "featureExtraction", {"inputs": ["a warm film", "the city"]}),
    "sentence-similarity": (
        "search",
        "sentenceSimilarity",
        {"inputs": {"source_sentence": "a warm film", "sentences": ["the city", "a cold film"]}},
    ),
    "zero-shot-classification": (
        "search",
        "zeroShotClassification",
        {"inputs": "a warm film", "parameters": {"candidate_labels": ["city", "film"]}},
    ),
    "chat-completion": ("writer", "chatCompletion", {"messages": CHAT, "max_tokens": 5}),
    "text-generation stream": (
        "writer",
        "textGenerationStream",
        {"inputs": "Once upon", "parameters": {"max_new_tokens": 5}},
    ),
    "chat-completion stream": ("writer", "chatCompletionStream", {"messages": CHAT, "max_tokens": 5}),
    "unknown": ("nobody", "textClassification", {"inputs": "x"}),
    "refused": ("writer", "chatCompletion", {"messages": CHAT, "tools": [{"type": "function"}]}),
}


@pytest.fixture(scope="module")
def answers(packages: Path, server: httpx.Client) -> dict[str, Any]:
    """What the client returned for each call."""
    calls = [{"name": name, "task": task, "args": args} for name, task, args in CALLS.values()]
    done = subprocess.run(
        ["node", "huggingface.mjs", str(server.base_url).rstrip("/"), json.dumps(calls)],
        cwd=packages,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CALLS, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def check(packages: Path) -> Callable[..., None]:
    """Check a value against the schema of a task's answers."""
    tasks = packages / "node_modules" / "@huggingface" / "tasks" / "src" / "tasks"
    common = tasks / "common-definitions.json"
    resource = Resource(nullable(json.loads(common.read_text())), DRAFT7)
    registry: Registry[Any] = Registry().with_resource("/inference/schemas/common-definitions.json", resource)

    def valid(task: str, value: Any, file: str = "output") -> None:
        schema = nullable(json.loads((tasks / task / "spec" / f"{file}.json").read_text()))
        Draft7Validator(schema, registry=registry).validate(value)

    return valid


def nullable(schema: Any) -> Any:
    """Write OpenAPI's `nullable` as JSON Schema does."""
    if isinstance(schema, list):
        return [nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: nullable(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [{"type": "null"}, inner]} if schema.get("nullable") is True else inner


def test_answers_are_those_of_the_native_route(server, answers) -> None:
    scores = native(server, "mood", {"text": "a warm film"})["scores"]
    assert {one["label"]: one["score"] for one in answers["text-classification"]} == pytest.approx(scores)
    text = {"text": "Ada Novak moved to Oslo."}
    assert answers["token-classification"] == native(server, "names", text)["entities"]
    span = native(server, "reader", CALLS["question-answering"][2]["inputs"])
    assert {name: span[name] for name in ("answer", "score", "start", "end")} == answers["question-answering"]
    asked = {"text": "a warm film", "source_language": "en", "target_language": "fr"}
    assert answers["translation"] == {"translation_text": native(server, "desk", asked)["translation"]}
    summary = native(server, "digest", {"document": "a film", "max_new_tokens": 9})["summary"]
    assert answers["summarization"] == {"summary_text": summary}
    text = native(server, "writer", {"prompt": "Once upon", "max_new_tokens": 5})["text"]
    assert answers["text-generation"] == {"generated_text": text}
    chat = native(server, "writer", {"messages": CHAT, "max_new_tokens": 5})["text"]
    assert answers["chat-completion"]["choices"][0]["message"]["content"] == chat


def test_vectors_and_what_comes_of_them_are_those_of_the_native_route(server, answers) -> None:
    texts = CALLS["feature-extraction"][2]["inputs"]
    assert answers["feature-extraction"] == native(server, "search", {"inputs": texts})["vectors"]
    asked = CALLS["sentence-similarity"][2]["inputs"]
    body = {"query": asked["source_sentence"], "inputs": asked["sentences"]}
    assert answers["sentence-similarity"] == native(server, "search", body)["scores"]
    body = {"query": "a warm film", "candidates": ["city", "film"], "template": "This example is {}."}
    reply = server.post("/v1/deployments/search/rank", json={**body, "probabilities": True}).json()
    ranked = [{"label": body["candidates"][one["index"]], "score": one["score"]} for one in reply["results"]]
    assert answers["zero-shot-classification"] == ranked


def test_streams_are_the_whole_answers(answers) -> None:
    texts = [part["choices"][0]["text"] for part in answers["text-generation stream"]]
    assert "".join(texts) == answers["text-generation"]["generated_text"]
    deltas = [part["choices"][0]["delta"].get("content") or "" for part in answers["chat-completion stream"]]
    assert "".join(deltas) == answers["chat-completion"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "task", [task for task in CALLS if "-" in task and " " not in task] + ["translation"]
)
def test_what_the_client_returns_has_the_schema_of_its_task(answers, check, task) -> None:
    found = answers[task]
    check(task, [found] if task == "question-answering" else found)  # the client takes the first of the list


def test_what_the_server_sends_has_the_schemas_too(server, answers, check) -> None:
    details = {"max_new_tokens": 5, "details": True}
    asked = {"inputs": "Once upon", "parameters": details}
    (whole,) = server.post("/hf/writer", json=asked).json()
    check("text-generation", whole)
    stream = server.post("/hf/writer", json={**asked, "stream": True}).text
    events = [json.loads(line.removeprefix("data:")) for line in stream.splitlines() if line]
    assert events
    for event in events:
        check("text-generation", event, "stream_output")
    for chunk in answers["chat-completion stream"]:
        check("chat-completion", chunk, "stream_output")
    top = {"inputs": CALLS["question-answering"][2]["inputs"], "parameters": {"top_k": 2}}
    check("question-answering", server.post("/hf/reader", json=top).json())


def test_errors_reach_the_caller(answers) -> None:
    assert "No deployment named 'nobody'" in answers["unknown"]["failed"]
    assert answers["unknown"]["status"] == 404
    assert answers["refused"]["status"] == 400
    assert answers["refused"]["body"]["error"]["param"] == "tools"
