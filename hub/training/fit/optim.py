# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Optimizers and learning rate schedules by their names in recipes."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from transformers import Adafactor, get_scheduler

from hub.evaluation.goal import Goal
from hub.recipe.sections.method import DEFAULT_RATE
from hub.recipe.sections.train import Train

__all__ = ["is_schedule_free", "make_optimizer", "make_schedule"]

FINAL_RATE = 0.01  # of an exponential schedule, relative to the peak
_NAMES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def is_schedule_free(optimizer: Any) -> bool:
    """Return whether the optimizer has an `eval` mode, which swaps in the averaged weights."""
    return callable(getattr(optimizer, "eval", None))


def make_optimizer(model: PeftModel, train: Train, decayed: Collection[str]) -> Optimizer:
    """Return the optimizer of the trained weights; those named in `decayed` have weight decay.

    LoRA+ is arXiv:2402.12354, schedule-free AdamW arXiv:2405.15682, Adafactor arXiv:1804.04235.
    """
    made: Optimizer
    rate, decay = train.learning_rate or DEFAULT_RATE, train.weight_decay
    fused = not torch.backends.mps.is_available()
    if train.optimizer == "lora+":
        made = create_loraplus_optimizer(
            model, AdamW, lr=rate, loraplus_lr_ratio=train.lora_plus_ratio, loraplus_weight_decay=decay
        )
        return made
    groups = _groups(model, decayed, decay)
    if train.optimizer == "sgd":
        return SGD(groups, lr=rate, momentum=train.momentum, nesterov=train.momentum > 0)
    if train.optimizer == "adam":
        return Adam(groups, lr=rate, fused=fused)
    if train.optimizer == "adafactor":
        made = Adafactor(groups, lr=rate, scale_parameter=False, relative_step=False)
        return made
    if train.optimizer == "schedule-free":
        from schedulefree import AdamWScheduleFree

        made = AdamWScheduleFree(groups, lr=rate)
        return made
    return AdamW(groups, lr=rate, fused=fused)


def make_schedule(
    optimizer: Optimizer, train: Train, steps: int, goal: Goal = "max"
) -> LRScheduler | ReduceLROnPlateau:
    """Return the learning rate schedule over `steps`, including the warmup.

    `goal` is the direction in which the metric is better, for plateau.
    """
    warmup = math.ceil(train.warmup * steps)
    kind = "linear" if train.schedule == "auto" else train.schedule
    if train.optimizer == "schedule-free":
        for group in optimizer.param_groups:
            group["warmup_steps"] = warmup  # the optimizer does the warmup and the averaging
        return LambdaLR(optimizer, lambda step: 1.0)
    if kind == "plateau":
        return ReduceLROnPlateau(optimizer, mode=goal, factor=0.5, patience=0)
    if kind == "exponential":
        return LambdaLR(optimizer, partial(_exponential, warmup=warmup, steps=steps))
    if kind == "one-cycle":
        moves = any(name in optimizer.defaults for name in ("momentum", "betas"))
        peaks = [group["lr"] for group in optimizer.param_groups]
        share = min(max(train.warmup, 1 / steps), 0.99)
        return OneCycleLR(optimizer, peaks, total_steps=steps + 1, pct_start=share, cycle_momentum=moves)
    scheduler: LRScheduler = get_scheduler(_NAMES[kind], optimizer, warmup, steps)
    return scheduler


def _exponential(step: int, *, warmup: int, steps: int) -> float:
    if step < warmup:
        return step / warmup
    return float(FINAL_RATE ** ((step - warmup) / max(1, steps - warmup)))


def _groups(model: PeftModel, decayed: Collection[str], decay: float) -> list[dict[str, Any]]:
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for name, parameter in named if name in decayed], "weight_decay": decay},
        {"params": [parameter for name, parameter in named if name not in decayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
