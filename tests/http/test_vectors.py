"""Vectors, rankings and labels without training: one deployment, asked by every family that can ask."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

TEXTS = ["the film", "a city by the river", "good food"]
QUERY = "a great movie"
LABELS = {"candidates": ["film", "food", "city"], "template": "This is about {}.", "query": QUERY}


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """A server with a deployment that makes vectors, and one that classifies."""
    home = FakeHome(tmp_path_factory.mktemp("vectors"), tiny_base_folder)
    settings = {"scale": 4.0, "query_prompt": "what: "}
    added = home.add("search", task="similarity", kind=HeadKind.EMBEDDING, labels=(), settings=settings)
    home.store.deploy("search", Deploy(version=added.ref))
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    with serve(home.path) as client:
        yield client


def post(client, path, **body):
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-hub-version"] == "search@1" and reply.headers["x-hub-sha256"]
    return reply.json()


def native(client, **body):
    return post(client, "/v1/deployments/search/predict", **body)


def refusal(client, path, **body):
    reply = client.post(path, json=body)
    return reply.status_code, reply.json()


def test_every_family_gives_the_same_vectors(client) -> None:
    vectors = native(client, inputs=TEXTS)["vectors"]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1])
    found = post(client, "/v1/embeddings", model="search", input=TEXTS)
    assert [item["embedding"] for item in found["data"]] == vectors
    assert [item["index"] for item in found["data"]] == [0, 1, 2]
    assert post(client, "/hf/search", inputs=TEXTS) == vectors
    assert post(client, "/hf/search", inputs=TEXTS[0]) == vectors[:1]


def test_every_family_gives_the_same_scores(client) -> None:
    scores = native(client, inputs=TEXTS, query=QUERY)["scores"]
    pair = {"source_sentence": QUERY, "sentences": TEXTS}
    assert post(client, "/hf/search", inputs=pair) == scores
    ranking = post(client, "/v1/deployments/search/rank", query=QUERY, candidates=TEXTS)
    assert {one["index"]: one["score"] for one in ranking["results"]} == dict(enumerate(scores))


def test_a_ranking_is_sorted_cut_and_has_the_documents_if_asked(client) -> None:
    asked = {"query": QUERY, "candidates": TEXTS, "top_k": 2, "return_documents": True}
    whole = post(client, "/v1/deployments/search/rank", query=QUERY, candidates=TEXTS)["results"]
    assert [one["score"] for one in whole] == sorted((one["score"] for one in whole), reverse=True)
    assert all(one.keys() == {"index", "score"} for one in whole)
    best = post(client, "/v1/deployments/search/rank", **asked)
    assert best["results"] == [one | {"document": TEXTS[one["index"]]} for one in whole[:2]]
    assert best["tokens"] == native(client, inputs=TEXTS, query=QUERY)["tokens"]


def test_labels_without_training_have_the_same_probabilities_in_every_family(client) -> None:
    ranking = post(client, "/v1/deployments/search/rank", **LABELS, probabilities=True)["results"]
    texts = [f"This is about {label}." for label in LABELS["candidates"]]
    scores = np.array(native(client, inputs=texts, query=QUERY)["scores"])
    expected = np.exp(4 * scores) / np.exp(4 * scores).sum()
    assert {one["index"]: one["score"] for one in ranking} == pytest.approx(dict(enumerate(expected)))
    parameters = {"candidate_labels": LABELS["candidates"], "hypothesis_template": LABELS["template"]}
    found = post(client, "/hf/search", inputs=QUERY, parameters=parameters)
    assert found == [{"label": LABELS["candidates"][one["index"]], "score": one["score"]} for one in ranking]
    several = post(client, "/hf/search", inputs=[QUERY], parameters={**parameters, "multi_label": True})
    assert [[one["score"] for one in labels] for labels in several] == [
        pytest.approx(sorted(np.clip(scores, 0, 1), reverse=True))
    ]


def test_prompts_are_those_of_queries_where_asked(client) -> None:
    plain, query = (native(client, inputs=QUERY, input_type=kind)["vectors"] for kind in ("text", "query"))
    assert plain != query
    assert native(client, inputs=TEXTS, query=QUERY)["query_vector"] == query[0]
    assert post(client, "/hf/search", inputs=QUERY, prompt_name="query") == query
    assert post(client, "/hf/search", inputs=QUERY, prompt_name="document") == plain


def test_vectors_in_base64_are_little_endian_float32(client) -> None:
    floats = post(client, "/v1/embeddings", model="search", input=TEXTS)["data"]
    coded = post(client, "/v1/embeddings", model="search", input=TEXTS, encoding_format="base64")["data"]
    for one, other in zip(floats, coded, strict=True):
        values = np.frombuffer(base64.b64decode(other["embedding"]), dtype="<f4")
        assert np.array_equal(values, np.array(one["embedding"], np.float32))


def test_token_ids_are_inputs_too(client) -> None:
    reply = post(client, "/v1/embeddings", model="search", input=[2, 5, 6, 3])
    several = post(client, "/v1/embeddings", model="search", input=[[2, 5, 6, 3], [2, 7, 3]])
    assert len(reply["data"]) == 1 and len(several["data"]) == 2
    assert reply["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert several["data"][0]["embedding"] == reply["data"][0]["embedding"]
    status, body = refusal(client, "/v1/embeddings", model="search", input=[2, 999_999])
    assert (status, body["error"]["code"]) == (400, "bad_request")


def test_dimensions_are_cut_and_normalized_and_never_made_up(client) -> None:
    whole = native(client, inputs=TEXTS[0])["vectors"][0]
    short = np.array(whole[:4]) / np.linalg.norm(whole[:4])
    found = post(client, "/v1/embeddings", model="search", input=TEXTS[0], dimensions=4)
    assert found["data"][0]["embedding"] == pytest.approx(short)
    status, body = refusal(client, "/v1/embeddings", model="search", input="x", dimensions=4096)
    assert (status, body["error"]["code"]) == (400, "bad_dimensions")
    assert refusal(client, "/hf/search", inputs="x", dimensions=4096)[1]["error_type"] == "bad_dimensions"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/deployments/search/rank", "/hf/search"])
def test_long_texts_are_cut_or_refused_as_asked(client, path) -> None:
    text = "film " * 500
    body = {
        "/v1/embeddings": {"model": "search", "input": text},
        "/v1/deployments/search/rank": {"query": "x", "candidates": [text]},
        "/hf/search": {"inputs": text},
    }[path]
    assert client.post(path, json={**body, "truncate": True}).status_code == 200
    assert client.post(path, json={**body, "truncate": False}).status_code == 413
    refuses = path == "/v1/embeddings"  # as OpenAI does
    assert client.post(path, json=body).status_code == (413 if refuses else 200)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/embeddings", {"model": "mood", "input": "x"}, 409, "conflict"),
        ("/v1/embeddings", {"model": "nobody", "input": "x"}, 404, "not_found"),
        ("/v1/embeddings", {"model": "search", "input": ""}, 400, "invalid_text"),
        ("/v1/embeddings", {"model": "search", "input": []}, 400, "bad_request"),
        ("/v1/embeddings", {"model": "search", "input": ["x", 3]}, 400, "bad_request"),
        ("/v1/embeddings", {"model": "search", "input": [[False]]}, 400, "bad_request"),
        ("/v1/embeddings", {"model": "search", "input": ["x"] * 600}, 413, "too_large"),
        ("/v1/embeddings", {"model": "search", "input": "x", "dimensions": 0}, 400, "bad_request"),
        ("/v1/embeddings", {"model": "search", "input": "x", "encoding_format": "hex"}, 400, "bad_request"),
        ("/v1/deployments/mood/rank", {"query": "x", "candidates": ["y"]}, 409, "conflict"),
        ("/v1/deployments/search/rank", {"query": "x", "candidates": []}, 400, "bad_request"),
        ("/v1/deployments/search/rank", {"query": " ", "candidates": ["y"]}, 400, "invalid_text"),
        (
            "/v1/deployments/search/rank",
            {"query": "x", "candidates": ["y"], "template": "no place"},
            400,
            "bad_request",
        ),
    ],
)
def test_an_error_is_the_clients(client, path, body, status, code) -> None:
    found, answer = refusal(client, path, **body)
    assert (found, answer["error"]["code"]) == (status, code), answer


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"source_sentence": "x"}},
        {"inputs": "x", "parameters": {"candidate_labels": []}},
        {"inputs": "x", "parameters": {"candidate_labels": "a,b"}},
        {"inputs": "x", "parameters": {"candidate_labels": ["a"], "hypothesis_template": "none"}},
        {"inputs": "x", "prompt_name": "other"},
        {"inputs": "x", "truncation_direction": "left"},
        {"inputs": "x", "encoding_format": "base64"},
        {"inputs": "x", "parameters": {"top_k": 3}},
        {"inputs": "x", "stream": True},
    ],
)
def test_what_a_pipeline_of_vectors_does_not_have_is_refused(client, body) -> None:
    status, answer = refusal(client, "/hf/search", **body)
    assert (status, answer["error_type"]) == (400, "bad_request"), answer


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/v1/deployments/search/rank", {"query": "x", "candidates": ["y", " "]}, "candidates.1"),
        ("/v1/deployments/search/rank", {"query": "", "candidates": ["y"]}, "query"),
        ("/v1/deployments/search/predict", {"inputs": ["x", "y", "\n"]}, "inputs.2"),
        ("/v1/deployments/mood/predict", {"text": "\t"}, "text"),
        ("/v1/predict", {"deployments": ["mood"], "inputs": {"text": " "}}, "text"),
        ("/v1/embeddings", {"model": "search", "input": ["x", ""]}, "input.1"),
        ("/tei/search/embed", {"inputs": ["x", " "]}, "inputs.1"),
        ("/tei/search/rerank", {"query": "x", "texts": ["y", "z", ""]}, "texts.2"),
        (
            "/tei/search/similarity",
            {"inputs": {"source_sentence": "x", "sentences": ["y", ""]}},
            "inputs.sentences.1",
        ),
        (
            "/tei/search/similarity",
            {"inputs": {"source_sentence": " ", "sentences": ["y"]}},
            "inputs.source_sentence",
        ),
        ("/tei/mood/predict", {"inputs": ""}, "inputs"),
        ("/tei/mood/predict", {"inputs": [["x"], [""]]}, "inputs.1.0"),
        ("/hf/mood", {"inputs": " "}, "inputs"),
        ("/hf/mood", {"inputs": ["x", " "]}, "inputs.1"),
        ("/hf/search", {"inputs": ["x", " "]}, "inputs.1"),
        ("/hf/search", {"inputs": {"source_sentence": "x", "sentences": [" "]}}, "inputs.sentences.0"),
        ("/hf/search", {"inputs": ["x", " "], "parameters": {"candidate_labels": ["a"]}}, "inputs.1"),
        ("/api/embed", {"model": "search", "input": ["x", " "]}, "input.1"),
        (
            "/v2/models/mood/infer",
            {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["x", " "]}]},
            "text.1",
        ),
    ],
)
def test_an_empty_text_is_named_by_its_place_in_the_body(client, path, body, place) -> None:
    reply = client.post(path, json=body)
    assert (reply.status_code in (400, 422)) is (path != "/v1/predict")
    assert f"`{place}` is empty" in reply.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/deployments/search/rank",
            {"query": "x", "candidates": ["y" * 10_000] * 9, "template": "{}" * 400},
        ),
        (
            "/hf/search",
            {
                "inputs": ["x"] * 200,
                "parameters": {"candidate_labels": ["y" * 1000], "hypothesis_template": "{}" * 12},
            },
        ),
    ],
)
def test_a_template_does_not_make_texts_of_any_size(client, path, body) -> None:
    status, answer = refusal(client, path, **body)
    said = answer["error"] if isinstance(answer["error"], str) else answer["error"]["message"]
    assert status == 413 and "the limit is 2,000,000" in said
