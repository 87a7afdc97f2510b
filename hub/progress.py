"""The progress of a training run."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "named", "silent"]


class Progress(Protocol):
    """Called often, from the training thread; `total` 0: unknown; `note` is short, such as the loss."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Ignore progress."""


def named(progress: Progress, name: str) -> Progress:
    """Return a progress that prefixes each stage with its context."""

    def shown(stage: str, done: int, total: int, note: str = "") -> None:
        progress(f"{name}: {stage}", done, total, note)

    return shown
