"""`train`: how long and how fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.api import Model

__all__ = ["Train"]


class Train(Model):
    """How long and how fast."""

    epochs: float = Field(3, gt=0, le=1000, description="Passes over the training rows.")
    max_steps: int | None = Field(
        None, gt=0, description="Stop after this many steps, whatever `epochs` says."
    )
    batch_size: int = Field(32, gt=0, le=4096, description="Rows in one step.")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW weight decay.")
    warmup: float = Field(0.06, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls after."
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient clipping; 0: none.")
    dropout: float | None = Field(
        0.0, ge=0, lt=1, description="Dropout inside the base while training; none: as its config says."
    )
    patience: int = Field(
        2,
        ge=0,
        description="Evaluations without a better metric before stopping; 0: never, and none are made.",
    )
    validation_fraction: float = Field(
        0.05, ge=0, lt=1, description="Share of training rows kept apart to choose the best checkpoint by."
    )
    validation_rows: int = Field(500, gt=0, description="At most this many rows are kept apart for that.")
    checkpoint_steps: int | None = Field(
        None, gt=0, description="Steps between checkpoints and evaluations; none: once an epoch."
    )
    seed: int = Field(13, ge=0, lt=2**31, description="Seed of the split, the order and the initial weights.")
    dtype: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto is bf16 autocast where the processor has it, else fp32."
    )
