"""What `hub plugins new` can write; imported when the command line starts, so it is light."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["HEADS", "KINDS", "NewHead", "NewKind"]

NewHead = Literal["sequence", "number", "generate"]
"""What the model of a new task computes; each has a folder of templates."""

NewKind = Literal[
    "task",
    "reader",
    "metric",
    "method",
    "engine",
    "observer",
    "route",
    "command",
    "cleaner",
    "augmenter",
    "explainer",
    "tracker",
    "base-source",
    "renderer",
]

HEADS: tuple[NewHead, ...] = get_args(NewHead)
KINDS: tuple[NewKind, ...] = get_args(NewKind)
