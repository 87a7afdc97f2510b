"""Labels stand where they stood, whatever is taken out of the text around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Field, FieldKind
from hub.data.fields import Filtered, Unusable
from hub.data.texts import Texts, Treated
from hub.recipe.recipe import Recipe
from hub.recipe.sections.data import Data

RecipeMaker = Callable[..., Recipe]
QA = (
    Field("question", FieldKind.TEXT, ""),
    Field("context", FieldKind.TEXT, ""),
    Field("answers", FieldKind.ANSWERS, ""),
)
NER = (
    Field("text", FieldKind.TEXT, "", required=False),
    Field("entities", FieldKind.ENTITIES, "", required=False),
    Field("tokens", FieldKind.TOKENS, "", required=False),
    Field("tags", FieldKind.TAGS, "", required=False),
)
PLAIN = (Field("text", FieldKind.TEXT, ""), Field("label", FieldKind.LABEL, ""))


def treat(fields: tuple[Field, ...], example: dict[str, Any], **data: Any) -> Treated:
    recipe = Recipe(task="t", data=Data.model_validate({"source": "a", **data}))
    return Texts(recipe, fields).treat({field.name: example.get(field.name) for field in fields})


def test_a_clean_text_is_the_same_object() -> None:
    treated = treat(PLAIN, {"text": "fine", "label": "a"})
    assert treated.example is treated.sent
    assert (treated.changed, treated.pii) == ((), {})


def test_what_is_sent_is_not_cleaned() -> None:
    treated = treat(PLAIN, {"text": " two  words ", "label": "a"})
    assert treated.example["text"] == "two words"
    assert treated.sent["text"] == " two  words "
    assert treated.changed == ("whitespace",)


def test_answers_move_with_their_context() -> None:
    context = "  The <b>Rhine</b>  flows.  "
    answer = {"text": "Rhine", "answer_start": context.index("Rhine")}
    treated = treat(
        QA, {"question": "which  river?", "context": context, "answers": (answer,)}, clean={"html": True}
    )
    assert treated.example == {
        "question": "which river?",
        "context": "The Rhine flows.",
        "answers": ({"text": "Rhine", "answer_start": 4},),
    }
    assert treated.sent["context"] == context


def test_an_answer_is_what_stands_at_its_place_afterwards() -> None:
    context = "It is a  long   answer."
    answer = {"text": "a  long   answer", "answer_start": 6}
    treated = treat(QA, {"question": "q", "context": context, "answers": (answer,)})
    assert treated.example["answers"] == ({"text": "a long answer", "answer_start": 6},)


def test_a_row_whose_answers_are_of_no_text_is_left_alone() -> None:
    example = {"question": "q", "context": "a  b", "answers": ({"text": "b", "answer_start": 0},)}
    treated = treat(QA, example)
    assert treated.example == example
    assert treated.changed == ()


def test_a_text_is_left_alone_where_a_label_would_be_of_nothing() -> None:
    text = "see https://a.bc now"
    entity = {"start": 4, "end": 16, "label": "URL"}
    treated = treat(NER, {"text": text, "entities": (entity,)}, clean={"urls": "drop"})
    assert treated.example["text"] == text
    masked = treat(NER, {"text": text, "entities": (entity,)}, clean={"urls": "mask"}).example
    assert masked["text"] == "see <URL> now"
    assert masked["entities"] == ({"start": 4, "end": 9, "label": "URL"},)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ab", "c", "Ada", "é", "e\u0301"]), st.sampled_from([" ", "  ", "\t", " <b> "])
        )
    ),
    st.integers(0, 5),
)
def test_entities_cover_the_same_words(words: list[tuple[str, str]], step: int) -> None:
    text, entities, covered = " ", [], []
    for number, (word, space) in enumerate([*words, ("end", " ")]):
        if number % (step + 1) == 0:
            entities.append({"start": len(text), "end": len(text) + len(word), "label": "X"})
            covered.append(word.replace("e\u0301", "é"))
        text += word + space
    treated = treat(NER, {"text": text, "entities": tuple(entities)}, clean={"html": True})
    now = treated.example
    assert "  " not in now["text"]
    assert [now["text"][one["start"] : one["end"]] for one in now["entities"]] == covered


def test_masks_move_entities_too_and_a_sent_row_is_masked_as_well() -> None:
    text = " mail a@b.co or  call Ada"
    entities = (
        {"start": 6, "end": 12, "label": "ADDRESS"},
        {"start": 22, "end": 25, "label": "NAME"},
    )
    treated = treat(NER, {"text": text, "entities": entities}, pii="mask")
    now = treated.example
    assert now["text"] == "mail <EMAIL> or call Ada"
    assert [now["text"][one["start"] : one["end"]] for one in now["entities"]] == ["<EMAIL>", "Ada"]
    assert treated.sent["text"] == " mail <EMAIL> or  call Ada"
    assert [treated.sent["text"][one["start"] : one["end"]] for one in treated.sent["entities"]] == [
        "<EMAIL>",
        "Ada",
    ]
    assert treated.pii == {"EMAIL": 1}
    assert treated.changed == ("whitespace", "pii")


def test_masked_tokens_are_as_many_as_before() -> None:
    tokens, tags = ("call", "+1", "415", "555", "2671", "now"), ("O", "B-P", "I-P", "I-P", "I-P", "O")
    treated = treat(NER, {"tokens": tokens, "tags": tags}, pii="mask")
    assert treated.example["tokens"] == ("call", *["<PHONE>"] * 4, "now")
    assert treated.example["tags"] == tags


def test_tokens_are_not_cleaned() -> None:
    tokens = ("cafe\u0301", "a\u200bb")
    assert treat(NER, {"tokens": tokens, "tags": ("O", "O")}).example["tokens"] == tokens


def test_personal_data_beside_offsets_of_no_text_cannot_be_masked() -> None:
    example = {"question": "q", "context": "to a@b.co", "answers": ({"text": "b", "answer_start": 0},)}
    with pytest.raises(Unusable, match="holds personal data to be masked"):
        treat(QA, example, pii="mask")
    assert treat(QA, example, pii="warn").pii == {"EMAIL": 1}


def test_warning_changes_nothing() -> None:
    treated = treat(PLAIN, {"text": "to a@b.co and c@d.org", "label": "a"})
    assert treated.example["text"] == "to a@b.co and c@d.org"
    assert treated.pii == {"EMAIL": 2}


@pytest.mark.parametrize(
    ("text", "rules", "reason"),
    [
        ("ab", {"min_chars": 3}, "shorter than clean.min_chars"),
        ("abcd", {"max_chars": 3}, "longer than clean.max_chars"),
        ("<br>", {"html": True}, "empty once cleaned"),
    ],
)
def test_rows_are_left_out_by_length(text: str, rules: dict[str, Any], reason: str) -> None:
    with pytest.raises(Filtered, match=reason):
        treat(PLAIN, {"text": text, "label": "a"}, clean=rules)


def test_the_longest_text_of_a_row_counts() -> None:
    example = {"question": "q", "context": "long enough", "answers": ()}
    assert treat(QA, example, clean={"min_chars": 5, "max_chars": 20}).example == example
