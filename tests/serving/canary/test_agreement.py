"""What counts as the same answer of two versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from grafthub_sentiment.task import SentimentTask
from pydantic import BaseModel, ConfigDict

from hub.answers import is_comparable
from hub.answers import same_answer as agree
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask
from hub.serving.canary.grading import agree as ask
from hub.serving.canary.grading import can_agree


class Span(BaseModel):
    start: int
    text: str
    score: float


class Answer(BaseModel):
    label: str
    score: float
    scores: dict[str, float] = {}
    spans: list[Span] = []
    best: tuple[str | float, ...] = ()
    maybe: int | None = None


ONE = Answer(
    label="good",
    score=0.9,
    scores={"good": 0.9, "bad": 0.1},
    spans=[Span(start=3, text="fine", score=0.4)],
    best=("good", 0.9),
)


@pytest.mark.parametrize(
    "change",
    [
        {"score": 0.51},
        {"scores": {"good": 0.2, "bad": 0.8}},
        {"spans": [Span(start=3, text="fine", score=0.1)]},
        {"best": ("good", 0.1)},
    ],
)
def test_scores_do_not_count(change) -> None:
    assert agree(ONE, ONE.model_copy(update=change)) is True


@pytest.mark.parametrize(
    "change",
    [
        {"label": "bad"},
        {"spans": [Span(start=4, text="fine", score=0.4)]},
        {"spans": [Span(start=3, text="fin", score=0.4)]},
        {"spans": []},
        {"best": ("bad", 0.9)},
        {"maybe": 0},
    ],
)
def test_labels_spans_texts_and_what_is_null_do(change) -> None:
    assert agree(ONE, ONE.model_copy(update=change)) is False
    assert agree(ONE.model_copy(update=change), ONE) is False


class Rating(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"stars": 4}]})

    stars: float
    parts: dict[str, float] = {"food": 4.5}


def rater(agrees: Callable[..., Any] | None) -> LoadedTask:
    """Return the task `sentiment` with answers of numbers alone, and perhaps a comparison of its own."""
    loaded = Registry.load().task("sentiment")
    kind = type("Rater", (SentimentTask,), {"agrees": agrees} if agrees else {})
    return replace(loaded, task=kind(), response=Rating)


def test_of_answers_of_floats_alone_nothing_can_be_told() -> None:
    loaded = rater(None)
    assert ask(loaded.task, Rating(stars=4.83), Rating(stars=1.0)) is None
    assert not can_agree(loaded)
    assert not is_comparable({"vector": [0.1, 0.2]})
    assert is_comparable({"entities": []}), "nothing was found, which can be compared"
    assert can_agree(Registry.load().task("sentiment"))


def test_a_task_may_compare_its_answers_itself() -> None:
    loaded = rater(lambda self, answer, other: abs(answer.stars - other.stars) < 0.5)
    assert can_agree(loaded)
    assert ask(loaded.task, Rating(stars=4.8), Rating(stars=4.6)) is True
    assert ask(loaded.task, Rating(stars=4.8), Rating(stars=2.0)) is False
    with pytest.raises(TypeError, match="agrees"):
        ask(rater(lambda self, answer, other: 0.5).task, Rating(stars=1), Rating(stars=1))
