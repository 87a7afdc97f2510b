"""Cells become what a field needs, or a reason that quotes no text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import MAX_TEXT, Field, FieldKind
from hub.data.fields import Filtered, Unusable, check_relations, convert, labelled_fields, labels_in
from hub.recipe.recipe import LabelRules

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


@pytest.mark.parametrize("value", [["a"], ("a",), '["a"]', "['a']", {"choices": ["a"]}, '{"choices": ["a"]}'])
def test_a_list_of_one_label_is_that_label(value: Any) -> None:
    assert convert(field(FieldKind.LABEL), value, NO_RULES) == "a"


@pytest.mark.parametrize("value", [[], ["a", "b"], '["a", "b"]', "['a' 'b']"])
def test_a_list_of_another_length_is_no_label(value: Any) -> None:
    assert "instead of one" in reason(FieldKind.LABEL, value)


@pytest.mark.parametrize("value", [None, float("nan"), "nan", "NaN", "<NA>", " ", [None], [float("nan")]])
def test_a_missing_value_is_no_label(value: Any) -> None:
    reason(FieldKind.LABEL, value)


def test_a_label_that_looks_like_a_missing_value_can_be_named() -> None:
    rules = LabelRules.model_validate({"rename": {"nan": "bread"}})
    assert convert(field(FieldKind.LABEL), "nan", rules) == "bread"


@pytest.mark.parametrize(
    "spelling", ["caf\u00e9", "cafe\u0301", "ca\u200bf\u00e9", "\ufeffcaf\u00e9", "caf\u00e9 \u00a0"]
)
def test_spellings_that_look_the_same_are_one_label(spelling: str) -> None:
    rules = LabelRules.model_validate({"rename": {"cafe\u0301": "place"}})
    for value in (spelling, [spelling]):
        assert convert(field(FieldKind.LABELS), value, NO_RULES) == ("caf\u00e9",)
        assert convert(field(FieldKind.LABEL), value, rules) == "place"


def test_bins_turn_numbers_into_labels_and_leave_the_rest_out() -> None:
    assert convert(field(FieldKind.LABEL), "1.0", VALENCE) == "positive"
    assert convert(field(FieldKind.LABEL), -2, VALENCE) == "negative"
    with pytest.raises(Filtered):
        convert(field(FieldKind.LABEL), "0.99", VALENCE)
    assert reason(FieldKind.LABEL, "often", VALENCE) == "cell is not a number"
    assert reason(FieldKind.LABEL, "nan", VALENCE) == "cell is empty"


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("a, b,a,", ("a", "b")),
        (["b", "a"], ("b", "a")),
        ("", ()),
        (None, ()),
        ([1, ""], ("1",)),
        ('["a, b", "c"]', ("a, b", "c")),
        ("['a', 'b']", ("a", "b")),
        ("['a' 'b']", ("a", "b")),
        ("{'a'}", ("a",)),
        ("[]", ()),
        ({"choices": ["a", "b"]}, ("a", "b")),
    ],
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
        ("{", "cell is neither JSON nor a Python list"),
        (3, "cell is a number, not a list of answers"),
        ({"text": ["a"]}, "cell needs the lists text and answer_start, of equal length"),
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


@pytest.mark.parametrize(
    "value",
    [["New York", "is"], ("New York", "is"), [{"text": "New York", "start": 0}, {"text": "is", "start": 9}]],
)
def test_tokens_are_a_list(value: Any) -> None:
    assert convert(field(FieldKind.TOKENS), value, NO_RULES) == ("New York", "is")


def test_a_recipe_names_the_separator() -> None:
    assert convert(field(FieldKind.LABELS), "a|b, c", NO_RULES, "|") == ("a", "b, c")
    assert convert(field(FieldKind.TOKENS), "New York|is", NO_RULES, "|") == ("New York", "is")
    assert convert(field(FieldKind.TAGS), "B-LOC|O", NO_RULES, "|") == ("B-LOC", "O")
    assert convert(field(FieldKind.LABELS), '["a|b"]', NO_RULES, "|") == ("a|b",)


@pytest.mark.parametrize("value", ["['New York', 'is']", '["New York", "is"]', "['New York' 'is']"])
def test_tokens_and_tags_that_are_written_as_a_list(value: str) -> None:
    assert convert(field(FieldKind.TOKENS), value, NO_RULES) == ("New York", "is")
    assert convert(field(FieldKind.TAGS), "['O', 'B-LOC']", NO_RULES) == ("O", "B-LOC")


@pytest.mark.parametrize("value", [[0, 1], "0 1", "[0, 1]", ["O", "1"], [0.0]])
def test_numbers_are_no_tags_unless_the_recipe_names_them(value: Any) -> None:
    assert "data.labels.rename" in reason(FieldKind.TAGS, value)
    rules = LabelRules.model_validate({"rename": {0: "O", "0.0": "O", 1: "B-PER"}})
    assert convert(field(FieldKind.TAGS), value, rules)[0] == "O"


def test_tokens_and_tags_may_be_parted_by_spaces() -> None:
    assert convert(field(FieldKind.TOKENS), " in  Oslo\t. ", NO_RULES) == ("in", "Oslo", ".")
    assert convert(field(FieldKind.TAGS), "O B-LOC O", NO_RULES) == ("O", "B-LOC", "O")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (FieldKind.TOKENS, [], "cell is empty"),
        (FieldKind.TOKENS, ["a", " "], "cell has an empty token"),
        (FieldKind.TOKENS, ["a", 1], "cell is a number, not text"),
        (FieldKind.TOKENS, 3, "cell is a number, not a list of tokens"),
        (FieldKind.TAGS, [], "cell is empty"),
        (FieldKind.TAGS, {}, "cell is an object, not a list of tags"),
        (FieldKind.TAGS, ["O", None], "cell is nothing, not a label"),
    ],
)
def test_tokens_and_tags_that_are_none(kind: FieldKind, value: Any, expected: str) -> None:
    assert reason(kind, value) == expected


def test_whole_tags_and_the_types_in_them_are_renamed_and_restricted() -> None:
    rules = LabelRules.model_validate({"rename": {3: "B-PER", "PER": "person"}, "only": ["person"]})
    tags = convert(field(FieldKind.TAGS), [3, "I-PER", "O", "E-PER", "PER"], rules)
    assert tags == ("B-person", "I-person", "O", "L-person", "person")
    assert reason(FieldKind.TAGS, "O B-LOC", rules) == "cell is 'LOC', which is not one of person"


PLACE = {"start": 3, "end": 7, "label": "LOC"}


@pytest.mark.parametrize(
    "value",
    [
        [{**PLACE, "token_start": 1}],
        [[3, 7, "LOC"]],
        [{"start": 3, "end": 7, "entity_group": "LOC", "word": "Oslo"}],
        {"start": [3], "end": [7], "label": ["LOC"]},
        [{"start_offset": 3, "end_offset": 7, "label": "LOC", "id": 1}],
        [{"start": 3, "end": 7, "text": "Oslo", "labels": ["LOC"]}],
        "[{'start': 3, 'end': 7, 'label': 'LOC'}]",
        '[{"start": 3, "end": 7, "label": "LOC"}]',
        '[[3, 7, "LOC"]]',
    ],
)
def test_entities_come_in_several_forms(value: Any) -> None:
    assert convert(field(FieldKind.ENTITIES), value, NO_RULES) == (PLACE,)


@pytest.mark.parametrize("value", [None, [], "", "[]"])
def test_no_entity_is_an_annotation(value: Any) -> None:
    assert convert(field(FieldKind.ENTITIES), value, NO_RULES) == ()


def test_entities_that_may_be_absent_are_none_only_if_they_are() -> None:
    optional = field(FieldKind.ENTITIES, required=False)
    assert convert(optional, None, NO_RULES) is None
    assert convert(optional, [], NO_RULES) == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[", "cell is neither JSON nor a Python list"),
        ("3", "cell is a number, not a list of entities"),
        (
            {"start": [1], "end": [2], "label": []},
            "cell needs the lists start, end and label, of equal length",
        ),
        *[
            (value, "cell needs a start from 0, an end after it and a label in each entity")
            for value in (
                ["Oslo"],
                [[3, 7]],
                [[7, 7, "LOC"]],
                [[-1, 7, "LOC"]],
                [[True, 7, "LOC"]],
                [{"start": 3, "end": 7}],
            )
        ],
        ([[3, 7, " "]], "cell is empty"),
    ],
)
def test_entities_that_are_none(value: Any, expected: str) -> None:
    assert reason(FieldKind.ENTITIES, value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "labels"),
    [
        (FieldKind.LABEL, "a", ("a",)),
        (FieldKind.LABEL, None, ()),
        (FieldKind.LABELS, ("b", "a"), ("b", "a")),
        (FieldKind.TAGS, ("O", "B-PER", "I-PER", "LOC"), ("PER", "LOC")),
        (FieldKind.ENTITIES, (PLACE, PLACE), ("LOC",)),
        (FieldKind.TEXT, "a", ()),
    ],
)
def test_the_labels_in_a_value(kind: FieldKind, value: Any, labels: tuple[str, ...]) -> None:
    assert labels_in(field(kind), value) == labels


MESSAGES = ({"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "Hello."})


@pytest.mark.parametrize(
    "value",
    [
        list(MESSAGES),
        [{**MESSAGES[0], "name": "Ada"}, MESSAGES[1]],
        {"role": ["user", "assistant"], "content": [" Hi\n", "Hello."]},
        '[{"role": "user", "content": " Hi\\n"}, {"role": "assistant", "content": "Hello."}]',
        str(list(MESSAGES)),
    ],
)
def test_messages_come_in_several_forms(value: Any) -> None:
    assert convert(field(FieldKind.MESSAGES), value, NO_RULES) == MESSAGES


@pytest.mark.parametrize("value", [None, [], ""])
def test_a_chat_may_have_no_messages(value: Any) -> None:
    assert convert(field(FieldKind.MESSAGES), value, NO_RULES) == ()
    assert not convert(field(FieldKind.MESSAGES, required=False), value, NO_RULES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hi!", "cell is neither JSON nor a Python list"),
        (3, "cell is a number, not a list of messages"),
        ({"role": ["user"], "content": []}, "cell needs the lists role and content, of equal length"),
        *[
            ([message], "cell needs a role and a content, both text, in each message")
            for message in (
                "Hi",
                {"role": "user"},
                {"role": "user", "content": ""},
                {"role": 1, "content": "a"},
            )
        ],
        ([{"role": "user", "content": "\ud800"}], "cell is not UTF-8 text"),
    ],
)
def test_messages_that_are_none(value: Any, expected: str) -> None:
    assert reason(FieldKind.MESSAGES, value) == expected


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


@pytest.mark.parametrize(
    "value",
    [
        [{"head": 0, "tail": 2, "label": "works for"}],
        [[0, 2, "works for"]],
        '[{"head": 0, "tail": 2, "type": "works for"}]',
        {"head": [0], "tail": [2], "label": ["works for"]},
    ],
)
def test_relations_are_pairs_of_entities_with_a_label(value: Any) -> None:
    expected = ({"head": 0, "tail": 2, "label": "works for"},)
    assert convert(field(FieldKind.RELATIONS), value, NO_RULES) == expected
    assert labels_in(field(FieldKind.RELATIONS), expected) == ("works for",)


def test_a_row_may_have_no_relation() -> None:
    assert convert(field(FieldKind.RELATIONS), "", NO_RULES) == ()


@pytest.mark.parametrize("value", [[[0, "1", "x"]], [[0, 1, None]], [[-1, 0, "x"]], [{"head": 0}], ["x"]])
def test_a_relation_that_is_none_is_named(value: Any) -> None:
    assert reason(FieldKind.RELATIONS, value).startswith("cell needs the indices of two entities, head and")


def test_relations_are_between_two_entities_of_their_row() -> None:
    fields = (Field("who", FieldKind.ENTITIES, ""), Field("ties", FieldKind.RELATIONS, ""))
    who = ({"start": 0, "end": 1, "label": "a"}, {"start": 2, "end": 3, "label": "b"})
    check_relations(fields, {"who": who, "ties": ({"head": 1, "tail": 0, "label": "x"},)})
    check_relations(fields, {"who": who, "ties": None})
    for head, tail in ((0, 2), (1, 1)):
        with pytest.raises(Unusable, match=f"ties has one from entity {head} to {tail}, and there are 2"):
            check_relations(fields, {"who": who, "ties": ({"head": head, "tail": tail, "label": "x"},)})
    assert [one.name for one in labelled_fields(fields)] == ["ties"]
    assert [one.name for one in labelled_fields(fields[:1])] == ["who"]
