"""The routes of Text Embeddings Inference."""

from __future__ import annotations

import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

TEXTS = ["Refunds take five days.", "We ship on Mondays.", "Stamps cost more."]
QUERY = "When is my money back?"


def deploy(home, name, task, kind, labels=()):
    added = home.add(name, seed=3, task=task, kind=kind, labels=labels)
    home.store.deploy(name, Deploy(version=added.ref))


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """A server with one deployment that makes vectors, one that labels texts, and one that writes."""
    home = FakeHome(tmp_path_factory.mktemp("tei"), tiny_base_folder)
    deploy(home, "shelf", "similarity", HeadKind.EMBEDDING)
    deploy(home, "pairs", "classification", HeadKind.SEQUENCE, ("no", "yes"))
    deploy(home, "writer", "generation", HeadKind.GENERATE)
    with serve(home.path) as client:
        yield client


def ok(client, path, **body):
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def native(client, **body):
    return ok(client, "/v1/deployments/shelf/predict", **body)


@pytest.mark.parametrize("prefix", ["", "/tei/shelf"])
def test_vectors_are_those_of_the_native_route(client, prefix) -> None:
    expected = native(client, inputs=TEXTS, normalize=True)["vectors"]
    assert ok(client, f"{prefix}/embed", inputs=TEXTS) == expected
    [one] = ok(client, f"{prefix}/embed", inputs=TEXTS[0])
    assert one == pytest.approx(expected[0])
    raw = ok(client, f"{prefix}/embed", inputs=TEXTS[:1], normalize=False, dimensions=4)
    assert raw == native(client, inputs=TEXTS[:1], normalize=False, dimensions=4)["vectors"]


@pytest.mark.parametrize("prefix", ["", "/tei/shelf"])
def test_every_token_has_a_vector_before_pooling(client, prefix) -> None:
    tokens = ok(client, "/tei/shelf/tokenize", inputs=TEXTS)
    found = ok(client, f"{prefix}/embed_all", inputs=TEXTS)
    assert [len(one) for one in found] == [len(one) for one in tokens]
    assert {len(vector) for one in found for vector in one} == {16}
    assert found == native(client, inputs=TEXTS, every_token=True)["token_vectors"]


def test_token_ids_are_taken_as_the_text_that_they_stand_for(client) -> None:
    [tokens] = ok(client, "/tokenize", inputs=TEXTS[0], model="shelf")
    ids = [token["id"] for token in tokens]
    by_text = ok(client, "/embed", inputs=TEXTS[0])
    assert ok(client, "/embed", inputs=ids) == by_text
    mixed = ok(client, "/embed", inputs=[ids, TEXTS[1]])
    assert len(mixed) == 2 and mixed[0] == pytest.approx(by_text[0])


@pytest.mark.parametrize("prefix", ["", "/tei/shelf"])
def test_ranks_and_similarities_have_the_scores_of_the_native_route(client, prefix) -> None:
    scores = native(client, inputs=TEXTS, query=QUERY)["scores"]
    inputs = {"source_sentence": QUERY, "sentences": TEXTS}
    assert ok(client, f"{prefix}/similarity", inputs=inputs) == pytest.approx(scores)
    ranks = ok(client, f"{prefix}/rerank", query=QUERY, texts=TEXTS)
    assert sorted(ranks, key=lambda one: -one["score"]) == ranks
    assert {one["index"]: one["score"] for one in ranks} == dict(enumerate(scores))
    shown = ok(client, f"{prefix}/rerank", query=QUERY, texts=TEXTS, return_text=True)
    assert [one["text"] for one in shown] == [TEXTS[one["index"]] for one in ranks]


@pytest.mark.parametrize("prefix", ["", "/tei/pairs"])
def test_labels_are_those_of_the_native_route(client, prefix) -> None:
    path = "/v1/deployments/pairs/predict"
    single = ok(client, f"{prefix}/predict", inputs="a film")
    assert {one["label"]: one["score"] for one in single} == ok(client, path, text="a film")["scores"]
    assert single[0]["score"] >= single[1]["score"]
    pair = ok(client, f"{prefix}/predict", inputs=["a film", "a book"])
    expected = ok(client, path, text="a film", text_pair="a book")["scores"]
    assert {one["label"]: one["score"] for one in pair} == expected
    batch = ok(client, f"{prefix}/predict", inputs=[["a film"], ["a film", "a book"]])
    assert [[one["label"] for one in each] for each in batch] == [
        [one["label"] for one in each] for each in (single, pair)
    ]


@pytest.mark.parametrize("path", ["/", "/invocations"])
def test_the_aliases_are_what_the_deployment_is_for(client, path) -> None:
    shelf, pairs = f"/tei/shelf{path}".rstrip("/"), f"/tei/pairs{path}".rstrip("/")
    assert ok(client, shelf, inputs=TEXTS) == ok(client, "/embed", inputs=TEXTS)
    assert ok(client, path, inputs=TEXTS, model="shelf") == ok(client, "/embed", inputs=TEXTS)
    ranked = {"query": QUERY, "texts": TEXTS}
    assert ok(client, shelf, **ranked) == ok(client, "/rerank", **ranked)
    compared = {"inputs": {"source_sentence": QUERY, "sentences": TEXTS}}
    assert ok(client, shelf, **compared) == ok(client, "/similarity", **compared)
    assert ok(client, pairs, inputs="a film") == ok(client, "/predict", inputs="a film")
    reply = client.post(path, json={"inputs": "x"})
    assert reply.status_code == 409 and "pairs, shelf" in reply.json()["error"]
    reply = client.post("/tei/writer", json={"inputs": "x"})
    assert (reply.status_code, reply.json()["error_type"]) == (424, "Backend")


