"""`train`: how long and how fast."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["Train"]


class Train(Model):
    """How long and how fast."""

    epochs: float = Field(3, gt=0, le=1000, description="Passes over the training rows.")
    max_steps: int | None = Field(
        None, gt=0, description="Stop after this many steps, whatever `epochs` says."
    )
    batch_size: int = Field(32, gt=0, le=4096, description="Rows in one step.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate; none: 0.001 for lora, 0.01 for ia3, 0.003 for bitfit, 0.005 for "
        "head, 0.0001 for full.",
    )
    optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lora+", "schedule-free"] = Field(
        "adamw",
        description="lora+ gives the B matrices a higher rate; schedule-free averages weights instead of "
        "lowering the rate.",
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, description="Nesterov momentum of sgd; other optimizers have none."
    )
    lora_plus_ratio: float = Field(
        16.0, ge=1, description="How many times the rate of A matrices those of B have under lora+."
    )
    schedule: Literal["auto", "linear", "cosine", "constant", "exponential", "one-cycle", "plateau"] = Field(
        "auto",
        description="How the rate falls after the warmup: exponential to 1 %, plateau by half at each "
        "evaluation without a better metric, and then there is no warmup. auto is linear, and none under "
        "schedule-free.",
    )
    warmup: float = Field(0.06, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    weight_decay: float = Field(
        0.01, ge=0, le=1, description="L2: in adam and sgd as part of the gradient, else decoupled (AdamW)."
    )
    l1: float = Field(0.0, ge=0, le=1, description="Times the sum of all trained weights' absolute values.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target that is spread over all labels."
    )
    balance: Literal["none", "weights", "sample"] = Field(
        "none",
        description="For rare labels: weights makes their loss count more, sample draws their rows more "
        "often; at most 20 times.",
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient clipping; 0: none.")
    accumulate: int = Field(
        1, ge=1, le=1024, description="Batches per optimizer step, which act as one batch of all their rows."
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, more time."
    )
    cache: bool = Field(
        True,
        description="Run layers below the lowest trained one (`method.freeze`) once for each row, without "
        "dropout, and look up what they gave from then on.",
    )
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
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="auto is bf16 autocast where the processor has it, else fp32; fp16 needs a CUDA device.",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.optimizer == "schedule-free" and self.schedule not in ("auto", "constant"):
            raise ValueError(f"schedule {self.schedule!r} does not go with the optimizer schedule-free")
        if self.schedule == "plateau" and (self.patience == 0 or self.validation_fraction == 0):
            raise ValueError(
                "schedule 'plateau' looks at evaluations: patience and validation_fraction are 0"
            )
        return self
