"""`train`: epochs, batches, optimizer, schedule, loss and validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["DEFAULT_BATCH", "DEFAULT_EPOCHS", "Train"]

PATIENCE = 2  # evaluations
DEFAULT_EPOCHS, DEFAULT_BATCH = 3.0, 32  # of a recipe that is not settled


class Train(Model):
    """Training settings."""

    epochs: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Passes over the training rows. Default: 3, from 10,000 rows on 2, below 2,000 rows as "
        "many as 250 steps take, at most 60 (for generated texts 8 below 1,000, 15 below 100); few-shot "
        "takes 40 to 100 steps.",
    )
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever `epochs` is.")
    batch_size: int | None = Field(
        None,
        gt=0,
        le=4096,
        description="Rows per batch. Default: 32, 16 below 2,000 rows, 64 for pairs of texts.",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate; default: 0.001 for lora and few-shot (lora: 0.002 for 2,000 to "
        "10,000 texts with labels), 0.01 for ia3, 0.003 for bitfit, 0.005 for head, 0.0001 for full.",
    )
    learning_rate_multiplier: float = Field(
        1.0, gt=0, le=100, description="Factor of the learning rate, also of a default one."
    )
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lora+", "schedule-free"] = Field(
        "adamw",
        description="lora+ uses a higher learning rate for the B matrices; schedule-free averages weights "
        "instead of decaying the learning rate.",
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, description="Nesterov momentum of sgd; other optimizers ignore it."
    )
    lora_plus_ratio: float = Field(
        16.0, ge=1, description="Ratio of the learning rates of the B and A matrices with lora+."
    )
    schedule: Literal["auto", "linear", "cosine", "constant", "exponential", "one-cycle", "plateau"] = Field(
        "auto",
        description="How the learning rate decays after the warmup: exponential to 1 %; plateau by half "
        "after each evaluation without improvement, without a warmup. auto is linear, or "
        "constant with schedule-free.",
    )
    warmup: float = Field(
        0.06, ge=0, lt=1, description="Share of the steps over which the learning rate rises."
    )
    weight_decay: float = Field(
        0.01,
        ge=0,
        le=1,
        description="L2 penalty: part of the gradient in adam and sgd, decoupled (AdamW) in the others.",
    )
    l1: float = Field(0.0, ge=0, le=1, description="Factor of an L1 penalty on all trained weights.")
    loss: Literal["auto", "mse", "huber", "ordinal"] = Field(
        "auto",
        description="Loss of a task that learns numbers: mse (squared error), huber (outliers weigh "
        "less), or ordinal (levels, such as stars). auto is ordinal for levels, else mse.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target that is spread over all labels."
    )
    balance: Literal["none", "weights", "sample"] = Field(
        "none",
        description="For rare labels: weights increases their loss, sample draws their rows more often; "
        "both by a factor of 20 at most.",
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient clipping; 0: none.")
    accumulate: int = Field(
        1,
        ge=1,
        le=1024,
        description="Batches per optimizer step (gradient accumulation); the result is that of one large "
        "batch.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, more time."
    )
    cache: bool = Field(
        True,
        description="Run the layers below the lowest trained one (`method.freeze`) once per row, without "
        "dropout, and cache their output.",
    )
    dropout: float | None = Field(
        0.0, ge=0, lt=1, description="Dropout of the base during training; null: the value in its config."
    )
    patience: int | None = Field(
        None,
        ge=0,
        description="Evaluations without improvement before training stops; 0: no evaluations and no early "
        "stopping. Default: 2 if there are at least 200 validation rows, else 0.",
    )
    validation_fraction: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Share of the training rows split off as validation rows, which choose the best "
        "checkpoint.",
    )
    validation_rows: int = Field(500, gt=0, description="Maximum number of validation rows.")
    checkpoint_steps: int | None = Field(
        None, gt=0, description="Steps between checkpoints and evaluations; default: one epoch."
    )
    seed: int = Field(
        13, ge=0, lt=2**31, description="Seed of the split, the row order and the initial weights."
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="auto is bf16 autocast if the hardware supports it, else fp32; fp16 needs a CUDA device.",
    )

    @property
    def stops_after(self) -> int:
        """Evaluations without improvement before training with validation rows stops; 0: never."""
        return PATIENCE if self.patience is None else self.patience

    @property
    def asks_for_validation(self) -> bool:
        """Whether a given value other than a default is about evaluations during training."""
        about = {"patience", "validation_fraction", "validation_rows", "checkpoint_steps"}
        fields = type(self).model_fields
        changed = any(getattr(self, name) != fields[name].default for name in about & self.model_fields_set)
        return changed or self.schedule == "plateau"

    def settled(self, values: Mapping[str, Any]) -> Train:
        """Return the section with other values, which do not count as given."""
        return type(self).model_construct(self.model_fields_set, **{**dict(self), **values})

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.optimizer == "schedule-free" and self.schedule not in ("auto", "constant"):
            raise ValueError(f"schedule {self.schedule!r} cannot be used with the optimizer schedule-free")
        if self.schedule == "plateau" and (self.patience == 0 or self.validation_fraction == 0):
            raise ValueError("schedule 'plateau' needs patience and validation_fraction above 0")
        return self
