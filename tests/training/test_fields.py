"""Cells become what a field needs, or a reason that quotes no text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import MAX_TEXT, Field, FieldKind
from hub.training.fields import LeftOut, Unusable, convert
from hub.training.recipe import LabelRules

NO_RULES = LabelRules()
VALENCE = LabelRules.model_validate(
    {"bins": [{"label": "positive", "min": 1}, {"label": "negative", "max": -1}]}
)


def field(kind: FieldKind, required: bool = True) -> Field:
    return Field("cell", kind, "", required)


def reason(kind: FieldKind, value: Any, rules: LabelRules = NO_RULES) -> str:
    with pytest.raises(Unusable) as raised:
        convert(field(kind), value, rules)
    return str(raised.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "cell is empty"),
        (" \t", "cell is empty"),
        (None, "cell is empty"),
        (3, "cell is a number, not text"),
        (True, "cell is true or false, not text"),
        ({}, "cell is an object, not text"),
        ("caf\udce9", "cell is not UTF-8 text"),
        ("x" * (MAX_TEXT + 1), f"cell has {MAX_TEXT + 1:,} characters; at most {MAX_TEXT:,} are read"),
    ],
)
def test_text_that_is_none(value: Any, expected: str) -> None:
    assert reason(FieldKind.TEXT, value) == expected


def test_an_optional_cell_may_be_empty() -> None:
    assert convert(field(FieldKind.TEXT, required=False), " ", NO_RULES) is None


@pytest.mark.parametrize(("value", "label"), [(" a ", "a"), (1, "1"), (2.5, "2.5"), (True, "true")])
def test_labels_are_words(value: Any, label: str) -> None:
    assert convert(field(FieldKind.LABEL), value, NO_RULES) == label


def test_labels_are_renamed_and_restricted() -> None:
    rules = LabelRules.model_validate({"rename": {0: "bad", 1: "good"}, "only": ["good", "bad"]})
    assert convert(field(FieldKind.LABEL), "1", rules) == "good"
    assert reason(FieldKind.LABEL, "2", rules) == "cell is '2', which is not one of good, bad"


def test_bins_turn_numbers_into_labels_and_leave_the_rest_out() -> None:
    assert convert(field(FieldKind.LABEL), "1.0", VALENCE) == "positive"
    assert convert(field(FieldKind.LABEL), -2, VALENCE) == "negative"
    with pytest.raises(LeftOut):
        convert(field(FieldKind.LABEL), "0.99", VALENCE)
    assert reason(FieldKind.LABEL, "often", VALENCE) == "cell is not a number"
    assert reason(FieldKind.LABEL, "nan", VALENCE) == "cell is not a number"


@pytest.mark.parametrize(
    ("value", "labels"),
    [("a, b,a,", ("a", "b")), (["b", "a"], ("b", "a")), ("", ()), (None, ()), ([1, ""], ("1",))],
)
def test_several_labels(value: Any, labels: tuple[str, ...]) -> None:
    assert convert(field(FieldKind.LABELS), value, NO_RULES) == labels


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "Rollo", "answer_start": 7}],
        {"text": ["Rollo"], "answer_start": [7]},
        '[{"text": "Rollo", "answer_start": 7, "id": 3}]',
    ],
)
def test_answers_come_in_three_forms(value: Any) -> None:
    assert convert(field(FieldKind.ANSWERS), value, NO_RULES) == ({"text": "Rollo", "answer_start": 7},)


@pytest.mark.parametrize("value", [None, [], "", "[]", {"text": [], "answer_start": []}])
def test_no_answer_is_an_answer(value: Any) -> None:
    assert convert(field(FieldKind.ANSWERS), value, NO_RULES) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{", "cell is not JSON"),
        (3, "cell is a number, not a list of answers"),
        ({"text": ["a"]}, "cell needs the lists text and answer_start, of one length"),
        ([{"text": "a"}], "cell needs a text and an answer_start from 0 in each answer"),
        (
            [{"text": "a", "answer_start": True}],
            "cell needs a text and an answer_start from 0 in each answer",
        ),
        (["a"], "cell needs a text and an answer_start from 0 in each answer"),
    ],
)
def test_answers_that_are_none(value: Any, expected: str) -> None:
    assert reason(FieldKind.ANSWERS, value) == expected


def test_numbers() -> None:
    assert convert(field(FieldKind.NUMBER), " 2.5 ", NO_RULES) == 2.5
    assert reason(FieldKind.NUMBER, True) == "cell is not a number"
    assert reason(FieldKind.NUMBER, "1e999") == "cell is not a number"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(FieldKind), st.booleans(), anything)
def test_any_cell_becomes_a_value_or_a_reason(kind: FieldKind, required: bool, value: Any) -> None:
    try:
        convert(field(kind, required), value, NO_RULES)
    except Unusable as error:
        assert str(error).startswith("cell ")
