"""Answers of every kind of task are compared with the truth by the same rules."""

from __future__ import annotations

import pytest

from hub.errors import BadRequest
from hub.serving.truth import is_right

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
    assert is_right(response, label)


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
    assert not is_right(response, label)


def test_numbers_are_equal_but_for_rounding() -> None:
    assert is_right({"stars": 4.8300001}, {"stars": 4.83})
    assert is_right({"stars": 4.0}, {"stars": 4})
    assert not is_right({"stars": 4.84}, {"stars": 4.83})
    assert not is_right({"sure": 1.0}, {"sure": True}), "a number is no truth value"


def test_a_label_for_an_answer_of_numbers_alone_is_refused_and_not_wrong() -> None:
    with pytest.raises(BadRequest, match="of: stars"):
        is_right({"stars": 4.83}, "5")
