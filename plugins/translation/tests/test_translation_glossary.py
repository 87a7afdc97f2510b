"""Terms of a glossary stand in the answer exactly as given, whatever the model writes."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from grafthub_translation.glossary import fill, has_terms
from grafthub_translation.models import AppliedTerm, TranslationOptions, TranslationRequest
from grafthub_translation.task import TranslationTask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.api import AdapterInfo, InvalidText, Output, TooLarge

TASK = TranslationTask()
OPTIONS = {"source_language": "en", "target_language": "fr", "template": "{text}"}


def answered(text, glossary, tokenizer, translate, options=MappingProxyType({})):
    """Answer a text with what a function makes of the text and the number of each row."""
    info = AdapterInfo("mover", 1, (), OPTIONS | dict(options), 400)
    request = TranslationRequest(text=text, glossary=glossary)
    rows = TASK.encode(request, tokenizer, info)
    outputs = [Output(row, text=translate(row.meta["piece"].text, at)) for at, row in enumerate(rows)]
    return TASK.decode(request, outputs, info), [row.meta["piece"].text for row in rows]


def echo(text, at):
    return text


# Matching


@pytest.mark.parametrize(
    ("text", "glossary", "filled"),
    [
        ("Open GraftHub now", {"GraftHub": "Graft Hub"}, "Open Graft Hub now"),
        ("GraftHubs, GraftHub's pre-GraftHub", {"GraftHub": "X1"}, "GraftHubs, X1's pre-X1"),
        ("grafthub", {"GraftHub": "X1"}, "grafthub"),
        ("New York is in York", {"York": "Y", "New York": "NY"}, "NY is in Y"),
        ("New Yorker", {"New York": "NY", "New": "Neu"}, "Neu Yorker"),
        ("C++ and C", {"C": "Ci", "C++": "Cpp"}, "Cpp and Ci"),
        ("a cafe\u0301 b", {"cafe": "X"}, "a cafe\u0301 b"),
        ("我用苹果手机", {"苹果": "Apple"}, "我用Apple手机"),
        ("GraftHub은", {"GraftHub": "G1"}, "G1은"),
    ],
)
def test_terms_are_whole_words_and_the_longest_wins(text, glossary, filled):
    found, terms = fill(text, glossary)
    assert found == filled
    assert all(found[slice(*term.span)] == term.translation for term in terms)


def test_a_translation_has_its_terms_exactly_as_often_as_the_text():
    assert has_terms("Graft Hub est un Hub.", ["Hub", "Graft Hub"])
    assert not has_terms("Graft Hub est un Graft Hub.", ["Hub", "Graft Hub"])
    assert not has_terms("Graft hub", ["Graft Hub"])
    assert not has_terms("Graft Hub, Graft Hub", ["Graft Hub"])


# Answers


def test_the_model_keeps_a_term_or_the_text_around_it_is_translated_alone(byte_tokenizer):
    glossary = {"dog": "chien"}
    kept, rows = answered(
        "The dog sleeps. It snores.", glossary, byte_tokenizer, lambda text, at: f"« {text} »"
    )
    assert rows == ["The chien sleeps.", "The", "sleeps.", "It snores."]
    assert kept.translation == "« The chien sleeps. » « It snores. »"
    assert kept.glossary == (AppliedTerm(term="dog", translation="chien", method="model"),)
    for whole in ("Le Chien dort.", "Le chien, le chien dort.", "", "Le <x0/> dort.", "chiens"):
        lost, _ = answered(
            "The dog  sleeps.",
            glossary,
            byte_tokenizer,
            lambda text, at, w=whole: w if at == 0 else text.upper(),
        )
        assert lost.translation == "THE chien  SLEEPS."
        assert lost.glossary == (AppliedTerm(term="dog", translation="chien", method="parts"),)


def test_a_sentence_of_terms_alone_needs_no_row(byte_tokenizer):
    answer, rows = answered(
        "GraftHub!\nIt runs.", ["GraftHub"], byte_tokenizer, lambda text, at: text.upper()
    )
    assert (answer.translation, rows) == ("GraftHub!\nIT RUNS.", ["It runs."])
    assert [applied.method for applied in answer.glossary] == ["parts"]
    answer, rows = answered(" GraftHub!\n", ["GraftHub"], byte_tokenizer, lambda text, at: "lost")
    assert (answer.translation, len(rows)) == (" GraftHub!\n", 1)
    many = "GraftHub, " * 100
    answer, rows = answered(many, ["GraftHub"], byte_tokenizer, lambda text, at: "lost")
    assert (answer.translation, len(rows)) == (many, 1)


def test_a_term_is_not_divided_between_sentences(byte_tokenizer):
    answer, rows = answered("Ask Yahoo! Inc. Now go.", ["Yahoo! Inc."], byte_tokenizer, echo)
    assert rows == ["Ask Yahoo! Inc.", "Ask", "Now go."]
    assert answer.translation == "Ask Yahoo! Inc. Now go."
    long = "word " * 60 + "red, green, blue " + "word " * 40
    answer, rows = answered(long, ["red, green, blue"], byte_tokenizer, lambda text, at: "lost")
    assert "red, green, blue" in answer.translation


def test_the_request_adds_to_the_glossary_of_the_adapter(byte_tokenizer):
    own = {"glossary": {"dog": "toutou", "cat": "chat"}}
    answer, _ = answered("a cat, a dog", {"dog": "chien"}, byte_tokenizer, echo, own)
    assert answer.translation == "a chat, a chien"


TERMS = st.dictionaries(
    st.sampled_from(["dog", "New York", "York", "C++", "e.g.", "犬", "Dr. No", "x", "a b"]),
    st.sampled_from(["chien", "New York", "York", "犬", "1", "<x0/>", "a. B", "é", "{text}", "C++"]),
    max_size=4,
)
WORDS = [
    "dog",
    "New",
    "York",
    "C++",
    "e.g.",
    "犬",
    "Dr.",
    "No",
    "x",
    "a",
    "b",
    ".",
    ",",
    "\n",
    "- ",
    "!",
    "Dogs",
]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
SAID = st.lists(
    st.sampled_from(
        ["chien", "Chien", "York", "New York", "犬", "<x0/>", "< x0 />", "1", "11", " ", "\n", "mot", ""]
    ),
    max_size=6,
).map(" ".join)


@given(text=TEXTS.filter(str.strip), glossary=TERMS, said=st.lists(SAID, min_size=1, max_size=8))
def test_every_term_is_in_the_answer_whatever_the_model_writes(byte_tokenizer, text, glossary, said):
    try:
        answer, _ = answered(text, glossary, byte_tokenizer, lambda row, at: said[at % len(said)])
    except TooLarge:
        return
    _, terms = fill(text, glossary)
    assert {(one.term, one.translation) for one in answer.glossary} == {
        (one.term, one.translation) for one in terms
    }
    assert all(one.translation in answer.translation for one in answer.glossary)
    for translation in {one.translation for one in terms}:
        wanted = sum(one.translation == translation for one in terms)
        assert answer.translation.count(translation) >= wanted


@given(text=TEXTS.filter(str.strip), glossary=TERMS)
def test_with_the_text_itself_as_its_translation_only_the_terms_change(byte_tokenizer, text, glossary):
    answer, _ = answered(text, glossary, byte_tokenizer, echo)
    assert answer.translation == fill(text, glossary)[0]


# Training


def test_a_term_is_trained_on_where_the_target_has_it(byte_tokenizer):
    info = AdapterInfo("mover", 1, (), OPTIONS | {"glossary": {"dog": "toutou"}}, 256)
    for target, source in (("Un toutou.", "A toutou."), ("Un chien.", "A dog.")):
        (features,) = TASK.features({"source": "A dog.", "target": target}, byte_tokenizer, info)
        assert f"user\n{source}<|im_end|>" in byte_tokenizer.decode(features["input_ids"])


# Bad input


@pytest.mark.parametrize(
    ("glossary", "reason"),
    [
        ([""], "term 1 has no letter and no digit"),
        ({"ok": "bon", "dog": " "}, "term 2 has no letter and no digit"),
        (["→"], "no letter and no digit"),
        (["a\nb"], "a line break or another control character"),
        ({"a": "b\u2028c"}, "a line break or another control character"),
        ({"a": "\ud800b"}, "glossary"),
        (["x" * 201], "more than 200 characters"),
        ([f"t{number}" for number in range(10_000)], "it has 10,000 terms, and the limit is 1,000"),
        ({"a": 3}, "glossary"),
        ([3], "glossary"),
        ("dog", "glossary"),
    ],
)
def test_a_bad_glossary_is_refused(glossary, reason):
    for model in (lambda glossary: TranslationRequest(text="x", glossary=glossary), TranslationOptions):
        with pytest.raises(ValidationError, match=reason):
            model(glossary=glossary)


def test_white_space_around_terms_is_ignored():
    assert TranslationRequest(text="x", glossary={" a ": "b\t"}).glossary == {"a": "b"}


def test_a_translation_that_is_a_control_token_is_refused(byte_tokenizer):
    with pytest.raises(InvalidText, match="a control token"):
        answered("A dog.", {"dog": "<|im_end|> chien"}, byte_tokenizer, echo)


def test_too_many_sentences_and_parts_are_refused(byte_tokenizer):
    info = AdapterInfo("mover", 1, (), OPTIONS, 256)
    for text, glossary in (("It rains. " * 5000, []), ("It rains cats now. " * 2000, ["cats"])):
        with pytest.raises(TooLarge, match=r"has [56],000 sentences .* limit is 4,096"):
            TASK.encode(TranslationRequest(text=text, glossary=glossary), byte_tokenizer, info)


def test_many_terms_in_a_long_text_take_no_time_that_grows_with_their_product(byte_tokenizer):
    glossary = {"a" * length: "b" for length in range(1, 200)}
    assert fill("a" * 200_000, glossary) == ("a" * 200_000, [])
    assert len(fill("a " * 20_000, glossary)[1]) == 20_000
