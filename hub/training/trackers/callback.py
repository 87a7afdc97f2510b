# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The Trainer callback that passes logs to the trackers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hub.training.trackers.fan_out import Trackers

__all__ = ["Logged"]


class Logged(TrainerCallback):  # type: ignore[misc]
    """Passes the log to the trackers, starting with the steps before a `--resume`."""

    def __init__(self, trackers: Trackers) -> None:
        self._trackers = trackers

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._trackers.logged([entry for entry in state.log_history if "train_runtime" not in entry])
