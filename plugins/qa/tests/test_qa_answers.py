"""How scores become answers: the best spans over all windows, their place, and no answer."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from grafthub_qa.models import QaRequest
from grafthub_qa.spans import SpanScores, whole_characters
from grafthub_qa.task import QaTask
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.api import AdapterInfo, Output, Row

TASK = QaTask()
CONTEXT = "the team won the game in the rain by the river in the city of the sun"
SEEDS = st.integers(0, 2**32 - 1)


def adapter(max_length=32, **options):
    return AdapterInfo("reader", 1, (), options, max_length)


def encode(tokenizer, context=CONTEXT, top_k=1, **options):
    request = QaRequest(question="who won?", context=context, top_k=top_k)
    return request, TASK.encode(request, tokenizer, adapter(**options))


def quiet(row: Row, null: float = -10.0) -> np.ndarray:
    values = np.full((len(row.input_ids), 2), -10.0, np.float32)
    values[0] = null
    return values


def place(rows, context, text):
    """Return the row and positions of the first and last token of `text` in each window that has it."""
    start = context.index(text)
    end = start + len(text)
    for index, row in enumerate(rows):
        begin, stop = row.meta["window"]
        first = [at for at in range(begin, stop) if row.meta["starts"][at] == start]
        last = [at for at in range(begin, stop) if row.meta["ends"][at] == end]
        if first and last:
            shift = row.meta["position"] - begin
            yield index, first[0] + shift, last[0] + shift


def answer_of(tokenizer, told, context=CONTEXT, top_k=1, null=-10.0, **options):
    """Answer as a model would that gives each text in `told` its score, in every window that has it."""
    request, rows = encode(tokenizer, context, top_k, **options)
    values = [quiet(row, null) for row in rows]
    for text, score in told.items():
        for index, first, last in place(rows, context, text):
            values[index][first, 0] = values[index][last, 1] = score
    outputs = [Output(row, value) for row, value in zip(rows, values, strict=True)]
    return TASK.decode(request, outputs, adapter(**options)), len(rows)


def random_outputs(rows, seed):
    random = np.random.default_rng(seed)
    return [Output(row, random.normal(0, 3, (len(row.input_ids), 2)).astype(np.float32)) for row in rows]


# The best span


def test_the_answer_is_the_piece_of_context_that_the_offsets_name(word_tokenizer):
    said, windows = answer_of(word_tokenizer, {"the river": 5.0})
    assert windows == 1
    assert said.answer == "the river" == CONTEXT[said.start : said.end]
    assert not said.no_answer
    assert said.score > 0.99


def test_an_answer_late_in_a_long_context_is_found_in_its_window(word_tokenizer):
    context = f"{'rain ' * 300}then the sun won"
    said, windows = answer_of(word_tokenizer, {"the sun": 5.0}, context)
    assert windows > 10
    assert (said.answer, said.start) == ("the sun", context.index("the sun"))


def test_an_answer_in_two_windows_is_given_once(word_tokenizer):
    context = "rain " * 16 + "the sun " + "rain " * 16
    _, rows = encode(word_tokenizer, context, doc_stride=12)
    assert len(list(place(rows, context, "the sun"))) == 2
    said, _ = answer_of(word_tokenizer, {"the sun": 5.0}, context, top_k=5, doc_stride=12)
    assert [item.answer for item in said.answers].count("the sun") == 1


def brute_force(rows, outputs, longest):
    """The best span by trying all, in all windows."""
    best = -math.inf
    for row, output in zip(rows, outputs, strict=True):
        begin, stop = row.meta["window"]
        at = row.meta["position"]
        for first in range(stop - begin):
            for last in range(first, min(first + longest, stop - begin)):
                best = max(best, float(output.values[at + first, 0] + output.values[at + last, 1]))
    return best


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, longest=st.integers(1, 40), words=st.integers(1, 120), stride=st.integers(0, 20))
def test_no_span_is_better_than_the_best(word_tokenizer, seed, longest, words, stride):
    request, rows = encode(word_tokenizer, "river " * words, doc_stride=stride)
    outputs = random_outputs(rows, seed)
    spans = SpanScores.of(outputs, longest)
    score, start, end = next(spans.answers(request.context))
    assert score == pytest.approx(brute_force(rows, outputs, longest), abs=1e-5)
    assert len(request.context[start:end].split()) <= longest


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, top_k=st.integers(1, 20), words=st.integers(1, 60))
def test_answers_are_in_order_and_apart_and_are_what_stands_in_the_context(
    word_tokenizer, seed, top_k, words
):
    context = " ".join(
        ["cafe\u0301", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "sun", "é", "日本語", "e\u0301\u0323f"]
        * words
    )
    request, rows = encode(word_tokenizer, context, top_k, max_answer_length=3)
    said = TASK.decode(request, random_outputs(rows, seed), adapter(max_answer_length=3))
    assert all(item.answer == context[item.start : item.end] and item.answer for item in said.answers)
    assert all(one.score >= next_.score for one, next_ in pairwise(said.answers))
    places = sorted((item.start, item.end) for item in said.answers)
    assert all(one[1] <= next_[0] for one, next_ in pairwise(places))
    assert len(said.answers) == min(top_k, len(said.answers)) >= min(top_k, 2 * words)


def test_all_candidates_are_given_where_top_k_asks_for_more(word_tokenizer):
    said, _ = answer_of(word_tokenizer, {}, "sun rain", top_k=20, max_answer_length=1)
    assert sorted(item.answer for item in said.answers) == ["rain", "sun"]


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, no_answer=st.booleans(), words=st.integers(1, 60))
def test_probabilities_of_a_short_context_share_one(word_tokenizer, seed, no_answer, words):
    request, rows = encode(word_tokenizer, "sun " * words, top_k=20, max_answer_length=1)
    said = TASK.decode(request, random_outputs(rows, seed), adapter(max_answer_length=1, no_answer=no_answer))
    total = sum(item.score for item in said.answers) + said.no_answer_score
    assert total == pytest.approx(1.0, abs=1e-6)


def test_probabilities_are_a_softmax_over_candidates_and_no_answer(word_tokenizer):
    request, rows = encode(word_tokenizer, "sun rain", max_answer_length=1)
    values = quiet(rows[0])
    values[0] = 0.0  # no answer: 0
    at = rows[0].meta["position"]
    values[at] = math.log(3) / 2  # sun: log 3
    values[at + 1] = math.log(4) / 2  # rain: log 4
    said = TASK.decode(request, [Output(rows[0], values)], adapter(max_answer_length=1))
    assert (said.answer, said.score) == ("rain", pytest.approx(4 / 8))
    assert said.no_answer_score == pytest.approx(1 / 8)


# No answer


def test_no_answer_where_its_score_is_over_the_best_answers(word_tokenizer):
    said, _ = answer_of(word_tokenizer, {"the river": 3.0}, null=4.0)
    assert said.no_answer
    assert (said.answer, said.start, said.end) == ("", 0, 0)
    assert said.score == said.no_answer_score > 0.8
    assert said.answers[0].answer == "the river"


@pytest.mark.parametrize(("threshold", "none"), [(1.9, True), (2.1, False)])
def test_the_threshold_is_how_far_no_answer_must_lead(word_tokenizer, threshold, none):
    said, _ = answer_of(word_tokenizer, {"the river": 3.0}, null=4.0, null_threshold=threshold)
    assert said.no_answer is none


def test_every_window_must_say_no_answer(word_tokenizer):
    context = f"{'rain ' * 100}then the sun won"
    request, rows = encode(word_tokenizer, context)
    values = [quiet(row, null=8.0) for row in rows]
    for index, first, last in place(rows, context, "the sun"):
        values[index] = quiet(rows[index], null=-8.0)
        values[index][first, 0] = values[index][last, 1] = 2.0
    outputs = [Output(row, value) for row, value in zip(rows, values, strict=True)]
    assert TASK.decode(request, outputs, adapter()).answer == "the sun"


def test_an_adapter_may_always_answer(word_tokenizer):
    said, _ = answer_of(word_tokenizer, {"the river": 3.0}, null=9.0, no_answer=False)
    assert (said.answer, said.no_answer, said.no_answer_score) == ("the river", False, 0.0)


@pytest.mark.parametrize("no_answer", [True, False])
def test_a_context_without_tokens_has_no_answer(word_tokenizer, no_answer):
    request, rows = encode(word_tokenizer, "\ufffd")
    said = TASK.decode(request, [Output(rows[0], quiet(rows[0]))], adapter(no_answer=no_answer))
    assert (said.no_answer, said.answer, said.answers) == (True, "", [])


# Whole characters


@pytest.mark.parametrize(
    ("text", "piece", "whole"),
    [
        ("un cafe\u0301 noir", "cafe", "cafe\u0301"),
        ("a \u2764\ufe0f b", "\u2764", "\u2764\ufe0f"),
        ("a 👩\u200d👩\u200d👧 b", "👩", "👩\u200d👩\u200d👧"),
        ("a 👩\u200d👩\u200d👧 b", "👧", "👩\u200d👩\u200d👧"),
        ("a 👍🏽 b", "👍", "👍🏽"),
        ("the sun sets", " sun ", "sun"),
        ("the sun sets", "sun", "sun"),
        ("the   sun", "   ", ""),
    ],
)
def test_a_piece_is_widened_to_whole_characters(text, piece, whole):
    start = text.rindex(piece) if piece == "👧" else text.index(piece)
    begin, end = whole_characters(text, start, start + len(piece))
    assert text[begin:end] == whole


@given(st.text(), st.data())
def test_widening_keeps_all_but_white_space(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    begin, stop = whole_characters(text, start, end)
    assert 0 <= begin <= stop <= len(text)
    assert text[start:end].strip() in text[begin:stop]
    assert (
        whole_characters(text, begin, stop) == (begin, stop) or text[begin:stop] != text[begin:stop].strip()
    )


def test_an_answer_keeps_the_accent_that_the_tokenizer_drops(word_tokenizer):
    context = "in the cafe\u0301 by the river"
    request, rows = encode(word_tokenizer, context)
    starts, ends = rows[0].meta["starts"], rows[0].meta["ends"]
    at = rows[0].meta["position"]
    tokens = [index for index, start in enumerate(starts) if 7 <= start < 11]
    assert int(ends[tokens[-1]]) == 11  # the token ends before the accent
    values = quiet(rows[0])
    values[at + tokens[0], 0] = values[at + tokens[-1], 1] = 5.0
    assert TASK.decode(request, [Output(rows[0], values)], adapter()).answer == "cafe\u0301"
