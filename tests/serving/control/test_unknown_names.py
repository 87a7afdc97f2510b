"""A name this replica has no route for is looked up in the catalog before anybody is told it is unknown."""

from __future__ import annotations

import threading
import time

import pytest

from hub.errors import NotFound, NotReady
from hub.store.change import Deploy
from hub.store.store import Store

SELDOM = 60_000  # a poll that does not come


@pytest.fixture
def reads(monkeypatch, store):
    """Count reads of this catalog's generation; a server that an earlier test left may read its own."""
    from hub.store.catalog.deployments import Deployments

    counted, generation, url = [], Deployments.generation, store.catalog.url

    def counting(self) -> int:
        if self.catalog.url == url:
            counted.append(1)
        return generation(self)

    monkeypatch.setattr(Deployments, "generation", counting)
    return counted


def test_a_deployment_made_elsewhere_is_answered_for_before_the_next_poll(add, start, store) -> None:
    hub = start(poll_ms=SELDOM)
    add(seed=1)
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    assert hub.ask("mood", "a film").version == "mood@1"


def test_the_first_to_ask_for_it_share_one_converging(add, start, store) -> None:
    hub = start(poll_ms=SELDOM)
    add(seed=1)
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    asked = [hub.submit("mood", "a film") for _ in range(30)]
    assert {one.result(30).version for one in asked} == {"mood@1"}


def test_strangers_names_cost_at_most_one_read_an_interval(start, reads) -> None:
    hub = start(poll_ms=SELDOM)
    before, began = len(reads), time.monotonic()
    for turn in range(3):
        asked = [hub.submit(f"stranger-{turn}-{number}", "x") for number in range(100)]
        assert all(isinstance(one.exception(30), NotFound) for one in asked)
    assert len(reads) - before <= 1 + (time.monotonic() - began) / 0.25


def test_a_name_that_is_known_costs_none(add, start, reads) -> None:
    hub = start(poll_ms=SELDOM)
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    before = len(reads)
    hub.ask("mood", "a film")
    assert len(reads) == before


def test_while_the_catalog_is_gone_nobody_is_told_that_a_name_is_unknown(
    add, start, store, monkeypatch
) -> None:
    hub = start(poll_ms=SELDOM)
    add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))

    def gone(self) -> int:
        raise NotReady("The catalog cannot be used right now.")

    with monkeypatch.context() as patch:
        patch.setattr("hub.store.catalog.deployments.Deployments.generation", gone)
        with pytest.raises(NotReady, match=r"cannot be used.*'stranger'"):
            hub.ask("stranger", "x")
        assert hub.ask("mood", "a film").version == "mood@1", "what is live answers"
        assert hub.runtime.status()["catalog_error"]
    with pytest.raises(NotFound):
        hub.ask("stranger", "x")


def test_a_deploy_that_loads_does_not_hold_up_a_move_made_elsewhere(add, start, store, monkeypatch) -> None:
    slow, _ = add("slow", seed=1), add("mood", seed=2)
    loading, go_on, fetch = threading.Event(), threading.Event(), Store.fetch

    def held(self, version):
        if version.sha256 == slow.sha256:
            loading.set()
            assert go_on.wait(30)
        return fetch(self, version)

    monkeypatch.setattr(Store, "fetch", held)
    hub = start(poll_ms=20)
    deploying = threading.Thread(target=lambda: hub.runtime.deploy("slow", Deploy(version="slow@1", by="t")))
    deploying.start()
    assert loading.wait(30)
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    try:
        assert hub.ask("mood", "a film").version == "mood@1"
    finally:
        go_on.set()
        deploying.join()
    assert hub.ask("slow", "a film").version == "slow@1"
