"""Text Embeddings Inference: its published document, and Hugging Face's client, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.conformance import check_conformance
from tests.support.homes import FakeHome
from tests.support.profiles import thorough
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]

pytestmark = pytest.mark.e2e

DOCUMENT = Path(__file__).parents[1] / "fixtures" / "openapi" / "text_embeddings_inference.json"
TEXTS = ["Refunds take five days.", "We ship on Mondays."]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Iterator[httpx.Client]:
    """A server on the fake engine; `similarity` answers what names no model, but for labels."""
    home = FakeHome(tmp_path_factory.mktemp("tei"), tiny_base_folder)
    vectors = home.add("similarity", task="similarity", kind=HeadKind.EMBEDDING, labels=())
    home.store.deploy("similarity", Deploy(version=vectors.ref))
    pairs = home.add("pairs", task="classification", labels=("no", "yes"))
    home.store.deploy("pairs", Deploy(version=pairs.ref))
    with Hub(home.path).serving("--engine", "fake") as client:
        yield client


def test_hugging_faces_client_asks_the_deployment_below_its_url(server, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    client = InferenceClient(model=f"{server.base_url}/tei/similarity")
    vectors = client.feature_extraction(TEXTS, normalize=True)
    assert np.allclose(vectors, server.post("/embed", json={"inputs": TEXTS}).json())
    body = {"inputs": TEXTS, "query": "When is my money back?", "normalize": True}
    native = server.post("/v1/deployments/similarity/predict", json=body).json()
    assert client.sentence_similarity(body["query"], other_sentences=TEXTS) == pytest.approx(native["scores"])


@pytest.mark.slow
def test_every_answer_is_one_that_the_published_document_declares(server, tmp_path: Path) -> None:
    path = tmp_path / "tei.json"
    path.write_text(json.dumps(patched(json.loads(DOCUMENT.read_text(encoding="utf-8")))))
    check_conformance(
        path,
        tmp_path,
        *("--url", str(server.base_url), "--max-examples", "30" if thorough() else "5"),
        # Texts are refused that have nothing visible, and ids that the base does not have.
        *("--exclude-checks", "positive_data_acceptance"),
    )


def patched(document: dict) -> dict:
    """Return the document with the errors of HTTP itself, and without the route of OpenAI's family."""
    del document["paths"]["/v1/embeddings"]
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = {"description": "An error", "content": content}
    return document
