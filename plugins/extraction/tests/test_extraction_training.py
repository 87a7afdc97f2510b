"""Training examples and figures of merit of extraction."""

from __future__ import annotations

import subprocess
import sys

import pytest
from grafthub_extraction.examples import read_example
from grafthub_extraction.metrics import entity_scores, token_accuracy
from grafthub_extraction.task import ExtractionTask
from hypothesis import given
from hypothesis import strategies as st

from hub.api import AdapterInfo, BadData, HeadKind
from hub.testing.oracle import oracle_outputs

TASK = ExtractionTask()
TEXT = "Ada Novak moved to Oslo."
EXAMPLE = {
    "text": TEXT,
    "entities": ({"start": 0, "end": 9, "label": "PER"}, {"start": 19, "end": 23, "label": "LOC"}),
}
SPANS = [(0, 9, "PER"), (19, 23, "LOC")]


def adapter(max_length=64, types=("LOC", "PER"), **options) -> AdapterInfo:
    found = AdapterInfo("finder", 1, types, options, max_length)
    return AdapterInfo("finder", 1, TASK.head_labels(found), options, max_length)


def learned(tokenizer, example=EXAMPLE, **options) -> list[tuple[str, str]]:
    """Each token that is learned, with its tag, unless that is O."""
    info = adapter(**options)
    return [
        (tokenizer.decode([token]).removeprefix("##"), info.labels[label])
        for item in TASK.features(example, tokenizer, info)
        for token, label in zip(item["input_ids"], item["labels"], strict=True)
        if label > 0
    ]


def test_listing_the_task_loads_no_numpy() -> None:
    code = "import sys, grafthub_extraction as p; [*p.hub_tasks()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {"numpy", "pandas", "torch", "transformers"}.isdisjoint(loaded.split())


# Examples


def test_both_forms_are_read_alike() -> None:
    tokens = {"tokens": tuple(TEXT[:-1].split()), "tags": ("B-PER", "I-PER", "O", "O", "B-LOC")}
    assert read_example(EXAMPLE) == (TEXT, SPANS)
    assert read_example(tokens) == (TEXT[:-1], SPANS)
    assert TASK.labels([EXAMPLE]) == TASK.labels([tokens]) == ("LOC", "PER")


def test_entities_go_before_tags_where_a_row_has_both() -> None:
    both = {**EXAMPLE, "tokens": ("Ada",), "tags": ("O",)}
    assert read_example(both) == (TEXT, SPANS)


