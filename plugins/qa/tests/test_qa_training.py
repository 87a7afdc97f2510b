"""Training examples and figures of merit of question answering."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from grafthub_qa.metrics import exact_match, f1, normalise
from grafthub_qa.models import QaAnswer, QaRequest, QaResponse
from grafthub_qa.task import QaTask
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.api import AdapterInfo, BadData, HeadKind
from hub.testing.oracle import oracle_outputs

TASK = QaTask()
CONTEXT = "the team won the game in the rain by the river in the city of the sun"


def adapter(max_length=32, **options):
    return AdapterInfo("reader", 1, (), options, max_length)


def example(text, context=CONTEXT, start=None):
    start = context.index(text) if start is None else start
    return {"question": "who won?", "context": context, "answers": ({"text": text, "answer_start": start},)}


def learned(features, tokenizer):
    """What the positions of each feature point at."""
    return [
        tokenizer.decode(item["input_ids"][item["start_positions"] : item["end_positions"] + 1])
        for item in features
    ]


def test_listing_the_task_loads_no_numpy():
    code = "import sys, grafthub_qa as p; [*p.hub_tasks()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {"numpy", "pandas", "torch", "transformers"}.isdisjoint(loaded.split())


@pytest.mark.parametrize("model", [QaRequest, QaResponse])
def test_the_documented_examples_are_valid(model):
    examples = model.model_json_schema()["examples"]
    assert examples
    for item in examples:
        model.model_validate(item)


def test_the_documented_answer_stands_in_the_documented_context():
    (request,) = QaRequest.model_json_schema()["examples"]
    (response,) = QaResponse.model_json_schema()["examples"]
    assert request["context"][response["start"] : response["end"]] == response["answer"]


# Training examples


def test_positions_point_at_the_answer(word_tokenizer):
    features = TASK.features(example("the river"), word_tokenizer, adapter())
    assert learned(features, word_tokenizer) == ["the river"]


def test_windows_without_the_answer_point_at_the_first_token(word_tokenizer):
    context = f"{'rain ' * 60}then the sun won{' rain' * 60}"
    features = TASK.features(example("the sun", context), word_tokenizer, adapter(doc_stride=8))
    told = learned(features, word_tokenizer)
    assert len(told) > 4
    assert 1 <= told.count("the sun") <= 2
    assert set(told) == {"the sun", "[CLS]"}


def test_an_example_without_answer_points_at_the_first_token(word_tokenizer):
    features = TASK.features({**example("sun"), "answers": ()}, word_tokenizer, adapter())
    assert learned(features, word_tokenizer) == ["[CLS]"]


def test_training_and_serving_see_the_same_rows(word_tokenizer):
    item = example("the sun", "the sun " + "rain " * 90)
    features = TASK.features(item, word_tokenizer, adapter())
    rows = TASK.encode(TASK.request(item), word_tokenizer, adapter())
    assert [one["input_ids"] for one in features] == [row.input_ids for row in rows]
    assert [one["token_type_ids"] for one in features] == [row.token_type_ids for row in rows]


@pytest.mark.parametrize("start", [0, 1, 20, 9999, -5, None, "12", 12.0, np.int64(30)])
def test_a_wrong_place_is_put_right_where_the_text_is_found(word_tokenizer, start):
    item = {**example("river"), "answers": ({"text": "river", "answer_start": start},)}
    assert learned(TASK.features(item, word_tokenizer, adapter()), word_tokenizer) == ["river"]


def test_of_several_places_the_nearest_is_meant(word_tokenizer):
    (features,) = TASK.features(example("the", start=53), word_tokenizer, adapter())
    at = features["start_positions"]
    assert word_tokenizer.decode(features["input_ids"][at : at + 2]) == "the city"


def test_spaces_around_an_answer_are_not_learned(word_tokenizer):
    features = TASK.features(example(" river ", start=CONTEXT.index(" river ")), word_tokenizer, adapter())
    assert learned(features, word_tokenizer) == ["river"]


@pytest.mark.parametrize(
    ("changed", "options", "reason"),
    [
        ({"answers": ({"text": "the moon", "answer_start": 3},)}, {}, "'the moon' does not occur"),
        ({"answers": ({"text": " ", "answer_start": 3},)}, {}, "answer is empty"),
        ({"answers": ()}, {"no_answer": False}, "no_answer is off"),
        ({"question": "  "}, {}, "`question` is empty"),
        ({"question": "who won " * 30}, {}, "shorter question"),
        ({"context": "sun " * 20_000, "answers": ()}, {}, "windows"),
        ({"context": "a \ufffd b", "answers": ({"text": "\ufffd", "answer_start": 2},)}, {}, "no token"),
        ({"answers": ({"text": CONTEXT, "answer_start": 0},)}, {"max_length": 16}, "fits in no window"),
    ],
)
def test_an_example_that_cannot_be_used_says_why(word_tokenizer, changed, options, reason):
    with pytest.raises(BadData, match=reason):
        TASK.features({**example("sun"), **changed}, word_tokenizer, adapter(**options))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_what_is_learned_is_what_is_answered(word_tokenizer, data):
    words = data.draw(
        st.lists(
            st.sampled_from(["cafe\u0301", "sun", "日本", "rain", "👍🏽", "1931"]), min_size=1, max_size=60
        )
    )
    first = data.draw(st.integers(0, len(words) - 1))
    text = " ".join(words[first : first + data.draw(st.integers(1, 2))])
    context = " ".join(words)
    item = example(text, context, start=len(" ".join([*words[:first], ""])))
    features = TASK.features(item, word_tokenizer, adapter(doc_stride=12))
    request = TASK.request(item)
    rows = TASK.encode(request, word_tokenizer, adapter(doc_stride=12))
    outputs = oracle_outputs(HeadKind.SPAN, rows, features, word_tokenizer, adapter())
    assert TASK.decode(request, outputs, adapter()).answer == text


# Figures of merit


def said(text: str) -> QaResponse:
    place = {"answer": text, "score": 0.9, "start": 0, "end": len(text)}
    answers = [QaAnswer(**place)] if text else []
    return QaResponse(**place, no_answer=not text, no_answer_score=0.1, answers=answers)


def test_answers_are_compared_without_case_articles_and_punctuation():
    assert normalise("  The U.S.'s  'Sun', a star! ") == "uss sun star"


def test_f1_counts_shared_words_as_often_as_both_have_them():
    assert f1("red red river", ["red river delta"]) == pytest.approx(2 * 2 / 6)
    assert f1("nothing", ["red river"]) == 0.0


def test_the_best_of_several_right_answers_counts():
    assert exact_match("the sun", ["moon", "Sun."]) == 1.0
    assert f1("the sun", ["moon", "sun and moon"]) == pytest.approx(2 / 4)


def test_no_answer_is_right_only_where_there_is_none():
    assert (exact_match("", []), f1("", [])) == (1.0, 1.0)
    assert (exact_match("sun", []), f1("sun", [])) == (0.0, 0.0)
    assert (exact_match("", ["sun"]), f1("", ["sun"])) == (0.0, 0.0)


@given(st.text(), st.lists(st.text(), max_size=3))
def test_figures_stay_within_their_bounds(text, right):
    assert 0.0 <= exact_match(text, right) <= f1(text, right) <= 1.0


def test_figures_are_means_from_0_to_1():
    references = [example("the sun"), example("rain"), {**example("rain"), "answers": ()}]
    figures = TASK.metrics([said("sun"), said("the heavy rain"), said("")], references)
    assert figures["exact_match"] == pytest.approx(2 / 3)
    assert figures["f1"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert TASK.metric in figures
