"""How scores become entities: aggregations, as Hugging Face's pipeline has them, and windows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from grafthub_extraction.models import ExtractionRequest, ExtractionResponse
from grafthub_extraction.task import ExtractionTask
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.api import AdapterInfo, Output

TASK = ExtractionTask()
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORDS = ["the", "river", "Oslo", "Nováková", "don't", "won,", "(rain)", "U.S.", "x-ray", "5%"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=20).map(" ".join)
SEEDS = st.integers(0, 2**32 - 1)
AGGREGATIONS = ["none", "simple", "first", "average", "max"]


def adapter(max_length=256, labels=TAGS, **options) -> AdapterInfo:
    return AdapterInfo("finder", 1, labels, options, max_length)


def random_outputs(rows, seed: int, labels=TAGS) -> list[Output]:
    random = np.random.default_rng(seed)
    return [
        Output(row, random.normal(0, 3, (len(row.input_ids), len(labels))).astype(np.float32)) for row in rows
    ]


def told(tokenizer, text: str, tags: dict[str, str], *, aggregation=None, labels=TAGS, sure=9.0, **options):
    """Answer as a model would that gives tokens their tag, by the text they stand for."""
    info = adapter(labels=labels, **options)
    request = ExtractionRequest(text=text, aggregation=aggregation)
    outputs = []
    for row in TASK.encode(request, tokenizer, info):
        window, position = row.meta["window"], row.meta["position"]
        values = np.zeros((len(row.input_ids), len(labels)), np.float32)
        values[:, labels.index("O")] = 1.0
        for token in range(window.start, window.stop):
            piece = text[row.meta["starts"][token] : row.meta["ends"][token]]
            if piece in tags:
                values[position + token - window.start, labels.index(tags[piece])] = sure
        outputs.append(Output(row, values))
    return TASK.decode(request, outputs, info)


def found(answer: ExtractionResponse) -> list[tuple[str, str]]:
    return [(entity.entity_group, entity.word) for entity in answer.entities]


def pipeline_entities(tokenizer, text: str, scores: np.ndarray, aggregation: str):
    """What transformers makes of the same scores."""
    import torch
    from transformers import TokenClassificationPipeline
    from transformers.pipelines.token_classification import AggregationStrategy

    pipeline = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    pipeline.tokenizer = tokenizer
    pipeline.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(TAGS))))
    encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    outputs = {
        "logits": torch.from_numpy(scores)[None],
        "sentence": text,
        "input_ids": torch.tensor([encoding["input_ids"]]),
        "offset_mapping": torch.tensor([encoding["offset_mapping"]]),
        "special_tokens_mask": torch.tensor([encoding["special_tokens_mask"]]),
    }
    return pipeline.postprocess([outputs], AggregationStrategy(aggregation))


@settings(max_examples=40)
@given(text=TEXTS, seed=SEEDS, aggregation=st.sampled_from(AGGREGATIONS))
def test_the_answer_is_that_of_the_hugging_face_pipeline(word_tokenizer, text, seed, aggregation) -> None:
    request = ExtractionRequest(text=text, aggregation=aggregation)
    outputs = random_outputs(TASK.encode(request, word_tokenizer, adapter()), seed)
    ours = TASK.decode(request, outputs, adapter(constrained=False)).entities
    theirs = pipeline_entities(word_tokenizer, text, outputs[0].values, aggregation)
    key = "entity" if aggregation == "none" else "entity_group"
    assert [(one.entity_group, one.start, one.end) for one in ours] == [
        (one[key], one["start"], one["end"]) for one in theirs
    ]
    assert [one.score for one in ours] == pytest.approx([one["score"] for one in theirs], abs=1e-5)


@settings(max_examples=60)
@given(text=TEXTS, seed=SEEDS, aggregation=st.sampled_from(AGGREGATIONS), constrained=st.booleans())
def test_entities_stand_in_the_text_in_order_and_apart(
    word_tokenizer, text, seed, aggregation, constrained
) -> None:
    info = adapter(max_length=16, stride=4, constrained=constrained)
    request = ExtractionRequest(text=text, aggregation=aggregation)
    answer = TASK.decode(request, random_outputs(TASK.encode(request, word_tokenizer, info), seed), info)
    at = 0
    for entity in answer.entities:
        assert at <= entity.start < entity.end
        assert text[entity.start : entity.end] == entity.word == entity.word.strip()
        at = entity.end


# Aggregations


def test_the_adapter_says_the_aggregation_unless_the_request_does(word_tokenizer) -> None:
    text = "the river won"
    tags = {"the": "B-LOC", "river": "I-LOC"}
    assert found(told(word_tokenizer, text, tags)) == [("LOC", "the river")]
    assert found(told(word_tokenizer, text, tags, aggregation="none")) == [
        ("B-LOC", "the"),
        ("I-LOC", "river"),
    ]


def test_the_first_token_speaks_for_its_word(word_tokenizer) -> None:
    pieces = word_tokenizer.tokenize("Oslo")
    assert len(pieces) > 1
    head = pieces[0].upper() if pieces[0] == "o" else pieces[0]
    text = "in Oslo"
    assert found(told(word_tokenizer, text, {head: "B-LOC"})) == [("LOC", "Oslo")]
    assert found(told(word_tokenizer, text, {head: "B-LOC"}, aggregation="simple")) == [("LOC", head)]


def test_a_word_is_whole_where_the_tokenizer_drops_a_part_of_it(word_tokenizer) -> None:
    text = "in cafe\u0301."
    answer = told(word_tokenizer, text, {"c": "B-LOC"})
    assert found(answer) == [("LOC", "cafe\u0301")]


# Ill-formed tags


def test_i_after_o_begins_an_entity_only_if_unconstrained(word_tokenizer) -> None:
    text, tags = "the river won", {"river": "I-LOC"}
    assert found(told(word_tokenizer, text, tags, constrained=False)) == [("LOC", "river")]
    # The likeliest well-formed reading begins a word earlier: B-LOC costs less there than I-LOC is worth.
    assert found(told(word_tokenizer, text, tags)) == [("LOC", "the river")]


def test_bilou_labels_are_read_as_bilou(word_tokenizer) -> None:
    labels = ("O", "B-LOC", "I-LOC", "L-LOC", "U-LOC")
    tags = {"the": "B-LOC", "river": "L-LOC", "sun": "U-LOC"}
    answer = told(word_tokenizer, "the river sun won", tags, labels=labels)
    assert found(answer) == [("LOC", "the river"), ("LOC", "sun")]


def test_labels_without_prefix_join_neighbours(word_tokenizer) -> None:
    tags = {"the": "LOC", "river": "LOC", "sun": "PER"}
    answer = told(word_tokenizer, "the river sun won", tags, labels=("O", "LOC", "PER"))
    assert found(answer) == [("LOC", "the river"), ("PER", "sun")]


# Long texts


@settings(max_examples=30)
@given(before=st.integers(0, 80), after=st.integers(0, 80), length=st.integers(1, 40))
def test_an_entity_of_any_length_is_found_wherever_windows_are_cut(
    word_tokenizer, before, after, length
) -> None:
    text = " ".join(["rain"] * before + ["the"] + ["river"] * (length - 1) + ["rain"] * after)
    tags = {"the": "B-LOC", "river": "I-LOC"}
    info = {"max_length": 24, "stride": 8}
    request = ExtractionRequest(text=text)
    rows = TASK.encode(request, word_tokenizer, adapter(**info))
    outputs = []
    for row in rows:
        values = np.zeros((len(row.input_ids), len(TAGS)), np.float32)
        window = row.meta["window"]
        for token in range(window.start, window.stop):
            piece = text[row.meta["starts"][token] : row.meta["ends"][token]]
            values[row.meta["position"] + token - window.start, TAGS.index(tags.get(piece, "O"))] = 9.0
        outputs.append(Output(row, values))
    answer = TASK.decode(request, outputs, adapter(**info))
    assert found(answer) == [("LOC", " ".join(["the"] + ["river"] * (length - 1)))]


def test_a_text_without_tokens_has_no_entities(word_tokenizer) -> None:
    request = ExtractionRequest(text="\ufffd")
    rows = TASK.encode(request, word_tokenizer, adapter())
    for aggregation in AGGREGATIONS:
        asked = ExtractionRequest(text="\ufffd", aggregation=aggregation)
        assert TASK.decode(asked, random_outputs(rows, 0), adapter()).entities == []


@pytest.mark.parametrize("model", [ExtractionRequest, ExtractionResponse])
def test_the_documented_examples_are_valid(model) -> None:
    examples = model.model_json_schema()["examples"]
    assert examples
    for item in examples:
        model.model_validate(item)
