"""A version goes live only if its task answers the example of its request model with it."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from grafthub_sentiment.models import SentimentResponse
from grafthub_sentiment.task import SentimentTask

from hub.api import HeadKind
from hub.config import load_settings
from hub.errors import BadAdapter, BadPlugin
from hub.serving import rehearsal
from hub.serving.catalog_client import CatalogClient

TEXT = "a warm and funny film"


@pytest.fixture
def live(home, start):
    """A runtime that serves mood@1 as `mood`."""
    hub = start()
    home.add(seed=1)
    hub.runtime.deploy("mood", "mood@1", by="t")
    return hub


def refused(live, kind: type[Exception] = BadAdapter) -> str:
    """Deploy mood@2, which must be refused; mood@1 still answers. Return the reason."""
    with pytest.raises(kind) as caught:
        live.runtime.deploy("mood", "mood@2", by="t")
    assert live.live() == {"mood": "mood@1"}
    assert live.ask("mood", TEXT).version == "mood@1"
    return str(caught.value)


@pytest.mark.parametrize(
    ("labels", "settings", "why"),
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
    home, live, labels: tuple[str, ...], settings: dict[str, Any], why: str
) -> None:
    home.add(seed=2, labels=labels, settings=settings)
    assert why in refused(live)
    with CatalogClient(load_settings()) as catalog, pytest.raises(BadAdapter, match="mood@2 cannot answer"):
        catalog.deploy("mood", "mood@2")


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
    ("decode", "why"),
    [
        (exits, "decode raises SystemExit: out of paper."),
        (fails, "decode raises ValueError: expected 3 scores."),
        (other_model, "decode returns SentimentRequest and not SentimentResponse."),
        (nothing, "decode returns NoneType and not SentimentResponse."),
        (not_a_number, "scores.positive of the answer is NaN or infinite."),
    ],
)
def test_an_answer_that_is_none_is_refused_with_its_cause(home, live, monkeypatch, decode, why: str) -> None:
    home.add(seed=2)
    right = SentimentTask.decode

    def decode_by_version(self, request, outputs, adapter):
        return (decode if adapter.version == 2 else right)(self, request, outputs, adapter)

    monkeypatch.setattr(SentimentTask, "decode", decode_by_version)
    assert why in refused(live)


def test_a_task_that_does_not_return_is_named(home, live, monkeypatch) -> None:
    home.add(seed=2)
    hang, right = threading.Event(), SentimentTask.encode

    def encode(self, request, tokenizer, adapter):
        if adapter.version == 2:
            hang.wait()
        return right(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", encode)
    monkeypatch.setattr(rehearsal, "LIMIT_S", 0.2)
    try:
        assert "encode of the task 'sentiment' has not returned" in refused(live, BadPlugin)
    finally:
        hang.set()


def test_rows_that_no_base_takes_are_refused(home, live, monkeypatch) -> None:
    home.add(seed=2)
    right = SentimentTask.encode

    def encode(self, request, tokenizer, adapter):
        return [] if adapter.version == 2 else right(self, request, tokenizer, adapter)

    monkeypatch.setattr(SentimentTask, "encode", encode)
    assert "encode does not return a list of at least one Row" in refused(live)


def test_a_rollback_to_a_version_that_no_longer_answers_leaves_what_is_live(home, start, monkeypatch) -> None:
    first = start()
    for seed in (1, 2):
        home.add(seed=seed)
        first.runtime.deploy("mood", f"mood@{seed}", by="t")
    right = SentimentTask.decode

    def decode(self, request, outputs, adapter):
        assert adapter.version != 1, "made for an earlier release"
        return right(self, request, outputs, adapter)

    monkeypatch.setattr(SentimentTask, "decode", decode)
    hub = start()
    with pytest.raises(BadAdapter, match="AssertionError: made for an earlier release"):
        hub.runtime.rollback("mood", by="t")
    assert hub.live() == {"mood": "mood@2"}
    assert hub.ask("mood", TEXT).version == "mood@2"


def test_an_example_for_languages_that_the_adapter_lacks_is_no_fault(home, start) -> None:
    hub = start()
    settings = {"pairs": [["en", "de"]]}
    home.add("german", seed=1, task="translation", kind=HeadKind.GENERATE, labels=(), settings=settings)
    hub.runtime.deploy("german", "german@1", by="t")
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
    hub.runtime.deploy("french", "french@1", by="t")
    assert asked == [rehearsal.FEW_TOKENS, 128]
