# ruff: noqa: TID253 - trains tiny models
"""The loss of vectors: which texts a query is compared with, and the gradient of both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from hub.api import HeadKind, Pooling
from hub.training.fit.batches import collator
from hub.training.fit.contrastive import AMONG, TEXTS, ContrastiveLoss, choices
from hub.training.fit.model import add_adapter, load_base
from hub.vectors import Embedding
from tests.support.tiny import tiny_encoder


def pair(query: list[int], good: list[int], bad: list[int] | None = None) -> dict:
    row: dict = {"input_ids": query, "good": {"input_ids": good}}
    return row if bad is None else {**row, "bad": {"input_ids": bad}}


def test_a_query_is_compared_with_all_good_and_bad_texts_of_the_batch() -> None:
    texts, among = choices([pair([1], [11]), pair([2], [12], [22]), pair([3], [13])])
    assert [text["input_ids"] for text in texts] == [[11], [12], [13], [22]]
    assert among.all()


def test_texts_that_are_good_for_a_query_are_no_negatives_of_it() -> None:
    """Rows 0 and 1 share a good text; rows 2 and 3 a query, whose good text is a bad one elsewhere."""
    batch = [pair([1], [11]), pair([2], [11]), pair([3], [13]), pair([3], [14]), pair([5], [15], [13])]
    _, among = choices(batch)
    assert among.int().tolist() == [
        [1, 0, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]


def test_a_batch_has_the_queries_and_the_texts_padded_apart() -> None:
    batch = collator(9)([pair([1], [11, 12, 13]), pair([2, 3], [14])])
    assert batch["input_ids"].tolist() == [[1, 9], [2, 3]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch[TEXTS]["input_ids"].tolist() == [[11, 12, 13], [14, 9, 9]]
    assert batch[AMONG].shape == (2, 2)


@pytest.mark.parametrize(
    "embedding",
    [Embedding(), Embedding(Pooling.CLS, scale=3.0), Embedding(Pooling.LAST, normalize=False, scale=0.1)],
)
def test_the_loss_and_its_gradient_are_those_of_rows_one_by_one(
    tmp_path: Path, make_recipe, embedding: Embedding
) -> None:
    torch.manual_seed(0)
    base = tiny_encoder(tmp_path / "base")
    recipe = make_recipe("task: similarity\nbase: tiny\ndata: {source: a.csv}\nmethod: {type: lora}\n")
    model = add_adapter(load_base(base, HeadKind.EMBEDDING, 0, dropout=0.0), recipe, HeadKind.EMBEDDING)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    rows = [pair([7, 8], [9, 10, 11], [12]), pair([13], [14, 15]), pair([16, 17, 18], [19], [20, 21])]
    loss, _ = ContrastiveLoss(HeadKind.EMBEDDING, embedding=embedding)(model, collator(0)(rows))
    loss.backward()
    trained = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    assert all(gradient.abs().sum() > 0 for gradient in trained.values())
    assert not any("pooler" in name for name in trained)

    def vector(ids: list[int]) -> torch.Tensor:
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pooled = {
            Pooling.MEAN: states.mean(0),
            Pooling.CLS: states[0],
            Pooling.LAST: states[-1],
        }[embedding.pooling]
        return functional.normalize(pooled, dim=0) if embedding.normalize else pooled

    model.zero_grad()
    texts = torch.stack(
        [vector(row[key]["input_ids"]) for key in ("good", "bad") for row in rows if key in row]
    )
    scores = torch.stack([vector(row["input_ids"]) for row in rows]) @ texts.T * embedding.scale
    expected = functional.cross_entropy(scores, torch.arange(3))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, trained[name], atol=1e-5), name
