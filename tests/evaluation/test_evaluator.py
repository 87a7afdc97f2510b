# ruff: noqa: TID253 - runs tiny models
"""Rows run in batches give what each gives alone; a task's figures are checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hub.api import AdapterInfo, HeadKind, Row, TaskSpec
from hub.errors import BadPlugin
from hub.evaluation.evaluator import Evaluator, majority_metrics
from hub.evaluation.predict import forward_rows
from hub.registry.loaded import LoadedTask
from tests.support.tiny import head_model, tiny_decoder, tiny_encoder

TEXTS = ("good", "a very bad film in paris", "the plot of this book was not great and i hate it", "food")
SPEC = TaskSpec("t", "A task.", HeadKind.SEQUENCE, "m:A", "m:B", "m:C")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory):
    return tiny_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="module")
def tokenizer(encoder) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(encoder.path)


def rows_of(tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    encoded = [tokenizer(text) for text in TEXTS]
    return [Row(item["input_ids"], item["token_type_ids"]) for item in encoded]


@pytest.mark.parametrize("kind", [HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN])
def test_a_row_scores_in_a_batch_as_it_does_alone(encoder, tokenizer, kind: HeadKind) -> None:
    model, rows = head_model(encoder, kind, 3), rows_of(tokenizer)
    together = forward_rows(model, tokenizer, kind, rows)
    for row, output in zip(rows, together, strict=True):
        [alone] = forward_rows(model, tokenizer, kind, [row])
        assert output.row is row
        np.testing.assert_allclose(output.values, alone.values, atol=1e-5)
    assert together[0].values.shape == {
        HeadKind.SEQUENCE: (3,), HeadKind.TOKEN: (3, 3), HeadKind.SPAN: (3, 2),
    }[kind]  # fmt: skip


def test_prompts_of_several_lengths_continue_as_each_does_alone(tmp_path: Path) -> None:
    base = tiny_decoder(tmp_path / "decoder")
    model, tokenizer = head_model(base, HeadKind.GENERATE), AutoTokenizer.from_pretrained(base.path)
    rows = [
        Row(tokenizer(text)["input_ids"], max_new_tokens=limit)
        for text, limit in zip(TEXTS, (3, 6, 1, 9), strict=True)
    ]
    together = [output.text for output in forward_rows(model, tokenizer, HeadKind.GENERATE, rows)]
    alone = [forward_rows(model, tokenizer, HeadKind.GENERATE, [row])[0].text for row in rows]
    assert together == alone
    assert any(together)


def test_a_text_ends_at_each_end_token_that_the_base_names(tmp_path: Path) -> None:
    base = tiny_decoder(tmp_path / "decoder")
    model, tokenizer = head_model(base, HeadKind.GENERATE), AutoTokenizer.from_pretrained(base.path)
    row = Row(tokenizer(TEXTS[1])["input_ids"], max_new_tokens=20)
    ids = model.generate(torch.tensor([row.input_ids]), max_new_tokens=20, do_sample=False)[0].tolist()
    continued = ids[len(row.input_ids) :]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, continued[4]]
    [output] = forward_rows(model, tokenizer, HeadKind.GENERATE, [row])
    assert output.tokens == continued.index(continued[4]) + 1
    assert output.finish_reason == "stop"


def test_a_training_model_is_scored_without_dropout_and_goes_on_training(encoder, tokenizer) -> None:
    model = head_model(encoder, HeadKind.SEQUENCE, 2).train()
    first, second = (forward_rows(model, tokenizer, HeadKind.SEQUENCE, rows_of(tokenizer)) for _ in range(2))
    assert all((a.values == b.values).all() for a, b in zip(first, second, strict=True))
    assert model.training
    assert torch.is_grad_enabled()


@pytest.fixture
def evaluator(labelling, tokenizer) -> Callable[[], Evaluator]:
    examples = [
        {"text": text, "label": label, "tags": None} for text, label in zip(TEXTS, "abbb", strict=True)
    ]
    info = AdapterInfo("demo", 0, ("a", "b"), max_length=16)
    return lambda: Evaluator(LoadedTask(SPEC, labelling, object, object), tokenizer, info, examples)


def test_the_majority_answer_is_the_commonest_in_training(evaluator) -> None:
    assert majority_metrics(evaluator(), HeadKind.SEQUENCE, [0, 0, 1], 2) == {"accuracy": 0.25}
    assert majority_metrics(evaluator(), HeadKind.SEQUENCE, [1, 0, 1], 2) == {"accuracy": 0.75}
    assert majority_metrics(evaluator(), HeadKind.SPAN, [None], 0) == {}


@pytest.mark.parametrize(("most", "kept"), [(9, "0123"), (4, "0123"), (3, "02"), (2, "02"), (1, "0")])
def test_a_sample_has_examples_from_everywhere_and_the_outputs_of_their_rows(
    evaluator, encoder, most: int, kept: str
) -> None:
    whole = evaluator()
    outputs = whole.run(head_model(encoder, HeadKind.SEQUENCE, 2)).outputs
    sample = whole.sample(outputs, most)
    assert [output.row for output in sample.outputs] == sample.evaluator.rows
    assert sample.evaluator.rows == [whole.rows[int(index)] for index in kept]
    assert (sample.evaluator.examples, whole.examples) == (len(kept), 4)
    assert 0 <= sample.evaluator.score(sample.outputs).metrics["accuracy"] <= 1


@pytest.mark.parametrize("figures", [{"f1": 1.0}, {"accuracy": float("nan")}])
def test_a_task_without_its_own_metric_is_a_bad_plugin(evaluator, labelling, figures, encoder) -> None:
    labelling.metrics = lambda predictions, references: figures
    with pytest.raises(BadPlugin, match="names the metric 'accuracy' and returns"):
        evaluator().run(head_model(encoder, HeadKind.SEQUENCE, 2))


def test_an_undefined_metric_is_left_out(evaluator, labelling, encoder) -> None:
    """Such as the area under the curve of rows that have one label; a manifest has numbers only."""
    labelling.metrics = lambda predictions, references: {"accuracy": 0.5, "auc": float("nan")}
    assert evaluator().run(head_model(encoder, HeadKind.SEQUENCE, 2)).metrics == {"accuracy": 0.5}


def test_a_majority_answer_need_not_have_every_metric(evaluator, labelling) -> None:
    """Such as a correlation with what is always the same."""
    labelling.metrics = lambda predictions, references: {"accuracy": float("nan"), "other": 0.5}
    assert majority_metrics(evaluator(), HeadKind.SEQUENCE, [0, 0, 1], 2) == {"other": 0.5}
