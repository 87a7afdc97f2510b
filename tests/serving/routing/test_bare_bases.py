"""A resident base answers by its own name, without an adapter."""

from __future__ import annotations

import asyncio

import pytest

from hub.api import HeadKind
from hub.errors import Conflict, NotFound
from hub.serving.observation import Track
from hub.serving.routing.routes import by_name
from hub.store.change import Deploy

FIELDS = {"inputs": ["a warm film", "a dull film"], "query": "was it good?"}


@pytest.fixture
def live(add, start, watching):
    add("mood", seed=1)
    hub = start(observer=watching)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    return hub


def ask(hub, name, fields=FIELDS):
    async def run():
        with await hub.runtime.router.admit(by_name(name), "a key") as admission:
            request = admission.route.task.request.model_validate(fields)
            return admission, await hub.runtime.pipeline.run(admission, [request], request_id="r-1")

    return asyncio.run_coroutine_threadsafe(run(), hub.loop).result(30)


def test_an_encoder_answers_by_the_task_that_makes_vectors(live, watching) -> None:
    admission, answers = ask(live, "tiny")
    base = live.base_worker.base
    assert len(answers.items[0].scores) == 2
    assert (admission.route.name, str(admission.version.ref)) == ("tiny", "tiny")
    assert (admission.version.sha256, admission.track) == (base.fingerprint, Track.BASE)
    assert admission.version.info.max_length == base.max_length
    assert watching.seen == []


def test_it_runs_in_the_slot_without_an_adapter(live, monkeypatch) -> None:
    slots, run = [], live.base_worker.engine.run
    monkeypatch.setattr(
        live.base_worker.engine,
        "run",
        lambda rows, **how: slots.extend(row.slot for row in rows) or run(rows),
    )
    ask(live, "tiny")
    assert slots == [0, 0, 0]
    assert live.leases() == 0


def test_a_deployment_of_the_same_name_answers_first(add, live) -> None:
    add("vectors", task="similarity", kind=HeadKind.EMBEDDING, labels=())
    live.runtime.deploy("tiny", Deploy(version="vectors@1", by="t"))
    admission, _ = ask(live, "tiny")
    assert (str(admission.version.ref), admission.track) == ("vectors@1", Track.STABLE)


def test_another_task_needs_an_adapter(live) -> None:
    with pytest.raises(Conflict, match=r"'tiny' is a base.* 'similarity' alone\. For 'sentiment', train"):
        by_name("tiny", "sentiment")(live.runtime.router.routes)


def test_a_base_that_is_not_resident_is_not_found(add, start) -> None:
    add("mood")
    hub = start()
    with pytest.raises(NotFound, match="'tiny'"):
        by_name("tiny")(hub.runtime.router.routes)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert by_name("tiny")(hub.runtime.router.routes).name == "tiny"


def test_without_a_task_that_needs_no_adapter_a_base_is_not_found(live, monkeypatch) -> None:
    from grafthub_similarity.task import SimilarityTask

    monkeypatch.setattr(SimilarityTask, "bare_base", False)
    with pytest.raises(NotFound, match="'tiny'"):
        by_name("tiny")(live.runtime.router.routes)


def test_a_key_that_may_not_call_the_base_does_not_find_it(live) -> None:
    only = live.runtime.router.routes.only(lambda name: name == "mood")
    assert by_name("mood")(only).name == "mood"
    assert list(only.bases) == []
    with pytest.raises(NotFound):
        by_name("tiny")(only)


@pytest.mark.parametrize("name", ["tiny@1", "nope"])
def test_what_is_neither_is_not_found(live, name) -> None:
    with pytest.raises(NotFound):
        by_name(name)(live.runtime.router.routes)
