"""The OpenAPI document says the truth: schemathesis derives requests from it and finds no other answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.conformance import check_conformance
from tests.support.homes import FakeHome
from tests.support.profiles import thorough
from tests.support.tiny import tiny_encoder

ADMIN_KEY = "an-admin-key-for-schemathesis"
CONFIG = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = 30 if thorough() else 3  # of each operation, in the fuzzing phase


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_answer_is_one_that_the_document_declares(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    prepare(hub.home, tmp_path / "tiny")
    monkeypatch.setenv("HUB_SERVE__API_KEYS", '["an-api-key-for-schemathesis"]')
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", ADMIN_KEY)
    monkeypatch.setenv("HUB_FEEDBACK__KEEP", "answers")
    monkeypatch.setenv("HUB_SERVE__POLL_MS", "10")  # an unknown name waits for one
    with hub.serving("--engine", "fake") as client:
        check_conformance(
            f"{client.base_url}/openapi.json",
            tmp_path,
            *("--header", f"Authorization: Bearer {ADMIN_KEY}", "--max-examples", str(EXAMPLES)),
            config=CONFIG,
        )


def prepare(home: Path, base: Path) -> None:
    """Make three deployments of different tasks, one with a version to deploy and one to go back to."""
    tiny_encoder(base)
    made = FakeHome(home, base)
    for seed in (1, 2):
        made.store.deploy("mood", Deploy(version=made.add("mood", seed=seed).ref, by="tester"))
    made.add("mood", seed=3)
    reader = made.add("reader", seed=4, task="qa", kind=HeadKind.SPAN, labels=())
    made.store.deploy("reader", Deploy(version=reader.ref, by="tester"))
    vectors = made.add("search", seed=5, task="similarity", kind=HeadKind.EMBEDDING, labels=())
    made.store.deploy("search", Deploy(version=vectors.ref, by="tester"))
