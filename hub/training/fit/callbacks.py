# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Callbacks of the training loop: progress, epoch order, divergence, trackers."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hub.api import BadRecipe
from hub.progress import Progress
from hub.training.fit.batches import Batches
from hub.training.trackers.fan_out import Trackers

__all__ = ["TrackerCallback", "TrainingCallback"]


class TrainingCallback(TrainerCallback):  # type: ignore[misc]
    """Reports steps and loss, sets the order of each epoch, and stops a run that diverges."""

    def __init__(self, progress: Progress, batches: Batches) -> None:
        self._progress = progress
        self._batches = batches
        self._note = ""

    def on_epoch_begin(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._batches.epoch = math.floor((state.epoch or 0.0) + 1e-6)

    def on_epoch_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        control.should_log = True  # an epoch may have fewer steps than the logging interval

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._progress("train", state.global_step, state.max_steps, self._note)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise BadRecipe(
                f"train.learning_rate: training diverged at step {state.global_step} (the loss is {loss}). "
                f"Lower it; it is {args.learning_rate:g}."
            )
        self._note = f"loss {loss:.3f}"


class TrackerCallback(TrainerCallback):  # type: ignore[misc]
    """Passes the log to the trackers; after `--resume`, including the steps before."""

    def __init__(self, trackers: Trackers) -> None:
        self._trackers = trackers

    def on_log(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._trackers.logged([entry for entry in state.log_history if "train_runtime" not in entry])