def test_white_space_around_an_entity_is_not_part_of_it() -> None:
    assert read_example({"text": "in Oslo now", "entities": ({"start": 2, "end": 8, "label": "LOC"},)})[
        1
    ] == [(3, 7, "LOC")]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ({"text": TEXT}, "needs `text` and `entities`"),
        ({"tokens": ("a",)}, "needs `text` and `entities`"),
        ({"tokens": ("a", "b"), "tags": ("O",)}, "2 tokens and 1 tags"),
        ({"text": "Oslo", "entities": ({"start": 0, "end": 5, "label": "LOC"},)}, "ends at 5"),
        ({"text": "in  Oslo", "entities": ({"start": 2, "end": 4, "label": "LOC"},)}, "is white space"),
        (
            {
                "text": TEXT,
                "entities": (
                    {"start": 4, "end": 9, "label": "PER"},
                    {"start": 0, "end": 5, "label": "PER"},
                ),
            },
            "overlap at character 4",
        ),
    ],
)
def test_examples_that_cannot_be_used_are_told(example, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        TASK.request(example)


# What is learned


def test_the_first_token_of_each_word_is_learned(word_tokenizer) -> None:
    tags = [tag for _, tag in learned(word_tokenizer)]
    assert tags == ["B-PER", "I-PER", "B-LOC"]


def test_all_tokens_of_a_word_are_learned_if_the_recipe_says_so(word_tokenizer) -> None:
    counts = [len(word_tokenizer.tokenize(word)) for word in ("Ada", "Novak", "Oslo")]
    tags = [tag for _, tag in learned(word_tokenizer, subwords="all")]
    ada, novak, oslo = counts
    assert tags == ["B-PER", *["I-PER"] * (ada - 1 + novak), "B-LOC", *["I-LOC"] * (oslo - 1)]


def test_bilou_is_learned_from_bio(word_tokenizer) -> None:
    assert [tag for _, tag in learned(word_tokenizer, scheme="BILOU")] == ["B-PER", "L-PER", "U-LOC"]


def test_special_tokens_are_not_learned(word_tokenizer) -> None:
    (item,) = TASK.features(EXAMPLE, word_tokenizer, adapter())
    assert (item["labels"][0], item["labels"][-1]) == (-100, -100)


def test_a_token_in_two_windows_is_learned_once(word_tokenizer) -> None:
    text = "rain river " * 40
    features = TASK.features({"text": text, "entities": ()}, word_tokenizer, adapter(16, stride=6))
    assert len(features) > 4
    assert sum(label != -100 for item in features for label in item["labels"]) == 80


def test_two_entities_in_one_word_are_told(word_tokenizer) -> None:
    inner = ({"start": 0, "end": 2, "label": "LOC"}, {"start": 2, "end": 4, "label": "PER"})
    with pytest.raises(BadData, match="at character 2 has no word of its own"):
        TASK.features({"text": "Oslo", "entities": inner}, word_tokenizer, adapter())


def test_a_text_without_tokens_is_told(word_tokenizer) -> None:
    with pytest.raises(BadData, match="no token of its own"):
        TASK.features({"text": "\ufffd", "entities": ()}, word_tokenizer, adapter())


def test_an_unknown_label_is_told(word_tokenizer) -> None:
    with pytest.raises(BadData, match="'PER' is not one"):
        TASK.features(EXAMPLE, word_tokenizer, adapter(types=("LOC",)))


WORDS = st.sampled_from(["Oslo", "the", "river", "Nováková", "won"])


@given(
    tagged=st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"])), min_size=1),
    scheme=st.sampled_from(["BIO", "BILOU"]),
    subwords=st.sampled_from(["first", "all"]),
    length=st.sampled_from([16, 24, 256]),
)
def test_a_model_that_learned_an_example_answers_it(word_tokenizer, tagged, scheme, subwords, length) -> None:
    words, tags = zip(*tagged, strict=True)
    example = {"tokens": words, "tags": tags}
    info = adapter(length, scheme=scheme, subwords=subwords, stride=8)
    request = TASK.request(example)
    rows = TASK.encode(request, word_tokenizer, info)
    features = TASK.features(example, word_tokenizer, info)
    known = {tuple(item["input_ids"]) for item in features}
    if len(known) < len(features):
        return  # two windows with the same tokens and other labels: the oracle cannot tell them apart
    outputs = oracle_outputs(HeadKind.TOKEN, rows, features, word_tokenizer, info)
    figures = TASK.metrics([TASK.decode(request, outputs, info)], [example])
    assert figures["f1"] == figures["token_accuracy"] == 1.0


# Metrics


def test_an_entity_counts_if_place_and_type_are_right() -> None:
    right = [[(0, 9, "PER"), (19, 23, "LOC")], [(0, 4, "LOC")]]
    found = [[(0, 3, "PER"), (19, 23, "LOC")], [(0, 4, "ORG"), (5, 6, "LOC")]]
    scores = entity_scores(found, right)
    assert scores["precision"] == 1 / 4
    assert scores["recall"] == 1 / 3
    assert scores["f1"] == pytest.approx(2 / 7)
    assert (scores["f1:LOC"], scores["f1:ORG"], scores["f1:PER"]) == (1 / 2, 0, 0)
    assert scores["f1_macro"] == pytest.approx(1 / 6)
    assert scores["precision_macro"] == pytest.approx(1 / 6)


def test_nothing_found_where_there_is_nothing_is_right() -> None:
    scores = entity_scores([[]], [[]])
    assert set(scores.values()) == {1.0}
    assert entity_scores([[(0, 1, "A")]], [[]])["f1"] == entity_scores([[]], [[(0, 1, "A")]])["f1"] == 0


SPAN_LISTS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.just(5), st.sampled_from("AB")), max_size=1),
    min_size=1,
    max_size=8,
)


@given(SPAN_LISTS, st.data())
def test_f1_is_the_harmonic_mean_and_at_most_one(right, data) -> None:
    found = data.draw(st.lists(st.sampled_from(right), min_size=len(right), max_size=len(right)))
    scores = entity_scores(found, right)
    assert all(0 <= value <= 1 for value in scores.values())
    total = scores["precision"] + scores["recall"]
    assert scores["f1"] == pytest.approx(2 * scores["precision"] * scores["recall"] / total if total else 0.0)
    assert set(entity_scores(right, right).values()) == {1.0}


def test_token_accuracy_counts_words() -> None:
    assert token_accuracy([TEXT], [SPANS], [SPANS]) == 1.0
    assert token_accuracy([TEXT], [[(0, 3, "PER")]], [SPANS]) == pytest.approx(4 / 6)
    assert token_accuracy([TEXT], [[]], [SPANS]) == pytest.approx(3 / 6)