def test_the_page_stays_at_the_root(client) -> None:
    assert client.get("/").headers["content-type"].startswith("text/html")


def test_tokens_name_their_characters_and_are_turned_back_into_text(client) -> None:
    text = "Refunds take five days."
    [tokens] = ok(client, "/tei/shelf/tokenize", inputs=text)
    first, *inner, last = tokens
    assert first["special"] and last["special"] and first["start"] is None
    assert [one["text"] for one in inner] == [text[one["start"] : one["stop"]] for one in inner]
    [plain] = ok(client, "/tei/shelf/tokenize", inputs=[text], add_special_tokens=False)
    assert [one["id"] for one in plain] == [one["id"] for one in inner]
    ids = [one["id"] for one in tokens]
    short, whole = (
        ok(client, "/tei/shelf/decode", ids=[ids], skip_special_tokens=skip)[0] for skip in (True, False)
    )
    assert first["text"] in whole and first["text"] not in short
    assert ok(client, "/tei/shelf/decode", ids=ids) == [short]


def test_info_and_health(client) -> None:
    info = client.get("/tei/shelf/info").json()
    assert (info["model_id"], info["model_type"]) == ("shelf@1", {"embedding": {"pooling": "mean"}})
    kind = client.get("/tei/pairs/info").json()["model_type"]
    assert kind == {"classifier": {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}}
    assert client.get("/info").status_code == 409, "two deployments"
    assert client.get("/tei/writer/info").status_code == 424
    assert client.get("/health").status_code == client.get("/tei/shelf/health").status_code == 200
    assert client.get("/tei/nobody/health").status_code == 404


def test_answers_name_the_version(client) -> None:
    for path, body in (
        ("/embed", {"inputs": "x"}),
        ("/tei/shelf/tokenize", {"inputs": "x"}),
        ("/tei/shelf@1/rerank", {"query": "x", "texts": ["y"]}),
    ):
        reply = client.post(path, json=body)
        assert reply.headers["x-hub-version"] == "shelf@1", reply.text
        assert len(reply.headers["x-hub-sha256"]) == 64
    assert client.get("/tei/shelf/info").headers["x-hub-version"] == "shelf@1"


@pytest.mark.parametrize("path", ["/predict", "/tei/pairs", "/tei/pairs/predict"])
def test_labels_of_a_text_that_is_short_enough_do_not_depend_on_truncation(client, path) -> None:
    plain = client.post(path, json={"inputs": "a film"})
    for truncate in (True, False, None):
        assert client.post(path, json={"inputs": "a film", "truncate": truncate}).json() == plain.json()
    assert client.post(path, json={"inputs": "word " * 200, "truncate": True}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": []}, 400, "Empty"),
        ("/embed", {"inputs": ["x"] * 257}, 413, "Validation"),
        ("/embed", {"inputs": ""}, 422, "Validation"),
        ("/embed", {"inputs": "x", "dimensions": 4096}, 422, "Validation"),
        ("/embed", {"inputs": "x", "normalize": "true"}, 422, "Validation"),
        ("/embed", {"inputs": "x", "truncation_direction": "Left"}, 422, "Validation"),
        ("/embed", {"inputs": "x", "prompt_name": "passage"}, 422, "Validation"),
        ("/embed", {"inputs": "word " * 200, "truncate": False}, 413, "Validation"),
        ("/embed", {"inputs": [2**31 - 1]}, 422, "Validation"),
        ("/embed", {"inputs": "x", "model": "pairs"}, 424, "Backend"),
        ("/embed", {"inputs": "x", "model": "nobody"}, 404, "Validation"),
        ("/embed_sparse", {"inputs": "x"}, 424, "Backend"),
        ("/similarity", {"inputs": {"source_sentence": "x", "sentences": []}}, 400, "Empty"),
        ("/rerank", {"query": "x", "texts": []}, 400, "Empty"),
        ("/predict", {"inputs": []}, 400, "Empty"),
        ("/predict", {"inputs": "x", "raw_scores": True}, 422, "Validation"),
        ("/predict", {"inputs": "word " * 200, "truncate": False}, 413, "Validation"),
        ("/tei/pairs", {"inputs": ["x", "word " * 200], "truncate": False}, 413, "Validation"),
        ("/rerank", {"query": "x", "texts": ["y", "word " * 200], "truncate": False}, 413, "Validation"),
        ("/embed_all", {"inputs": "word " * 200, "truncate": False}, 413, "Validation"),
        ("/predict", {"inputs": [["x"], ["a", "b", "c"]]}, 422, "Validation"),
        ("/predict", {"inputs": "x", "model": "shelf"}, 424, "Backend"),
        ("/tokenize", {"inputs": "x"}, 409, "Validation"),
        ("/tei/shelf/tokenize", {"inputs": []}, 400, "Empty"),
        ("/tei/shelf/tokenize", {"inputs": "x" * 1_100_000}, 413, "Validation"),
        ("/tei/shelf/decode", {"ids": [2**31 - 1]}, 422, "Tokenizer"),
        ("/tei/shelf/decode", {"ids": [-1]}, 422, "Validation"),
        ("/tei/shelf", {"inputs": "x", "query": "y"}, 422, "Validation"),
        ("/tei/shelf", [], 422, "Validation"),
    ],
)
def test_an_error_has_the_shape_and_the_status_of_the_protocol(client, path, body, status, kind) -> None:
    reply = client.post(path, json=body)
    assert (reply.status_code, reply.json().get("error_type")) == (status, kind), reply.text
    assert reply.json().keys() == {"error", "error_type", "code"}
