"""What counts as the same answer of two versions."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from hub.serving.agreement import agree


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
    assert agree(ONE, ONE.model_copy(update=change))


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
    assert not agree(ONE, ONE.model_copy(update=change))
    assert not agree(ONE.model_copy(update=change), ONE)
