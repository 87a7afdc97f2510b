# ruff: noqa: TID253 - trains tiny models
"""Batches that are accumulated have the gradient and the loss of one batch of all their rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import TrainerCallback

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.quiet import peft_quiet
from hub.progress import silent
from hub.recipe.sections.train import Train
from hub.training.fit.loss import Loss
from hub.training.fit.model import load_base
from hub.training.fit.trainer import fit
from tests.support.profiles import thorough
from tests.support.tiny import tiny_decoder, tiny_encoder, tiny_encoder_decoder

LABELS = 3
LENGTHS = (3, 11, 5, 8, 4, 12, 6, 9)
WEIGHTS = torch.tensor([0.4, 1.0, 6.0])
Rows = list[dict[str, Any]]


def rows_of(kind: HeadKind, several: bool = False) -> Rows:
    """Return rows of unlike lengths, of which each token row has its own share of labelled tokens."""
    chance = random.Random(3)
    rows: Rows = []
    for number, length in enumerate(LENGTHS):
        ids = [chance.randrange(8, 40) for _ in range(length)]
        row: dict[str, Any] = {"input_ids": ids}
        if several:
            row["labels"] = [float(chance.random() < 0.5) for _ in range(LABELS)]
        elif kind is HeadKind.SEQUENCE:
            row["labels"] = number % LABELS
        elif kind is HeadKind.TOKEN:
            row["labels"] = [chance.randrange(LABELS) if chance.random() < 0.6 else -100 for _ in ids]
        elif kind is HeadKind.SPAN:
            row |= {"start_positions": length - 3, "end_positions": length - 2}
        else:
            row["labels"] = [token if place >= length // 3 else -100 for place, token in enumerate(ids)]
        rows.append(row)
    return rows


class Steps(TrainerCallback):  # type: ignore[misc]
    """Keeps the gradient of each optimizer step, after clipping."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        named = model.named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Loss], Base]:
    folder = tmp_path_factory.mktemp("bases")
    encoder, decoder = tiny_encoder(folder / "encoder"), tiny_decoder(folder / "decoder")
    both = tiny_encoder_decoder(folder / "t5", "t5")
    return lambda loss: both if loss.aligned else decoder if loss.head is HeadKind.GENERATE else encoder


@pytest.fixture
def steps(tmp_path: Path, base_of: Callable[[Loss], Base]) -> Callable[..., tuple[dict[str, Tensor], float]]:
    """Return a function that trains one step, and gives its gradient and the loss that is logged."""

    def train(
        loss: Loss, rows: Sequence[dict[str, Any]], batch_size: int, accumulate: int, **settings: Any
    ) -> tuple[dict[str, Tensor], float]:
        torch.manual_seed(0)
        model = load_base(base_of(loss), loss.head, LABELS, dropout=0.0)
        if loss.head is HeadKind.SEQUENCE:
            several = isinstance(rows[0]["labels"], list)
            model.config.problem_type = f"{'multi' if several else 'single'}_label_classification"
        with peft_quiet():
            adapted = get_peft_model(
                model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
            )
        recipe = {
            "epochs": 1, "max_grad_norm": 0, "dropout": 0, "validation_fraction": 0, "dtype": "fp32",
        } | settings  # fmt: skip
        seen = Steps()
        done = fit(
            adapted,
            list(rows),
            Train.model_validate(recipe | {"batch_size": batch_size, "accumulate": accumulate}),
            folder=tmp_path / f"{batch_size}x{accumulate}",
            pad=0,
            loss=loss,
            validation=None,
            progress=silent,
            resume=False,
            callbacks=[seen],
        )
        assert (done.steps, len(seen.gradients)) == (1, 1)
        return seen.gradients[0], done.history[0]["loss"]

    return train


