"""The sentiment task: polarity, labels, rows, training examples."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from grafthub_sentiment.models import SentimentOptions, SentimentRequest, SentimentResponse
from grafthub_sentiment.polarity import known_polarities, polarities
from grafthub_sentiment.task import SentimentTask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.api import AdapterInfo, BadData, BadRecipe, InvalidText, Output, Row, TooLarge

TASK = SentimentTask()
TWO = ("negative", "positive")
LABEL = st.text(min_size=1, max_size=8) | st.sampled_from([*TWO, "neutral", "1", "5", "4 stars", "-2"])


def adapter(labels=TWO, max_length=32, **options):
    return AdapterInfo("mood", 1, labels, options, max_length)


def answer(scores, labels=TWO, **options):
    output = Output(Row([0]), np.array(scores, np.float32))
    return TASK.decode(SentimentRequest(text="x"), [output], adapter(labels, **options))


def test_listing_the_task_loads_neither_numpy_nor_scikit_learn():
    code = "import sys, grafthub_sentiment as p; [*p.hub_tasks()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {"numpy", "sklearn", "pandas", "torch", "transformers"}.isdisjoint(loaded.split())


@pytest.mark.parametrize("model", [SentimentRequest, SentimentResponse])
def test_the_documented_examples_are_valid(model):
    examples = model.model_json_schema()["examples"]
    assert examples
    for example in examples:
        model.model_validate(example)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b\ufeff"])
def test_text_with_nothing_to_see_is_refused(text):
    with pytest.raises(InvalidText, match="`text` is empty"):
        SentimentRequest(text=text)


def test_huge_text_is_refused():
    with pytest.raises(TooLarge, match="200,000"):
        SentimentRequest(text="a" * 200_001)


def test_a_long_text_is_cut_or_refused_as_asked(word_tokenizer):
    text, short = "good " * 30, adapter(max_length=10)
    (row,) = TASK.encode(SentimentRequest(text=text), word_tokenizer, short)
    assert len(row.input_ids) == 10
    with pytest.raises(TooLarge, match="32 tokens and the limit is 10"):
        TASK.encode(SentimentRequest(text=text, truncate=False), word_tokenizer, short)


# Polarity


def test_polarity_is_the_mean_of_the_labels_weighed_by_probability():
    said = answer([0.0, math.log(3.0)])
    assert (said.label, said.score) == ("positive", pytest.approx(0.75))
    assert said.polarity == pytest.approx(0.5)
    assert list(said.scores) == ["positive", "negative"]


def test_neutral_pulls_polarity_to_zero():
    said = answer([-20.0, 20.0, 0.0], ("negative", "neutral", "positive"))
    assert (said.label, said.polarity) == ("neutral", pytest.approx(0.0, abs=1e-6))


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=5, max_size=5),
    st.lists(st.floats(-1, 1), min_size=5, max_size=5),
    st.floats(0.01, 100),
)
def test_polarity_stays_within_its_bounds(scores, weights, temperature):
    labels = tuple("abcde")
    said = answer(scores, labels, polarity=dict(zip(labels, weights, strict=True)), temperature=temperature)
    assert -1.0 <= said.polarity <= 1.0
    assert min(weights) - 1e-9 <= said.polarity <= max(weights) + 1e-9
    assert sum(said.scores.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["negative", "neutral", "positive"], [-1.0, 0.0, 1.0]),
        (["NEG", "Pos"], [-1.0, 1.0]),
        (["1", "2", "3", "4", "5"], [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (["1 star", "3 stars", "5 stars"], [-1.0, 0.0, 1.0]),
        (["0", "1"], [-1.0, 1.0]),
        (["-1", "0", "1"], [-1.0, 0.0, 1.0]),
        (
            ["very_negative", "negative", "neutral", "positive", "Very Positive"],
            [-1.0, -0.5, 0.0, 0.5, 1.0],
        ),
    ],
)
def test_well_known_names_tell_their_polarity(labels, expected):
    assert polarities(labels, {}) == expected


def test_the_recipe_goes_before_the_name_and_fills_what_the_names_leave():
    assert polarities(["negative", "ironic"], {"ironic": -0.25}) == [-1.0, -0.25]
    assert polarities(["negative", "positive"], {"negative": -0.5}) == [-0.5, 1.0]


@pytest.mark.parametrize("labels", [["good", "bad"], ["1", "positive"], ["3"]])
def test_a_label_of_unknown_polarity_names_the_option(labels):
    with pytest.raises(BadRecipe, match=r"options\.polarity"):
        polarities(labels, {})


def test_a_polarity_for_a_label_that_is_not_there_is_refused():
    with pytest.raises(BadRecipe, match="'positiv'"):
        polarities(TWO, {"positiv": 1.0})


def test_a_polarity_out_of_bounds_is_refused():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        SentimentOptions(polarity={"positive": 1.5})


@given(st.lists(LABEL, unique=True))
def test_names_never_tell_a_polarity_out_of_bounds(labels):
    known = known_polarities(labels)
    assert set(known) <= set(labels)
    assert all(-1.0 <= value <= 1.0 for value in known.values())


# Labels and examples


def test_labels_go_from_negative_to_positive():
    examples = [{"text": "x", "label": label} for label in ("positive", "neutral", "negative")]
    assert TASK.labels(examples) == ("negative", "neutral", "positive")
    stars = [{"text": "x", "label": str(label)} for label in (10, 9, 1)]
    assert TASK.labels(stars) == ("1", "9", "10")


@given(st.lists(LABEL))
def test_labels_are_each_listed_once_whatever_the_order_of_the_examples(names):
    examples = [{"text": "x", "label": name} for name in names]
    found = TASK.labels(examples)
    assert sorted(found) == sorted(set(names))
    assert TASK.labels(reversed(examples)) == found


def test_training_and_serving_see_the_same_tokens_within_the_limit(word_tokenizer):
    example = {"text": "the film was good " * 20, "label": "positive"}
    (features,) = TASK.features(example, word_tokenizer, adapter())
    (row,) = TASK.encode(TASK.request(example), word_tokenizer, adapter())
    assert features["input_ids"] == row.input_ids
    assert features["labels"] == 1
    assert len(row.input_ids) == 32
    assert (row.input_ids[0], row.input_ids[-1]) == (word_tokenizer.cls_token_id, word_tokenizer.sep_token_id)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ({"text": "x", "label": "happy"}, "'happy' is not one of: negative, positive"),
        ({"text": " \n", "label": "positive"}, "`text` is empty"),
    ],
)
def test_an_example_that_cannot_be_used_says_why(word_tokenizer, example, reason):
    with pytest.raises(BadData, match=reason):
        TASK.features(example, word_tokenizer, adapter())


@pytest.mark.parametrize("labels", [("positive",), ("good", "bad")])
def test_labels_that_cannot_be_learned_stop_the_training(word_tokenizer, labels):
    with pytest.raises(BadRecipe) as caught:
        TASK.features({"text": "x", "label": labels[0]}, word_tokenizer, adapter(labels))
    assert not isinstance(caught.value, BadData)


def test_metrics_by_hand():
    predictions = [answer([1.0, 0.0]), answer([0.0, 1.0]), answer([0.0, 1.0]), answer([0.0, 1.0])]
    references = [{"label": label} for label in ("negative", "negative", "positive", "positive")]
    figures = TASK.metrics(predictions, references)
    assert figures["accuracy"] == pytest.approx(3 / 4)
    assert figures["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert TASK.metric in figures
