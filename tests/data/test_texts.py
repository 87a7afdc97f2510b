"""Labels stand where they stood, whatever is taken out of the text around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Field, FieldKind
from hub.data.fields import Filtered, Unusable
from hub.data.texts import Preprocessed, Preprocessor
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
CHAT = (Field("messages", FieldKind.MESSAGES, "", required=False),)
PLAIN = (Field("text", FieldKind.TEXT, ""), Field("label", FieldKind.LABEL, ""))


def process(fields: tuple[Field, ...], example: dict[str, Any], **data: Any) -> Preprocessed:
    recipe = Recipe(task="t", data=Data.model_validate({"source": "a", **data}))
    return Preprocessor(recipe, fields).process({field.name: example.get(field.name) for field in fields})


def test_a_clean_text_is_the_same_object() -> None:
    processed = process(PLAIN, {"text": "fine", "label": "a"})
    assert processed.example is processed.sent
    assert (processed.changed, processed.pii) == ((), {})


def test_what_is_sent_is_not_cleaned() -> None:
    processed = process(PLAIN, {"text": " two  words ", "label": "a"})
    assert processed.example["text"] == "two words"
    assert processed.sent["text"] == " two  words "
    assert processed.changed == ("whitespace",)


def test_answers_move_with_their_context() -> None:
    context = "  The <b>Rhine</b>  flows.  "
    answer = {"text": "Rhine", "answer_start": context.index("Rhine")}
    processed = process(
        QA, {"question": "which  river?", "context": context, "answers": (answer,)}, clean={"html": True}
    )
    assert processed.example == {
        "question": "which river?",
        "context": "The Rhine flows.",
        "answers": ({"text": "Rhine", "answer_start": 4},),
    }
    assert processed.sent["context"] == context


def test_an_answer_is_what_stands_at_its_place_afterwards() -> None:
    context = "It is a  long   answer."
    answer = {"text": "a  long   answer", "answer_start": 6}
    processed = process(QA, {"question": "q", "context": context, "answers": (answer,)})
    assert processed.example["answers"] == ({"text": "a long answer", "answer_start": 6},)


def test_a_row_whose_answers_are_of_no_text_is_left_alone() -> None:
    example = {"question": "q", "context": "a  b", "answers": ({"text": "b", "answer_start": 0},)}
    processed = process(QA, example)
    assert processed.example == example
    assert processed.changed == ()


def test_a_text_is_left_alone_where_a_label_would_be_of_nothing() -> None:
    text = "see https://a.bc now"
    entity = {"start": 4, "end": 16, "label": "URL"}
    processed = process(NER, {"text": text, "entities": (entity,)}, clean={"urls": "drop"})
    assert processed.example["text"] == text
    masked = process(NER, {"text": text, "entities": (entity,)}, clean={"urls": "mask"}).example
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
    processed = process(NER, {"text": text, "entities": tuple(entities)}, clean={"html": True})
    now = processed.example
    assert "  " not in now["text"]
    assert [now["text"][one["start"] : one["end"]] for one in now["entities"]] == covered


def test_masks_move_entities_too_and_a_sent_row_is_masked_as_well() -> None:
    text = " mail a@b.co or  call Ada"
    entities = (
        {"start": 6, "end": 12, "label": "ADDRESS"},
        {"start": 22, "end": 25, "label": "NAME"},
    )
    processed = process(NER, {"text": text, "entities": entities}, pii="mask")
    now = processed.example
    assert now["text"] == "mail <EMAIL> or call Ada"
    assert [now["text"][one["start"] : one["end"]] for one in now["entities"]] == ["<EMAIL>", "Ada"]
    assert processed.sent["text"] == " mail <EMAIL> or  call Ada"
    assert [processed.sent["text"][one["start"] : one["end"]] for one in processed.sent["entities"]] == [
        "<EMAIL>",
        "Ada",
    ]
    assert processed.pii == {"EMAIL": 1}
    assert processed.changed == ("whitespace", "pii")


def test_masked_tokens_are_as_many_as_before() -> None:
    tokens, tags = ("call", "+1", "415", "555", "2671", "now"), ("O", "B-P", "I-P", "I-P", "I-P", "O")
    processed = process(NER, {"tokens": tokens, "tags": tags}, pii="mask")
    assert processed.example["tokens"] == ("call", *["<PHONE>"] * 4, "now")
    assert processed.example["tags"] == tags


def test_tokens_are_not_cleaned() -> None:
    tokens = ("cafe\u0301", "a\u200bb")
    assert process(NER, {"tokens": tokens, "tags": ("O", "O")}).example["tokens"] == tokens


def test_personal_data_beside_offsets_of_no_text_cannot_be_masked() -> None:
    example = {"question": "q", "context": "to a@b.co", "answers": ({"text": "b", "answer_start": 0},)}
    with pytest.raises(Unusable, match="has personal data to mask"):
        process(QA, example, pii="mask")
    assert process(QA, example, pii="warn").pii == {"EMAIL": 1}


def test_warning_changes_nothing() -> None:
    processed = process(PLAIN, {"text": "to a@b.co and c@d.org", "label": "a"})
    assert processed.example["text"] == "to a@b.co and c@d.org"
    assert processed.pii == {"EMAIL": 2}


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
        process(PLAIN, {"text": text, "label": "a"}, clean=rules)


def test_the_longest_text_of_a_row_counts() -> None:
    example = {"question": "q", "context": "long enough", "answers": ()}
    assert process(QA, example, clean={"min_chars": 5, "max_chars": 20}).example == example


def test_messages_of_a_chat_are_cleaned_and_masked() -> None:
    chat = ({"role": "user", "content": "I  am ada@example.org"}, {"role": "assistant", "content": "Hello."})
    cleaned = process(CHAT, {"messages": chat})
    assert cleaned.example["messages"] == ({"role": "user", "content": "I am ada@example.org"}, chat[1])
    assert (cleaned.sent["messages"], cleaned.changed) == (chat, ("whitespace",))
    masked = process(CHAT, {"messages": chat}, pii="mask")
    assert [one["content"] for one in masked.example["messages"]] == ["I am <EMAIL>", "Hello."]
    assert [one["content"] for one in masked.sent["messages"]] == ["I  am <EMAIL>", "Hello."]
    assert masked.pii == {"EMAIL": 1}
    assert process(CHAT, {"messages": chat}, pii="warn").example == cleaned.example


@pytest.mark.parametrize(("clean", "reason"), [({"min_chars": 40}, "shorter"), ({"max_chars": 10}, "longer")])
def test_the_longest_message_counts(clean: dict[str, int], reason: str) -> None:
    chat = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a text of 22 characters"})
    with pytest.raises(Filtered, match=reason):
        process(CHAT, {"messages": chat}, clean=clean)
    assert process(CHAT, {"messages": chat}, clean={"min_chars": 20}).example["messages"] == chat
