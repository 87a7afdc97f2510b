"""Hugging Face's own client, unchanged, against a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.homes import FakeHome
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]

pytestmark = pytest.mark.e2e

CONTEXT = "The bridge was designed by Ada Novak and opened in 1931."
TASKS = {
    "mood": ("sentiment", HeadKind.SEQUENCE, ("negative", "positive")),
    "names": ("extraction", HeadKind.TOKEN, ("O", "B-PER", "I-PER")),
    "reader": ("qa", HeadKind.SPAN, ()),
    "writer": ("generation", HeadKind.GENERATE, ()),
    "digest": ("summarization", HeadKind.GENERATE, ()),
    "desk": ("translation", HeadKind.GENERATE, ()),
    "search": ("similarity", HeadKind.EMBEDDING, ()),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Iterator[httpx.Client]:
    """A server with a deployment of each task, on the fake engine."""
    home = FakeHome(tmp_path_factory.mktemp("hf"), tiny_base_folder)
    for name, (task, kind, labels) in TASKS.items():
        home.store.deploy(name, Deploy(version=home.add(name, task=task, kind=kind, labels=labels).ref))
    with Hub(home.path).serving("--engine", "fake") as client:
        yield client


@pytest.fixture(scope="module")
def client_of(server: httpx.Client) -> Iterator[Callable[[str], InferenceClient]]:
    """Make clients, which with HF_HUB_OFFLINE would not even ask this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield lambda name: InferenceClient(model=f"{server.base_url}/hf/{name}")


