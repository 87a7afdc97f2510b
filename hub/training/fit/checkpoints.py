# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Finds, reads and moves Trainer's checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

__all__ = ["at_home", "ended_early", "last_checkpoint", "move", "step_of"]


def last_checkpoint(folder: Path) -> Path | None:
    """Return the latest complete checkpoint in `folder`, if any."""
    return max(_whole(folder), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def ended_early(checkpoint: Path, patience: int) -> TrainerState | None:
    """Return the state of a run that early stopping ended; Trainer would continue it."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    stopping = state.stateful_callbacks.get("EarlyStoppingCallback")
    waited = stopping["attributes"]["early_stopping_patience_counter"] if stopping else -1
    return state if waited >= patience else None


def move(source: Path, target: Path) -> None:
    """Move a folder of checkpoints; their states contain the path of the best one, which is updated."""
    shutil.rmtree(target, ignore_errors=True)
    at_home(source, target)
    source.rename(target)


def at_home(folder: Path, future: Path | None = None) -> None:
    """Update the path of the best checkpoint in checkpoints that lie in `folder`, or soon in `future`."""
    for checkpoint in _whole(folder):
        file = str(checkpoint / TRAINER_STATE_NAME)
        state = TrainerState.load_from_json(file)
        if state.best_model_checkpoint:
            best = (future or folder) / Path(state.best_model_checkpoint).name
            state.best_model_checkpoint = str(best)
            state.save_to_json(file)


def _whole(folder: Path) -> list[Path]:
    # Trainer writes the state last (transformers 5.23), so a checkpoint with a state is complete.
    return [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
