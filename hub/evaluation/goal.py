"""The direction in which a metric is better."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

__all__ = ["Goal", "best_of", "explain", "gain", "worst"]

Goal = Literal["max", "min"]


def gain(first: float, second: float, goal: Goal) -> float:
    """Return the difference, positive if the first is better."""
    return first - second if goal == "max" else second - first


def best_of(values: Iterable[float], goal: Goal) -> float | None:
    """Return the best value; None if there are no values."""
    return (max if goal == "max" else min)(values, default=None)


def worst(goal: Goal) -> float:
    """Return infinity with the sign that makes every value better."""
    return -math.inf if goal == "max" else math.inf


def explain(goal: Goal) -> str:
    """Return a note for readers if lower is better, else ""."""
    return "" if goal == "max" else " (lower is better)"