CASES = {
    "sequence": (Loss(HeadKind.SEQUENCE), False),
    "sequence, smoothed": (Loss(HeadKind.SEQUENCE, smoothing=0.2), False),
    "sequence, weighted": (Loss(HeadKind.SEQUENCE, weights=WEIGHTS), False),
    "sequence, all": (Loss(HeadKind.SEQUENCE, 0.2, WEIGHTS, 0.01), False),
    "sequence, l1": (Loss(HeadKind.SEQUENCE, l1=0.01), False),
    "several": (Loss(HeadKind.SEQUENCE), True),
    "several, all": (Loss(HeadKind.SEQUENCE, 0.2, WEIGHTS, 0.01), True),
    "token": (Loss(HeadKind.TOKEN), False),
    "token, smoothed": (Loss(HeadKind.TOKEN, smoothing=0.2), False),
    "token, weighted": (Loss(HeadKind.TOKEN, weights=WEIGHTS), False),
    "token, all": (Loss(HeadKind.TOKEN, 0.2, WEIGHTS, 0.01), False),
    "span": (Loss(HeadKind.SPAN), False),
    "span, l1": (Loss(HeadKind.SPAN, l1=0.01), False),
    "generate": (Loss(HeadKind.GENERATE), False),
    "generate, smoothed, l1": (Loss(HeadKind.GENERATE, smoothing=0.2, l1=0.01), False),
    "encoder-decoder": (Loss(HeadKind.GENERATE, aligned=True), False),
    "encoder-decoder, smoothed": (Loss(HeadKind.GENERATE, smoothing=0.2, aligned=True), False),
}


def same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for name, gradient in expected.items():
        bound = tolerance * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, rtol=tolerance, atol=bound)


@pytest.mark.parametrize("case", CASES)
def test_batches_of_one_step_have_the_gradient_and_loss_of_one_batch(case: str, steps: Any) -> None:
    loss, several = CASES[case]
    rows = rows_of(loss.head, several)
    whole, mean = steps(loss, rows, 8, 1)
    sizes = ((2, 4), (4, 2))
    for batch_size, accumulate in sizes if thorough() else [sizes[list(CASES).index(case) % 2]]:
        gradient, logged = steps(loss, rows, batch_size, accumulate)
        same(gradient, whole)
        assert logged == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("case", ["sequence, all", "several", "token, weighted", "span, l1", "generate"])
def test_a_last_group_of_fewer_and_shorter_batches_is_one_batch_too(case: str, steps: Any) -> None:
    loss, several = CASES[case]
    rows = rows_of(loss.head, several)[:5]
    whole, mean = steps(loss, rows, 8, 1)
    gradient, logged = steps(loss, rows, 2, 4)  # batches of 2, 2 and 1 row
    same(gradient, whole)
    assert logged == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("case", ["sequence", "token, all", "generate"])
def test_the_gradient_that_is_clipped_is_that_of_all_batches(case: str, steps: Any) -> None:
    loss, several = CASES[case]
    rows = rows_of(loss.head, several)
    whole, _ = steps(loss, rows, 8, 1, max_grad_norm=0.05)
    norm = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    assert norm.item() == pytest.approx(0.05, rel=1e-3)
    same(steps(loss, rows, 2, 4, max_grad_norm=0.05)[0], whole, 1e-4)


@pytest.mark.parametrize("case", ["sequence", "token, all", "span, l1", "generate"])
def test_in_bf16_they_are_as_one_batch_but_for_its_rounding(case: str, steps: Any) -> None:
    loss, several = CASES[case]
    rows = rows_of(loss.head, several)
    whole, mean = steps(loss, rows, 8, 1, dtype="bf16")
    gradient, logged = steps(loss, rows, 2, 4, dtype="bf16")
    together, apart = (torch.cat([g.flatten() for g in each.values()]) for each in (whole, gradient))
    assert (apart - together).norm() < 0.05 * together.norm()
    assert logged == pytest.approx(mean, rel=0.02)


def test_a_batch_without_a_labelled_token_adds_nothing(steps: Any) -> None:
    rows = rows_of(HeadKind.TOKEN)
    rows[0]["labels"] = [-100] * LENGTHS[0]
    loss = CASES["token"][0]
    whole, mean = steps(loss, rows, 8, 1)
    gradient, logged = steps(loss, rows, 1, 8)
    same(gradient, whole)
    assert logged == pytest.approx(mean, rel=1e-4)
