"""Answers are compared with labels by the task's own comparison, or by rules for every kind of task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from grafthub_sentiment.task import SentimentTask
from pydantic import BaseModel

from hub.errors import BadRequest, NotFound
from hub.registry.host import Registry
from hub.serving.canary.grading import Comparer, is_correct, matches
from hub.store.catalog.feedback import StoredAnswer

SENTIMENT = {"label": "positive", "score": 0.9, "polarity": 0.8, "scores": {"positive": 0.9}}
SINGLE = {"label": "sport", "score": 0.9, "labels": [{"label": "sport", "score": 0.9}], "scores": {}}
SEVERAL = {"label": "a", "score": 0.9, "labels": [{"label": "a"}, {"label": "b"}], "scores": {}}
NONE = {"label": None, "score": None, "labels": [], "scores": {"a": 0.1}}
QA = {"answer": "Ada Novak", "score": 0.8, "start": 27, "end": 36, "no_answer": False, "answers": []}
NO_ANSWER = {
    "answer": "",
    "score": 0.8,
    "start": 0,
    "end": 0,
    "no_answer": True,
    "answers": [{"answer": "x"}],
}
TRANSLATION = {"translation": "Deux chiens.", "source_language": "en", "target_language": "fr"}
ENTITIES = {
    "entities": [
        {"entity_group": "PER", "word": "Ada", "start": 0, "end": 3, "score": 0.9},
        {"entity_group": "LOC", "word": "Oslo", "start": 9, "end": 13, "score": 0.9},
    ]
}


@pytest.mark.parametrize(
    ("response", "label"),
    [
        (SENTIMENT, "positive"),
        (SENTIMENT, ["positive"]),
        (SINGLE, "sport"),
        (SINGLE, {"label": "sport"}),
        (SEVERAL, ["b", "a"]),
        (NONE, []),
        (QA, "ada  novak!"),
        (QA, ["Novak", "Ada Novak"]),
        (QA, {"answer": "Ada Novak", "start": 27}),
        (NO_ANSWER, ""),
        (NO_ANSWER, {"no_answer": True}),
        (TRANSLATION, "deux chiens"),
        (
            ENTITIES,
            {"entities": [{"start": 9, "end": 13, "label": "LOC"}, {"start": 0, "end": 3, "label": "PER"}]},
        ),
        (
            ENTITIES,
            {"entities": [{"word": "Ada", "entity_group": "PER"}, {"word": "Oslo", "entity_group": "LOC"}]},
        ),
        ({"entities": []}, {"entities": []}),
    ],
)
def test_right(response, label) -> None:
    assert is_correct(response, label)


@pytest.mark.parametrize(
    ("response", "label"),
    [
        (SENTIMENT, "negative"),
        (SENTIMENT, "Positive"),  # labels are names, not words
        (SENTIMENT, []),
        (SENTIMENT, ["positive", "negative"]),
        (SINGLE, "politics"),
        (SEVERAL, "a"),
        (SEVERAL, ["a", "b", "c"]),
        (NONE, "a"),
        (QA, "Novak"),
        (QA, ""),
        (QA, {"answer": "Ada Novak", "start": 3}),
        (QA, {"reply": "Ada Novak"}),
        (QA, {}),
        (NO_ANSWER, "x"),
        (TRANSLATION, "Deux chats."),
        (TRANSLATION, "en"),
        (ENTITIES, {"entities": [{"start": 0, "end": 3, "label": "PER"}]}),
        (
            ENTITIES,
            {"entities": [{"start": 0, "end": 3, "label": "PER"}, {"start": 9, "end": 13, "label": "PER"}]},
        ),
        (ENTITIES, {"entities": []}),
        (ENTITIES, "Ada"),
        ({"entities": []}, {"entities": [{"start": 0, "end": 3, "label": "PER"}]}),
    ],
)
def test_wrong(response, label) -> None:
    assert not is_correct(response, label)


def test_numbers_are_equal_but_for_rounding() -> None:
    assert is_correct({"stars": 4.8300001}, {"stars": 4.83})
    assert is_correct({"stars": 4.0}, {"stars": 4})
    assert not is_correct({"stars": 4.84}, {"stars": 4.83})
    assert not is_correct({"sure": 1.0}, {"sure": True}), "a number is no truth value"


def test_a_label_for_an_answer_of_numbers_alone_is_refused_and_not_wrong() -> None:
    with pytest.raises(BadRequest, match="of: stars"):
        is_correct({"stars": 4.83}, "5")


class Rating(BaseModel):
    stars: float
    service: float = 3.0


def rater(agrees: Callable[..., object] | None = lambda self, one, other: abs(one.stars - other.stars) < 0.5):
    """Return a task whose answers are floats, with its own comparison or with that of every task."""
    kind = type("Rater", (SentimentTask,), {"agrees": agrees} if agrees else {})
    return replace(Registry.load().task("sentiment"), task=kind(), response=Rating)


def compared(task, label, stored: str = "mood@1") -> bool:
    """Compare an answer of 4.5 stars with a label, as a server does."""

    def get(ref: str):
        if ref != "mood@1":
            raise NotFound(ref)
        return SimpleNamespace(manifest=SimpleNamespace(serving=SimpleNamespace(task="rating")))

    async def read(task, call, step):
        assert step == "agrees"
        return call()

    comparer = Comparer(SimpleNamespace(task=lambda name: task), SimpleNamespace(get=get), read)
    body = Rating(stars=4.5).model_dump_json()
    return asyncio.run(comparer(StoredAnswer("id", "mood", stored, "0" * 64, datetime.now(UTC), body), label))


def test_floats_are_compared_by_the_tasks_own_agrees() -> None:
    assert compared(rater(), {"stars": 4.9}) is True
    assert compared(rater(), {"stars": 3}) is False
    assert compared(rater(None), {"stars": 4.9}) is False, "no tolerance was given"
    assert compared(rater(None), {"stars": 4.5}) is True


def test_a_label_that_makes_no_answer_of_the_task_is_compared_as_for_every_task() -> None:
    for wrong in ({}, {"star": 4.5}, {"stars": "4.5"}, {"stars": True}, {"stars": None}):
        assert matches(rater(), {"stars": 1.0, "service": 3.0}, wrong) is None, wrong
        assert compared(rater(), wrong) is False, wrong
    with pytest.raises(BadRequest, match="of: stars, service"):
        compared(rater(), "4.5")


def test_where_a_task_cannot_tell_the_rules_for_every_task_decide() -> None:
    assert compared(rater(lambda self, one, other: None), {"stars": 4.5}) is True
    assert compared(rater(lambda self, one, other: None), {"stars": 4.9}) is False


def test_an_answer_of_a_version_that_is_gone_is_compared_all_the_same() -> None:
    assert compared(rater(), {"stars": 4.5}, "mood@9") is True
    assert compared(rater(), {"stars": 4.9}, "mood@9") is False


def test_a_comparison_that_says_neither_yes_nor_no_is_a_fault() -> None:
    with pytest.raises(TypeError, match="agrees"):
        compared(rater(lambda self, one, other: 0.5), {"stars": 4.5})
