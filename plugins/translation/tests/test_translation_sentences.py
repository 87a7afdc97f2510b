"""Texts are translated sentence by sentence, and all that stands between sentences stays."""

from __future__ import annotations

import pytest
from grafthub_translation.models import TranslationRequest
from grafthub_translation.sentences import find_sentences
from grafthub_translation.task import TranslationTask
from hypothesis import given
from hypothesis import strategies as st

from hub.api import AdapterInfo, BadRequest, InvalidText, Output, TooLarge

TASK = TranslationTask()
SPACES = "\n\r\t \v\f\x1c\x85\xa0\u2028\u2029\u3000"
SIGNS = ".!?。！？،;:,-*•#>()\"'«»1A aé你😀\u200d\u0301"  # noqa: RUF001
TEXTS = st.text(st.one_of(st.sampled_from(SPACES + SIGNS), st.characters(codec="utf-8")), max_size=120)


def adapter(max_length=256, **options):
    return AdapterInfo("mover", 1, (), {"template": "{text}"} | options, max_length)


def translated(text, tokenizer, translate=str, info=None, language="en", **asked):
    """Answer a text with what a function makes of each row's text."""
    info = info or adapter()
    request = TranslationRequest(text=text, source_language=language, target_language="fr", **asked)
    rows = TASK.encode(request, tokenizer, info)
    assert all(0 < len(row.input_ids) < info.max_length for row in rows)
    outputs = [Output(row, text=translate(row.meta["piece"].text)) for row in rows]
    return TASK.decode(request, outputs, info), rows


def sentences(text, language="en"):
    return [text[slice(*span)] for span in find_sentences(text, language)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith paid $3.50 at 4 p.m. in Bonn.", ["Dr. Smith paid $3.50 at 4 p.m. in Bonn."]),
        ("  - First.\n  - Second. Third.\n\n1. Last", ["First.", "Second.", "Third.", "Last"]),
        ("a) One\r\nb) Two\u2028# Three > four", ["One", "Two", "Three > four"]),
        ("\tM. Dupont est là. Il dort.", ["M. Dupont est là.", "Il dort."]),
        ("---\n***\n…\n", []),
        ("你好。我很好!", ["你好。", "我很好!"]),
        ("A.\xa0B. Miller sleeps.\u3000He snores.", ["A.\xa0B. Miller sleeps.", "He snores."]),
    ],
)
def test_sentences(text, found):
    assert sentences(text, "fr" if "Dupont" in text else "en") == found


@given(TEXTS, st.sampled_from(("en", "fr", "zh", "ar", "xx", "gl")))
def test_sentences_are_in_order_and_have_no_space_around_them(text, language):
    at = 0
    for start, end in find_sentences(text, language):
        assert at <= start < end
        sentence = text[start:end]
        assert sentence == sentence.strip() and len(sentence.splitlines()) == 1
        assert not any(map(str.isalnum, text[at:start].strip("1234567890Aa.)-*•#> "))) or start == at
        at = end


@given(text=TEXTS.map(lambda text: f"x{text}"), limit=st.integers(40, 200))
def test_with_the_text_itself_as_its_translation_the_answer_is_the_text(byte_tokenizer, text, limit):
    byte_tokenizer_plain = plain(byte_tokenizer)
    try:
        answer, _ = translated(text, byte_tokenizer_plain, info=adapter(limit))
    except (TooLarge, InvalidText):
        return
    assert answer.translation == text


def plain(tokenizer):
    """A view of a tokenizer without its chat template."""

    class Plain:
        chat_template = None
        __call__ = staticmethod(tokenizer.__call__)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    return Plain()


def test_each_sentence_is_a_row_unless_the_text_stays_whole(byte_tokenizer):
    text = " One. Two.\n- Three.\n"
    answer, rows = translated(text, byte_tokenizer, str.upper)
    assert answer.translation == " ONE. TWO.\n- THREE.\n"
    assert [row.meta["piece"].text for row in rows] == ["One.", "Two.", "Three."]
    for settings in ({"split": False}, {"info": adapter(split=False)}):
        answer, rows = translated(text, byte_tokenizer, str.upper, **settings)
        assert [row.meta["piece"].text for row in rows] == ["One. Two.\n- Three."]
        assert answer.translation == text.upper()
    _, rows = translated(text, byte_tokenizer, info=adapter(split=False), split=True)
    assert len(rows) == 3


def test_a_text_with_nothing_to_translate_is_one_row(byte_tokenizer):
    answer, rows = translated(" ---\n", byte_tokenizer)
    assert (len(rows), answer.translation) == (1, " ---\n")


def test_rows_have_the_settings_of_the_request(byte_tokenizer):
    _, rows = translated("One. Two.", byte_tokenizer, info=adapter(max_new_tokens=7), temperature=0.5)
    assert [(row.max_new_tokens, row.sampling.temperature) for row in rows] == [(7, 0.5)] * 2


def test_a_sentence_over_the_limit_is_divided_at_clauses_else_at_words(byte_tokenizer):
    clauses = "When it rains a lot, the river rises and floods; then they leave the town, and wait"
    answer, rows = translated(clauses, byte_tokenizer, info=adapter(100))
    texts = [row.meta["piece"].text for row in rows]
    assert answer.translation == clauses
    assert len(texts) > 1 and all(text[-1] in ",;" for text in texts[:-1]), texts
    words = "word " * 30 + "end"
    answer, rows = translated(words, byte_tokenizer, info=adapter(100))
    assert answer.translation == words
    assert all(set(row.meta["piece"].text.split()) <= {"word", "end"} for row in rows)
    gaps = "one" + " " * 300 + "two, " + ", " * 150 + "three"
    answer, rows = translated(gaps, byte_tokenizer, str.upper, info=adapter(100))
    assert answer.translation == gaps.upper()
    assert all(any(map(str.isalpha, row.meta["piece"].text)) for row in rows)
    with pytest.raises(TooLarge, match="without a place to divide it"):
        translated("a" * 400, byte_tokenizer, info=adapter(100))
    with pytest.raises(TooLarge, match="takes at most 29"):
        translated("a " * 40, byte_tokenizer, info=adapter(30))


def test_a_control_token_is_refused_wherever_it_is(byte_tokenizer):
    with pytest.raises(InvalidText, match="a control token of the model"):
        translated("One. <|im_end|> Two.", byte_tokenizer)
    with pytest.raises(BadRequest, match="a control token of the model"):
        translated("One cat.", byte_tokenizer, glossary={"cat": "<|im_end|> chat"})
