"""What a recipe leaves open and its training rows decide: batch size, epochs and learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hub.api import HeadKind

__all__ = ["BATCH", "FEW_BATCH", "FEW_SHOT_BATCH", "FEW_SHOT_CHECKPOINT", "TrainingRows"]

# docs/results.md compares them with others, and with full fine-tuning.
MIN_STEPS = 250  # of few rows, which need many epochs
FEW_ROWS, FEW_BATCH, BATCH = 2000, 16, 32
VECTOR_BATCH = 64  # rows: each query is told apart from the texts of its batch
MANY_ROWS, MANY_EPOCHS, EPOCHS = 10_000, 2, 3
MAX_EPOCHS = 60
GENERATED_EPOCHS = ((100, 15), (1000, 8))  # whose rows cost more: below so many
FEW_SHOT_BATCH = 32  # rows: each is compared with all others of its batch
FEW_SHOT_CHECKPOINT = 10  # steps between checkpoints
MIN_FEW_SHOT_STEPS, MAX_FEW_SHOT_STEPS = 40, 100  # of contrastive tuning
SHORT_RATE = 0.002  # of LoRA, where the epochs are few steps


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows of a run, as far as they decide."""

    count: int
    family: str  # type of the base
    head: HeadKind = HeadKind.SEQUENCE
    classes: int = 0  # each row has one of so many labels; 0: it has several, or none
    labels: bool = False  # the rows are texts with labels

    @property
    def batch_size(self) -> int:
        """Rows per batch."""
        batch = FEW_BATCH if self.count < FEW_ROWS else BATCH
        return max(batch, VECTOR_BATCH) if self.head is HeadKind.EMBEDDING else batch

    def epochs(self, batch_size: int) -> int:
        """Return the passes over the rows in batches of some size."""
        if self.count >= FEW_ROWS:
            return EPOCHS if self.count < MANY_ROWS else MANY_EPOCHS
        if self.head is HeadKind.GENERATE:
            return next((epochs for limit, epochs in GENERATED_EPOCHS if self.count < limit), EPOCHS)
        steps = math.ceil(self.count / batch_size)
        return max(EPOCHS, min(MAX_EPOCHS, math.ceil(MIN_STEPS / steps)))

    @property
    def few_shot_steps(self) -> int:
        """Steps of contrastive tuning: one for each row, within limits."""
        return min(max(self.count, MIN_FEW_SHOT_STEPS), MAX_FEW_SHOT_STEPS)

    @property
    def rate(self) -> float | None:
        """The learning rate of LoRA; None: that of the method."""
        return SHORT_RATE if self.labels and FEW_ROWS <= self.count < MANY_ROWS else None
