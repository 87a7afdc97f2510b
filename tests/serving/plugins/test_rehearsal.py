"""A version goes live only if its task answers the example of its request model with it."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from grafthub_generation.task import GenerationTask
from grafthub_sentiment.models import SentimentResponse
from grafthub_sentiment.task import SentimentTask

from hub.api import AnswerStream, HeadKind
from hub.client.catalog import CatalogClient
from hub.config import load_settings
from hub.engine.protocol import AdapterWeights
from hub.errors import BadAdapter, BadPlugin
from hub.serving.batching import base_workers
from hub.serving.batching.probe import NewSlot
from hub.serving.plugins import pool as plugin_pool
from hub.serving.plugins import rehearsal
from hub.serving.plugins.rehearsal import rehearse_on
from hub.store.change import Deploy, DeploymentChange
from tests.support.serving import let_time_pass

TEXT = "a warm and funny film"
WEIGHTS = AdapterWeights(HeadKind.SEQUENCE, {}, {}, 2, sha256="")


@pytest.fixture
def live(home, start):
    """A runtime that serves mood@1 as `mood`."""
    hub = start()
    home.add(seed=1)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    return hub


def refused(live, kind: type[Exception] = BadAdapter) -> str:
    """Deploy mood@2, which must be refused; mood@1 still answers. Return the reason."""
    with pytest.raises(kind) as caught:
        live.runtime.deploy("mood", Deploy(version="mood@2", by="t"))
    assert live.live() == {"mood": "mood@1"}
    assert live.ask("mood", TEXT).version == "mood@1"
    return str(caught.value)


@pytest.mark.parametrize(
    ("labels", "settings", "reason"),
    [
        (("glad", "sad"), {}, "polarity of label 'glad' is not known"),
        (("positive", "positive"), {}, "two of its labels are 'positive'"),
        (("positive", ""), {}, "one of its labels is empty"),
        (("negative", "positive"), {"temperature": 0}, "Option 'temperature'"),
        (("negative", "positive"), {"temperature": float("nan")}, "temperature"),
        (("negative", "positive"), {"temperature": float("inf")}, "temperature"),
        (("negative", "positive"), {"polarity": {"glad": 1.0}}, "'polarity' names 'glad'"),
    ],
)
def test_labels_and_settings_that_fail_every_request_are_refused(
    home, live, labels: tuple[str, ...], settings: dict[str, Any], reason: str
) -> None:
    home.add(seed=2, labels=labels, settings=settings)
    assert reason in refused(live)
    with CatalogClient(load_settings()) as catalog, pytest.raises(BadAdapter, match="mood@2 cannot answer"):
        catalog.deploy("mood", Deploy(version="mood@2"))


def exits(self, request, outputs, adapter):
    sys.exit("out of paper")


def fails(self, request, outputs, adapter):
    raise ValueError("expected 3 scores")


def other_model(self, request, outputs, adapter):
    return request


def nothing(self, request, outputs, adapter):
    return None


def not_a_number(self, request, outputs, adapter):
    scores = {"positive": float("nan")}
    return SentimentResponse.model_construct(label="positive", score=0.5, polarity=0.0, scores=scores)


@pytest.mark.parametrize(
    ("decode", "reason"),
    [
        (exits, "decode raises SystemExit: out of paper."),
        (fails, "decode raises ValueError: expected 3 scores."),
        (other_model, "decode returned a value of type SentimentRequest instead of SentimentResponse."),
        (nothing, "decode returned None instead of SentimentResponse."),
        (not_a_number, "decode returned NaN or infinity as scores.positive."),
    ],
)
def test_an_answer_that_is_none_is_refused_with_its_cause(
    home, live, monkeypatch, decode, reason: str
) -> None:
    home.add(seed=2)
    right = SentimentTask.decode

    def decode_by_version(self, request, outputs, adapter):
        return (decode if adapter.version == 2 else right)(self, request, outputs, adapter)

    monkeypatch.setattr(SentimentTask, "decode", decode_by_version)
    assert reason in refused(live)


@pytest.fixture
def hangs(home, monkeypatch):
    """Make `encode` hang for mood@2, which is stored: the events that it does, and that ends it.

    For longer than the time limit in the runtimes of the third, a list.
    """
    home.add(seed=1), home.add(seed=2)
    inside, go, late, right = threading.Event(), threading.Event(), [], SentimentTask.encode

    def encode(self, request, tokenizer, adapter):
        if adapter.version == 2:
            inside.set()
            for runtime in late:
                let_time_pass(runtime)
            go.wait(60)
        return right(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", encode)
    yield inside, go, late
    go.set()


def test_a_task_that_does_not_return_is_named_and_requests_go_on(
    home, start, hangs, until, monkeypatch
) -> None:
    monkeypatch.setattr(base_workers, "BORROW_S", 0.01)
    hub = start(limits={"plugin_timeout_s": 60})
    hangs[2].append(hub.runtime)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    for attempt in range(
        1, base_workers.encode_threads() + 1
    ):  # as many as requests may hang before the task is suspended
        rehearse = partial(rehearse_on, hub.runtime.registry, hub.runtime.pipeline.pool)
        with pytest.raises(BadPlugin, match="encode of the task 'sentiment' has not returned"):
            rehearse(NewSlot(hub.base_worker, 1, WEIGHTS, "mood@2"), home.store.get("mood@2"))
        (state,) = hub.runtime.status()["hanging"]
        assert (state["plugin"], state["stuck_calls"], state["suspended"]) == ("sentiment", attempt, False)
    assert hub.ask("mood", TEXT).version == "mood@1"
    hangs[1].set()
    assert until(lambda: not hub.runtime.status()["hanging"])


def test_a_deploy_that_hangs_in_the_plugin_is_refused_at_the_time_limit(start, hangs) -> None:
    hub = start(limits={"plugin_timeout_s": 0.2})
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert "mood@2 cannot be put live" in refused(hub, BadPlugin)


def test_draining_shortens_the_time_limit_of_a_rehearsal(start, hangs, monkeypatch) -> None:
    monkeypatch.setattr(plugin_pool, "GRACE_S", 0.1)
    hub = start(limits={"plugin_timeout_s": 600})
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    with ThreadPoolExecutor(1) as threads:
        moved = threads.submit(hub.runtime.deploy, "mood", Deploy(version="mood@2", by="t"))
        assert hangs[0].wait(20)
        hub.runtime.drain()
        with pytest.raises(BadPlugin):
            moved.result(20)


def test_without_a_server_the_same_time_limit_holds(hangs, monkeypatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__PLUGIN_TIMEOUT_S", "0.2")
    with CatalogClient(load_settings()) as catalog, pytest.raises(BadPlugin, match="has not returned"):
        catalog.deploy("mood", Deploy(version="mood@2"))
    assert not hangs[1].is_set(), "nothing waits for the thread that hangs"


def test_rows_that_no_base_takes_are_refused(home, live, monkeypatch) -> None:
    home.add(seed=2)
    right = SentimentTask.encode

    def encode(self, request, tokenizer, adapter):
        return [] if adapter.version == 2 else right(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", encode)
    assert "encode returned no rows" in refused(live)


def test_a_rollback_to_a_version_that_no_longer_answers_leaves_what_is_live(home, start, monkeypatch) -> None:
    first = start()
    for seed in (1, 2):
        home.add(seed=seed)
        first.runtime.deploy("mood", Deploy(version=f"mood@{seed}", by="t"))
    right = SentimentTask.decode

    def decode(self, request, outputs, adapter):
        assert adapter.version != 1, "made for an earlier release"
        return right(self, request, outputs, adapter)

    monkeypatch.setattr(SentimentTask, "decode", decode)
    hub = start()
    with pytest.raises(BadAdapter, match="AssertionError: made for an earlier release"):
        hub.runtime.rollback("mood", DeploymentChange(by="t"))
    assert hub.live() == {"mood": "mood@2"}
    assert hub.ask("mood", TEXT).version == "mood@2"


def test_an_example_for_languages_that_the_adapter_lacks_is_no_fault(home, start) -> None:
    hub = start()
    settings = {"pairs": [["en", "de"]]}
    home.add("german", seed=1, task="translation", kind=HeadKind.GENERATE, labels=(), settings=settings)
    hub.runtime.deploy("german", Deploy(version="german@1", by="t"))
    assert hub.live() == {"german": "german@1"}


def test_generated_text_is_cut_short_only_where_the_task_can_read_it(home, start, monkeypatch) -> None:
    from grafthub_translation.task import TranslationTask

    asked, right = [], TranslationTask.decode

    def decode(self, request, outputs, adapter):
        asked.append(outputs[0].row.max_new_tokens)
        if asked[-1] < 128:
            raise ValueError("no closing brace")
        return right(self, request, outputs, adapter)

    monkeypatch.setattr(TranslationTask, "decode", decode)
    hub = start()
    settings = {"source_language": "en", "target_language": "fr"}
    home.add("french", seed=1, task="translation", kind=HeadKind.GENERATE, labels=(), settings=settings)
    hub.runtime.deploy("french", Deploy(version="french@1", by="t"))
    assert asked == [rehearsal.FEW_TOKENS, 128]


@pytest.mark.parametrize(
    ("part", "reason"),
    [(None, "stream returned None instead of a part"), (KeyError("no"), "stream raises KeyError")],
)
def test_a_task_that_cannot_stream_the_text_of_its_example_is_refused(
    home, start, monkeypatch, part: object, reason: str
) -> None:
    class Broken(AnswerStream):
        def add(self, row: int, text: str) -> Any:
            if isinstance(part, Exception):
                raise part
            return part

    monkeypatch.setattr(GenerationTask, "stream", lambda *given: Broken())
    hub = start()
    home.add("writer", seed=1, task="generation", kind=HeadKind.GENERATE, labels=())
    with pytest.raises(BadAdapter, match=reason):
        hub.runtime.deploy("writer", Deploy(version="writer@1", by="t"))