def native(server: httpx.Client, name: str, body: object) -> dict[str, object]:
    reply = server.post(f"/v1/deployments/{name}/predict", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_a_text_is_classified_as_on_the_native_route(server, client_of) -> None:
    found = client_of("mood").text_classification("a warm film")
    answer = native(server, "mood", {"text": "a warm film"})
    assert {one.label: one.score for one in found} == pytest.approx(answer["scores"])
    assert found[0].label == answer["label"]
    assert len(client_of("mood").text_classification("a warm film", top_k=1)) == 1


def test_entities_are_found_as_on_the_native_route(server, client_of) -> None:
    text = "Ada Novak moved to Oslo. " * 5  # the labels are random: some word is an entity
    found = client_of("names").token_classification(text, aggregation_strategy="first")
    answer = native(server, "names", {"text": text, "aggregation": "first"})["entities"]
    assert [(one.entity_group, one.word, one.start, one.end) for one in found] == [
        (one["entity_group"], one["word"], one["start"], one["end"]) for one in answer
    ]
    assert found


def test_a_question_is_answered_as_on_the_native_route(server, client_of) -> None:
    asked = {"question": "Who designed it?", "context": CONTEXT}
    found = client_of("reader").question_answering(**asked)
    answer = native(server, "reader", asked)
    assert (found.answer, found.start, found.end) == (answer["answer"], answer["start"], answer["end"])
    assert len(client_of("reader").question_answering(**asked, top_k=2)) == 2


def test_a_text_is_translated_as_on_the_native_route(server, client_of) -> None:
    found = client_of("desk").translation("a warm film", src_lang="en", tgt_lang="fr")
    body = {"text": "a warm film", "source_language": "en", "target_language": "fr"}
    assert found.translation_text == native(server, "desk", body)["translation"]


def test_a_text_is_summarized_as_on_the_native_route(server, client_of) -> None:
    found = client_of("digest").summarization("a film", generate_parameters={"max_new_tokens": 10})
    body = {"document": "a film", "max_new_tokens": 10}
    assert found.summary_text == native(server, "digest", body)["summary"]


def test_a_text_is_continued_whole_and_streamed_as_on_the_native_route(server, client_of) -> None:
    client = client_of("writer")
    answer = native(server, "writer", {"prompt": "Once upon", "max_new_tokens": 5})
    assert client.text_generation("Once upon", max_new_tokens=5) == answer["text"]
    detailed = client.text_generation("Once upon", max_new_tokens=5, details=True)
    assert detailed.generated_text == answer["text"]
    assert detailed.details.generated_tokens == answer["completion_tokens"]
    parts = list(client.text_generation("Once upon", max_new_tokens=5, stream=True))
    assert len(parts) > 2 and "".join(parts) == answer["text"]
    *_, last = client.text_generation("Once upon", max_new_tokens=5, stream=True, details=True)
    assert last.generated_text == answer["text"]
    assert last.details.finish_reason in ("length", "eos_token")


def test_texts_become_vectors_as_on_the_native_route(server, client_of) -> None:
    texts = ["a warm film", "the city"]
    vectors = native(server, "search", {"inputs": texts})["vectors"]
    assert client_of("search").feature_extraction(texts).tolist() == vectors
    assert client_of("search").feature_extraction(texts[0], normalize=True).tolist() == vectors[:1]
    long = native(server, "search", {"inputs": texts, "normalize": False})["vectors"]
    assert client_of("search").feature_extraction(texts, normalize=False, truncate=True).tolist() == long


def test_sentences_are_compared_as_on_the_native_route(server, client_of) -> None:
    others = ["the city", "a cold film"]
    found = client_of("search").sentence_similarity("a warm film", others)
    assert found == native(server, "search", {"inputs": others, "query": "a warm film"})["scores"]


def test_labels_are_found_without_training_as_on_the_native_route(server, client_of) -> None:
    labels, template = ["city", "film"], "This is about a {}."
    found = client_of("search").zero_shot_classification(
        "a warm film", labels, hypothesis_template=template, multi_label=False
    )
    body = {"query": "a warm film", "candidates": labels, "template": template, "probabilities": True}
    reply = server.post("/v1/deployments/search/rank", json=body)
    ranking = reply.json()["results"]
    assert [(one.label, one.score) for one in found] == [
        (labels[one["index"]], one["score"]) for one in ranking
    ]
    assert sum(one.score for one in found) == pytest.approx(1)
    defaults = client_of("search").zero_shot_classification("a warm film", labels, multi_label=True)
    assert {one.label for one in defaults} == set(labels)


def test_a_deployment_has_a_health_and_an_info(server) -> None:
    assert server.get("/hf/mood/health").status_code == 200
    assert server.get("/hf/nobody/health").status_code == 404
    info = server.get("/hf/mood/info").json()
    assert (info["model_id"], info["task"]) == ("mood@1", "sentiment")


def test_a_list_of_texts_has_a_list_of_answers_and_the_headers_of_the_version(server) -> None:
    reply = server.post("/hf/mood", json={"inputs": ["good", "bad", "fine"]})
    assert [len(scores) for scores in reply.json()] == [2, 2, 2]
    assert reply.headers["x-hub-version"] == "mood@1" and reply.headers["x-hub-sha256"]


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("nobody", {"inputs": "x"}, 404, "not_found"),
        ("mood", {"inputs": ""}, 400, "invalid_text"),
        ("mood", {"inputs": []}, 400, "bad_request"),
        ("mood", {"inputs": "x", "parameters": {"function_to_apply": "none"}}, 400, "bad_request"),
        ("mood", {"inputs": "x", "parameters": {"top_k": 0}}, 400, "bad_request"),
        ("mood", {"inputs": "x", "stream": True}, 400, "bad_request"),
        ("reader", {"inputs": "x"}, 400, "bad_request"),
        ("writer", {"inputs": "x", "parameters": {"temperature": -1}}, 400, "bad_request"),
        ("writer", {"inputs": "x", "parameters": {"return_full_text": True}}, 400, "bad_request"),
        ("mood", {"inputs": ["x"] * 300}, 413, "too_large"),
        ("mood", {}, 400, "bad_request"),
    ],
)
def test_an_error_is_the_clients(server, client_of, name, body, status, code) -> None:
    reply = server.post(f"/hf/{name}", json=body)
    assert reply.status_code == status, reply.text
    assert reply.json().keys() == {"error", "error_type"}
    assert reply.json()["error_type"] == code


def test_an_error_reaches_the_caller_of_the_client(client_of) -> None:
    with pytest.raises(HfHubHTTPError, match="No deployment named 'nobody'"):
        client_of("nobody").text_classification("x")
