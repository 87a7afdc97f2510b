# ruff: noqa: TID253 - trains a tiny model
"""Every optimizer learns, every schedule moves as it is said to, and the losses are what they are called."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from hub.api import HeadKind
from hub.errors import BadRecipe
from hub.recipe.sections.train import Train
from hub.training.arguments import pick_dtype
from hub.training.fit.loss import Loss
from hub.training.fit.optim import is_schedule_free, make_optimizer, make_schedule

STEPS = 100


class Small(nn.Module):
    """A regression with the parameter names of a LoRA layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(8, 4, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(4, 1, bias=False)})
        self.frozen = nn.Linear(8, 1)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(x) + self.lora_B["default"](self.lora_A["default"](x))


def train_of(**settings: object) -> Train:
    return Train.model_validate(settings)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adafactor", "lora+", "schedule-free"])
def test_every_optimizer_lowers_the_loss_and_leaves_what_is_frozen_alone(name: str) -> None:
    model, train = Small(), train_of(optimizer=name, learning_rate=0.02, warmup=0.1)
    frozen = model.frozen.weight.clone()
    names = [name for name, _ in model.named_parameters()]
    optimizer = make_optimizer(model, train, names)
    schedule = make_schedule(optimizer, train, STEPS)
    x = torch.randn(64, 8)
    y = x.sum(1, keepdim=True)
    losses = []
    if is_schedule_free(optimizer):
        optimizer.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    if is_schedule_free(optimizer):
        optimizer.eval()
    assert functional.mse_loss(model(x), y).item() < losses[0] / 2
    assert torch.equal(model.frozen.weight, frozen)


def test_lora_plus_gives_b_matrices_the_higher_rate() -> None:
    model, train = Small(), train_of(optimizer="lora+", learning_rate=0.001, lora_plus_ratio=8)
    rates = {
        id(parameter): group["lr"]
        for group in make_optimizer(model, train, []).param_groups
        for parameter in group["params"]
    }
    assert rates[id(model.lora_A["default"].weight)] == 0.001
    assert rates[id(model.lora_B["default"].weight)] == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        ("auto", 0.0),
        ("linear", 0.0),
        ("cosine", 0.0),
        ("constant", 1.0),
        ("exponential", 0.01),
        ("one-cycle", 0.0),
    ],
)
def test_a_schedule_rises_over_the_warmup_and_ends_where_it_says(schedule: str, end: float) -> None:
    train = train_of(schedule=schedule, warmup=0.2, learning_rate=1.0)
    optimizer = make_optimizer(Small(), train, [])
    moves = make_schedule(optimizer, train, STEPS)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        moves.step()
    assert rates[:20] == sorted(rates[:20])
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] == pytest.approx(end, abs=0.02)


def test_a_plateau_of_an_error_is_where_it_does_not_fall() -> None:
    train = train_of(schedule="plateau", learning_rate=1.0)
    optimizer = make_optimizer(Small(), train, [])
    moves = make_schedule(optimizer, train, STEPS, "min")
    rates = []
    for metric in (0.5, 0.4, 0.3, 0.3, 0.7):
        moves.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.25]


def test_a_plateau_halves_the_rate_when_the_metric_does_not_grow() -> None:
    train = train_of(schedule="plateau", learning_rate=1.0)
    optimizer = make_optimizer(Small(), train, [])
    moves = make_schedule(optimizer, train, STEPS)
    rates = []
    for metric in (0.5, 0.6, 0.6, 0.7, 0.1):
        moves.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "schedule-free", "schedule": "linear"},
        {"schedule": "plateau", "patience": 0},
        {"schedule": "plateau", "validation_fraction": 0},
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="schedule"):
        train_of(**settings)


def test_fp16_needs_cuda() -> None:
    if torch.cuda.is_available():
        assert pick_dtype("fp16") == "fp16"
    else:
        with pytest.raises(BadRecipe, match="needs a CUDA device"):
            pick_dtype("fp16")


class Scored:
    """A model that says the logits it was given."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.loss = torch.tensor(7.0)
        self.weight = nn.Parameter(torch.tensor([-2.0, 3.0]))

    def __call__(self, **inputs: torch.Tensor) -> Scored:
        return self

    def parameters(self) -> list[nn.Parameter]:
        return [self.weight]


def test_smoothing_moves_targets_towards_all_labels() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    loss, _ = Loss(HeadKind.SEQUENCE, smoothing=0.3)(Scored(logits), {"labels": labels})
    logs = torch.log_softmax(logits, -1)[0]
    assert loss.item() == pytest.approx(-(0.8 * logs[0] + 0.1 * logs[1] + 0.1 * logs[2]).item())


def test_padded_tokens_are_not_learned_and_generation_says_the_next_one() -> None:
    logits = torch.zeros(1, 3, 2)
    labels = torch.tensor([[1, 0, -100]])
    token, _ = Loss(HeadKind.TOKEN, smoothing=0.1)(Scored(logits), {"labels": labels})
    assert token.item() == pytest.approx(math.log(2))
    sharp = torch.tensor([[[-9.0, 9.0], [9.0, -9.0], [0.0, 0.0]]])
    right = torch.tensor([[0, 1, 0]])  # the first position says 1, the second 0
    said, _ = Loss(HeadKind.GENERATE, smoothing=1e-6)(Scored(sharp), {"labels": right})
    assert said.item() < 1e-3
    own = torch.tensor([[1, 0, -100]])  # of an encoder-decoder: the first position says 1
    said, _ = Loss(HeadKind.GENERATE, smoothing=1e-6, aligned=True)(Scored(sharp), {"labels": own})
    assert said.item() < 1e-3


def test_weights_count_a_label_more_and_several_labels_each_by_its_own() -> None:
    logits, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    weights = torch.tensor([1.0, 3.0])
    loss, _ = Loss(HeadKind.SEQUENCE, weights=weights)(Scored(logits), {"labels": labels})
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, labels, weight=weights).item())
    several = torch.tensor([[1.0, 0.0]])
    loss, _ = Loss(HeadKind.SEQUENCE, weights=weights)(Scored(logits[:1]), {"labels": several})
    expected = functional.binary_cross_entropy_with_logits(logits[:1], several, pos_weight=weights)
    assert loss.item() == pytest.approx(expected.item())


def test_l1_is_added_to_the_models_own_loss() -> None:
    loss, _ = Loss(HeadKind.SPAN, l1=0.1)(Scored(torch.zeros(1)), {})
    assert loss.item() == pytest.approx(7.5)
    assert Loss(HeadKind.SPAN)(Scored(torch.zeros(1)), {})[0].item() == 7.0
