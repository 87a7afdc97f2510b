"""Adapters from elsewhere whose head gives a number: regression, or ordered levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from hub.api import TargetKind
from hub.errors import BadAdapter, BadRequest
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask
from hub.store.content.weights import read_adapter
from hub.store.manifest import NumberScale
from hub.store.peft.peft_folder import head_rows

__all__ = ["number_scale", "refuse_regression"]


def number_scale(folder: Path, loaded: LoadedTask, labels: Sequence[str]) -> NumberScale | None:
    """Return the scale to store with an adapter; None for a task that learns labels.

    `labels` are the levels of an ordinal task, and must be left out for any number. The training rows are not
    known: center and spread are 0 and 1.

    Raises:
        BadAdapter: the head has not one output.
        BadRequest: `labels` do not suit the task.
    """
    if not loaded.numeric:
        return None
    if (rows := head_rows(read_adapter(folder))) != 1:
        raise BadAdapter(
            f"The task {loaded.spec.name!r} learns a number, which is one output, and the head of this "
            f"adapter has {rows}. Choose another task."
        )
    ordinal = loaded.spec.target is TargetKind.ORDINAL
    if labels and not ordinal:
        raise BadRequest(f"The task {loaded.spec.name!r} answers with any number: leave out --labels.")
    levels = _levels(labels) if ordinal else ()
    return NumberScale(kind=loaded.spec.target, center=0.0, spread=1.0, levels=levels)


def refuse_regression(loaded: LoadedTask, registry: Registry) -> None:
    """Raise BadAdapter for an adapter that gives a number, and a task that has labels."""
    numeric = [name for name, spec in registry.tasks().items() if spec.target is not TargetKind.LABELS]
    named = ", ".join(numeric) or "none is installed; see `hub plugins new --head number`"
    raise BadAdapter(
        f"config.json has problem_type regression, and the task {loaded.spec.name!r} answers with labels. "
        f"Give --task of one that learns numbers: {named}."
    )


def _levels(labels: Sequence[str]) -> tuple[float, ...]:
    try:
        levels = tuple(sorted({float(label) for label in labels}))
    except ValueError:
        levels = ()
    if len(levels) < 2 or not all(map(isfinite, levels)):
        raise BadRequest("Name the levels that the task answers with, as numbers: --labels 1,2,3,4,5")
    return levels
