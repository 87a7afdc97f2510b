"""How a question and a long context become overlapping rows."""

from __future__ import annotations

from copy import deepcopy

import pytest
from grafthub_qa.models import QaRequest
from grafthub_qa.task import QaTask
from grafthub_qa.windows import tokenize_pair
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hub.api import AdapterInfo, InvalidText, TooLarge

TASK = QaTask()
QUESTION = "who won?"
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"  # one emoji of five characters
WORDS = st.sampled_from(
    ["the", "team", "won", "Ça", "cafe\u0301", FAMILY, "é", "日本", "x\u200by", "!?", "\n", "a1b2"]
)
CONTEXTS = st.lists(WORDS, min_size=1, max_size=80).map(" ".join) | st.text(min_size=1, max_size=200)


def adapter(max_length=32, **options):
    return AdapterInfo("reader", 1, (), options, max_length)


def rows(context, tokenizer, question=QUESTION, **options):
    request = QaRequest(question=question, context=context)
    return TASK.encode(request, tokenizer, adapter(**options))


def visible(text):
    try:
        QaRequest(question="q", context=text)
    except InvalidText:
        return False
    return True


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(context=CONTEXTS, limit=st.integers(16, 48), stride=st.integers(0, 40))
def test_windows_are_the_tokenizers_own(word_tokenizer, context, limit, stride):
    """The tokenizer cuts such windows too, but only by setting state that all threads share."""
    assume(visible(context))
    ours = rows(context, word_tokenizer, max_length=limit, doc_stride=stride)
    room = limit - (len(word_tokenizer(QUESTION)["input_ids"]) + 1)
    own = deepcopy(word_tokenizer)(
        QUESTION,
        context,
        truncation="only_second",
        max_length=limit,
        stride=min(stride, room // 2),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert [row.input_ids for row in ours] == own["input_ids"]
    assert [row.token_type_ids for row in ours] == own["token_type_ids"]
    for index, row in enumerate(ours):
        start, stop = row.meta["window"]
        inside = [at for at, text in enumerate(own.sequence_ids(index)) if text == 1]
        offsets = [own["offset_mapping"][index][at] for at in inside]
        starts, ends = row.meta["starts"][start:stop], row.meta["ends"][start:stop]
        assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == offsets
        if inside:
            assert inside[0] == row.meta["position"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(context=CONTEXTS)
def test_offsets_lie_in_the_context_and_cover_what_is_seen(word_tokenizer, context):
    pair = tokenize_pair("q", context, word_tokenizer)
    assert all(0 <= start <= end <= len(context) for start, end in zip(pair.starts, pair.ends, strict=True))
    ascii_words = [index for index, char in enumerate(context) if char.isascii() and char.isalnum()]
    held = {at for start, end in zip(pair.starts, pair.ends, strict=True) for at in range(start, end)}
    assert set(ascii_words) <= held


def test_a_short_context_is_one_row(word_tokenizer):
    (row,) = rows("the team won", word_tokenizer)
    assert word_tokenizer.decode(row.input_ids) == "[CLS] who won? [SEP] the team won [SEP]"
    assert row.token_type_ids == [0] * 5 + [1] * 4


def test_the_overlap_is_at_most_half_a_window(word_tokenizer):
    wide = rows("river " * 100, word_tokenizer, doc_stride=1000)
    half = rows("river " * 100, word_tokenizer, doc_stride=(32 - 6) // 2)
    assert [row.meta["window"] for row in wide] == [row.meta["window"] for row in half]


def test_a_question_that_leaves_no_room_is_refused(word_tokenizer):
    with pytest.raises(TooLarge, match="Ask a shorter question"):
        rows("the team won the game in the rain by the river", word_tokenizer, question="who won " * 20)


def test_thousands_of_windows_are_refused_before_they_are_made(word_tokenizer):
    with pytest.raises(TooLarge, match="more than 256 windows"):
        rows("sun " * 50_000, word_tokenizer)


def test_the_recipe_may_allow_fewer_windows(word_tokenizer):
    with pytest.raises(TooLarge, match="more than 2 windows"):
        rows("sun " * 100, word_tokenizer, max_windows=2)


def test_a_context_without_tokens_is_one_row(word_tokenizer):
    tokenizer = deepcopy(word_tokenizer)
    invisible_to_it = "\ufffd"  # the normalizer drops the replacement character
    assert tokenizer(invisible_to_it, add_special_tokens=False)["input_ids"] == []
    (row,) = rows(invisible_to_it, tokenizer)
    assert row.meta["window"] == (0, 0)


@pytest.mark.parametrize("name", ["question", "context"])
@pytest.mark.parametrize("text", ["", "  ", "\u200b\n"])
def test_text_with_nothing_to_see_is_refused_by_name(name, text):
    with pytest.raises(InvalidText, match=f"`{name}` is empty"):
        QaRequest(**{"question": "q", "context": "c", name: text})
