"""The classification task: labels, rows, answers, training examples."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from grafthub_classification.models import ClassificationRequest, ClassificationResponse
from grafthub_classification.task import ClassificationTask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.api import AdapterInfo, BadData, BadRecipe, InvalidText, Output, Row, TooLarge

TASK = ClassificationTask()
ASKED = ClassificationRequest(text="x")
NEWS = ("politics", "sport", "weather")
ONE = {"text": "the team won", "label": "sport"}
SEVERAL = {"text": "the team won in the rain", "labels": ("sport", "weather")}


def adapter(labels=NEWS, max_length=32, **options):
    return AdapterInfo("topics", 1, labels, options, max_length)


def answer(scores, request=ASKED, **options):
    output = Output(Row([0]), np.array(scores, np.float32))
    return TASK.decode(request, [output], adapter(**options))


def test_listing_the_task_loads_neither_numpy_nor_pandas_nor_scikit_learn():
    code = "import sys, grafthub_classification as p; [*p.hub_tasks()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {"numpy", "sklearn", "pandas", "torch", "transformers"}.isdisjoint(loaded.split())


@pytest.mark.parametrize("model", [ClassificationRequest, ClassificationResponse])
def test_the_documented_examples_are_valid(model):
    examples = model.model_json_schema()["examples"]
    assert examples
    for example in examples:
        model.model_validate(example)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b\ufeff"])
@pytest.mark.parametrize("name", ["text", "text_pair"])
def test_text_with_nothing_to_see_is_refused_by_name(text, name):
    with pytest.raises(InvalidText, match=f"`{name}` is empty"):
        ClassificationRequest(**{"text": "fine", name: text})


def test_huge_text_is_refused():
    with pytest.raises(TooLarge, match="200,000"):
        ClassificationRequest(text="a" * 200_001)


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(InvalidText, match="not valid Unicode"):
        ClassificationRequest(text="a\ud800")


# Labels


@given(st.lists(st.text(min_size=1) | st.integers(-99, 99).map(str)))
def test_labels_are_each_listed_once_whatever_the_order_of_the_examples(names):
    examples = [{"text": "x", "label": name} for name in names]
    found = TASK.labels(examples)
    assert set(found) == set(names)
    assert len(found) == len(set(names))
    assert TASK.labels(reversed(examples)) == found


def test_numbers_are_ordered_as_numbers_before_words():
    names = ["10", "b", "9", "a", "-1"]
    assert TASK.labels({"text": "x", "label": name} for name in names) == ("-1", "9", "10", "a", "b")


def test_labels_of_multi_label_examples_are_collected_from_all_of_them():
    examples = [
        {"text": "x", "labels": ("b", "a")},
        {"text": "y", "labels": ()},
        {"text": "z", "labels": ("c",)},
    ]
    assert TASK.labels(examples) == ("a", "b", "c")


# Rows


def test_a_short_text_is_tokenized_as_the_tokenizer_does(word_tokenizer):
    rows = TASK.encode(ClassificationRequest(text="the team won"), word_tokenizer, adapter())
    assert [row.input_ids for row in rows] == [word_tokenizer("the team won")["input_ids"]]


def test_a_pair_has_both_texts_and_their_types(word_tokenizer):
    request = ClassificationRequest(text="the team won", text_pair="the game was lost")
    (row,) = TASK.encode(request, word_tokenizer, adapter())
    assert word_tokenizer.decode(row.input_ids) == "[CLS] the team won [SEP] the game was lost [SEP]"
    assert row.token_type_ids == [0] * 5 + [1] * 5


def visible(text):
    return text if text.isprintable() and not text.isspace() else f"a{text}"


texts = st.text(min_size=1).map(visible)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, second=st.none() | texts, limit=st.integers(5, 40))
def test_no_row_is_over_the_limit_and_all_keep_their_special_tokens(word_tokenizer, text, second, limit):
    request = ClassificationRequest(text=text, text_pair=second)
    (row,) = TASK.encode(request, word_tokenizer, adapter(max_length=limit))
    whole = word_tokenizer(text, second, return_special_tokens_mask=True)
    special = [
        id_ for id_, mask in zip(whole["input_ids"], whole["special_tokens_mask"], strict=True) if mask
    ]
    assert len(row.input_ids) == min(limit, len(whole["input_ids"])) == len(row.token_type_ids)
    kept = [id_ for id_ in row.input_ids if id_ in {word_tokenizer.cls_token_id, word_tokenizer.sep_token_id}]
    assert kept == special


def test_the_longer_text_of_a_pair_is_cut(word_tokenizer):
    request = ClassificationRequest(text="good " * 30, text_pair="bad film")
    (row,) = TASK.encode(request, word_tokenizer, adapter(max_length=10))
    assert word_tokenizer.decode(row.input_ids) == "[CLS] good good good good good [SEP] bad film [SEP]"


def test_a_long_text_is_refused_if_it_is_not_to_be_cut(word_tokenizer):
    short, long = (ClassificationRequest(text=text, truncate=False) for text in ("good film", "good " * 30))
    assert TASK.encode(short, word_tokenizer, adapter(max_length=10))
    with pytest.raises(TooLarge, match="32 tokens and the limit is 10"):
        TASK.encode(long, word_tokenizer, adapter(max_length=10))


# Answers


def test_one_label_is_chosen_by_softmax():
    said = answer([0.0, math.log(3.0), 0.0])
    assert (said.label, [item.label for item in said.labels]) == ("sport", ["sport"])
    assert said.score == pytest.approx(0.6)
    assert said.scores == pytest.approx({"sport": 0.6, "politics": 0.2, "weather": 0.2})


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), st.floats(0.01, 100))
def test_probabilities_of_one_label_sum_to_one_at_any_temperature(scores, temperature):
    said = answer(scores, temperature=temperature)
    assert sum(said.scores.values()) == pytest.approx(1.0)
    assert said.score == max(said.scores.values())


def test_temperature_divides_the_scores():
    assert answer([0.0, 2 * math.log(3.0), 0.0], temperature=2.0).scores["sport"] == pytest.approx(0.6)


def test_top_k_shortens_the_scores_and_not_the_choice():
    said = answer([3.0, 2.0, 1.0], ClassificationRequest(text="x", top_k=2))
    assert list(said.scores) == ["politics", "sport"]


def test_several_labels_are_chosen_by_their_own_thresholds():
    said = answer([0.0, 2.0, -1.0], multi_label=True, thresholds={"politics": 0.6, "weather": 0.2})
    assert [item.label for item in said.labels] == ["sport", "weather"]
    assert said.label == "sport"
    assert said.scores["politics"] == pytest.approx(0.5)


def test_a_probability_at_the_threshold_is_enough():
    assert answer([0.0, -9.0, -9.0], multi_label=True).label == "politics"


def test_no_label_may_be_right():
    said = answer([-3.0, -3.0, -2.0], multi_label=True)
    assert (said.label, said.score, said.labels) == (None, None, [])
    assert next(iter(said.scores)) == "weather"


def test_settings_that_other_steps_stored_do_not_matter():
    assert answer([0.0, 1.0, 0.0], calibrated_on="2026-01-01").label == "sport"


def test_a_setting_that_makes_no_sense_is_named():
    with pytest.raises(BadRecipe, match="'temperature'"):
        answer([0.0, 1.0, 0.0], temperature=0)


# Training examples


def test_a_training_example_has_the_index_of_its_label(word_tokenizer):
    (features,) = TASK.features(ONE, word_tokenizer, adapter())
    assert features["labels"] == 1
    assert features["input_ids"] == word_tokenizer(ONE["text"])["input_ids"]


def test_a_multi_label_example_has_a_number_per_label(word_tokenizer):
    (features,) = TASK.features(SEVERAL, word_tokenizer, adapter(multi_label=True))
    assert features["labels"] == [0.0, 1.0, 1.0]


def test_training_and_serving_see_the_same_tokens(word_tokenizer):
    example = {"text": "the film was long " * 20, "text_pair": "the actor was good " * 20, "label": "sport"}
    (features,) = TASK.features(example, word_tokenizer, adapter())
    (row,) = TASK.encode(TASK.request(example), word_tokenizer, adapter())
    assert (features["input_ids"], features["token_type_ids"]) == (row.input_ids, row.token_type_ids)


def test_an_empty_cell_of_a_multi_label_column_means_no_label(word_tokenizer):
    example = {"text": "nothing special", "label": None, "labels": None}
    (features,) = TASK.features(example, word_tokenizer, adapter(multi_label=True))
    assert features["labels"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("example", "options", "reason"),
    [
        ({"text": "x", "label": "music"}, {}, "'music' is not one of: politics, sport, weather"),
        ({"text": "x", "labels": ("music",)}, {"multi_label": True}, "'music' is not one of"),
        ({"text": "x", "labels": ("sport",)}, {}, "multi_label is off"),
        ({"text": "x", "label": "sport"}, {"multi_label": True}, "multi_label is on"),
        ({"text": "x", "label": "sport", "labels": ("sport",)}, {}, "multi_label is off"),
        ({"text": "x", "labels": None}, {}, "multi_label is off"),
        ({"text": " ", "label": "sport"}, {}, "`text` is empty"),
    ],
)
def test_an_example_that_cannot_be_used_says_why(word_tokenizer, example, options, reason):
    with pytest.raises(BadData, match=reason):
        TASK.features(example, word_tokenizer, adapter(**options))


def test_one_label_is_too_few_to_learn_from(word_tokenizer):
    with pytest.raises(BadRecipe, match="at least two"):
        TASK.features(ONE, word_tokenizer, adapter(labels=("sport",)))


@pytest.mark.parametrize("options", [{}, {"multi_label": True}])
def test_no_label_at_all_names_the_columns(word_tokenizer, options):
    with pytest.raises(BadRecipe, match="map the column `label`"):
        TASK.features({"text": "x"}, word_tokenizer, adapter(labels=(), **options))


def test_a_threshold_for_a_label_that_is_not_there_is_refused(word_tokenizer):
    with pytest.raises(BadRecipe, match="'thresholds' names 'musik'"):
        TASK.features(SEVERAL, word_tokenizer, adapter(multi_label=True, thresholds={"musik": 0.5}))
