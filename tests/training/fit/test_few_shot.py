# ruff: noqa: TID253 - trains tiny models
"""Few-shot training: batches of pairs, the contrastive loss, and the logistic head."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.tokenizer import load_tokenizer
from hub.evaluation.predict import forward_rows
from hub.training.fit.batches import PairBatches, collator
from hub.training.fit.few_shot import LogisticHead, PairLoss
from hub.training.fit.model import add_adapter, load_base
from tests.support.tiny import tiny_encoder

FAMILIES = ["bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert"]
ROWS = [
    {"input_ids": [2, 5 + 3 * number, 6 + 2 * number, 3], "labels": label}
    for number, label in enumerate([0, 1, 0, 1, 2, 0])
]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("base") / "tiny", request.param)


@pytest.fixture
def model(base: Base, make_recipe) -> Any:
    torch.manual_seed(0)
    recipe = make_recipe("task: classification\ndata: a.csv\nmethod: {type: few-shot, rank: 2}")
    loaded = load_base(base, HeadKind.SEQUENCE, 3, 0.0)
    return add_adapter(loaded, recipe, HeadKind.SEQUENCE)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 3))
def test_each_row_stands_beside_another_one_of_its_label(labels: list[int], epoch: int) -> None:
    batches = PairBatches(labels, seed=1)
    batches.epoch = epoch
    order = list(batches)
    assert set(order) == set(range(len(labels)))
    assert len(order) == len(batches)
    counts = Counter(labels)
    paired = [index for index in order if counts[labels[index]] > 1]
    assert order[: len(paired)] == paired, "labels with a single row come last"
    for first, second in zip(paired[::2], paired[1::2], strict=True):
        assert first != second
        assert labels[first] == labels[second]


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    labels = [0, 1] * 8
    orders = []
    for epoch in (0, 1, 0):
        batches = PairBatches(labels, seed=3)
        batches.epoch = epoch
        orders.append(list(batches))
    assert orders[0] == orders[2] != orders[1]
    assert list(PairBatches(labels, seed=4)) != orders[0]


def test_the_loss_is_that_of_all_pairs_one_by_one(model: Any) -> None:
    """Row 4 is alone with its label, so it is a negative of the others and nothing more."""
    inputs = collator(0)(ROWS)
    layer = [module for name, module in model.named_modules() if "modules_to_save.default" in name][-1]
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    loss, outputs = PairLoss(HeadKind.SEQUENCE, num_labels=3, scale=4.0)(model, dict(inputs))
    hook.remove()
    vectors = functional.normalize(outputs.logits, dim=1)
    each = []
    for row, label in enumerate(r["labels"] for r in ROWS):
        others = [other for other in range(len(ROWS)) if other != row]
        scores = torch.stack([4.0 * vectors[row] @ vectors[other] for other in others])
        alike = [at for at, other in enumerate(others) if ROWS[other]["labels"] == label]
        chances = scores.log_softmax(0)
        each.append(-chances[alike].mean() if alike else torch.tensor(0.0))
    assert torch.allclose(loss, torch.stack(each).mean(), atol=1e-5)
    loss.backward()
    moved = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any("lora_B" in name for name in moved)
    assert torch.equal(seen[-1], outputs.logits), "the vectors are what the output layer reads"


def test_a_batch_of_one_row_has_a_loss_of_zero(model: Any) -> None:
    loss, _ = PairLoss(HeadKind.SEQUENCE, num_labels=3)(model, collator(0)(ROWS[:1]))
    assert loss.item() == 0.0


def test_the_head_is_the_logistic_regression_of_scikit_learn(model: Any, base: Base) -> None:
    from sklearn.linear_model import LogisticRegression

    tokenizer = load_tokenizer(base)
    head = LogisticHead.of(ROWS, tokenizer, 3, balanced=False)
    vectors = vectors_of(model, head)
    head.fit(model)
    scores = np.stack([o.values for o in forward_rows(model, tokenizer, HeadKind.SEQUENCE, head.rows)])
    size = np.linalg.norm(vectors, axis=1).mean()
    expected = LogisticRegression(max_iter=1000).fit(vectors / size, head.labels)
    found = torch.from_numpy(scores).softmax(1).numpy()
    assert np.abs(found - expected.predict_proba(vectors / size)).max() < 1e-4


def vectors_of(model: Any, head: LogisticHead) -> np.ndarray:
    """Return what the output layer reads, by a hook of the test's own."""
    seen: list[torch.Tensor] = []
    layer = [
        module
        for name, module in model.named_modules()
        if ".modules_to_save." in name and isinstance(module, torch.nn.Linear) and module.out_features == 3
    ][-1]
    hook = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for row in head.rows:
        forward_rows(model, head.tokenizer, HeadKind.SEQUENCE, [row])
    hook.remove()
    return torch.cat(seen).double().numpy()


def test_two_labels_and_labels_without_rows(tmp_path: Path, make_recipe) -> None:
    base = tiny_encoder(tmp_path / "tiny")
    recipe = make_recipe("task: classification\ndata: a.csv\nmethod: {type: few-shot}")
    model = add_adapter(load_base(base, HeadKind.SEQUENCE, 4, 0.0), recipe, HeadKind.SEQUENCE)
    rows = [row for row in ROWS if row["labels"] != 2]
    shifted = [{**row, "labels": row["labels"] + 2} for row in rows]
    tokenizer = load_tokenizer(base)
    plain, balanced = (LogisticHead.of(shifted, tokenizer, 4, balanced=flag) for flag in (False, True))
    plain.fit(model)
    scores = np.stack([o.values for o in forward_rows(model, tokenizer, HeadKind.SEQUENCE, plain.rows)])
    assert scores[:, :2].max() == -30.0, "labels without rows are never chosen"
    common = torch.from_numpy(scores).softmax(1)[:, 2].mean()
    balanced.fit(model)
    scores = np.stack([o.values for o in forward_rows(model, tokenizer, HeadKind.SEQUENCE, plain.rows)])
    assert torch.from_numpy(scores).softmax(1)[:, 2].mean() < common, "rare labels weigh more"
