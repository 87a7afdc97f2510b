"""Compares two versions on the same rows: difference, paired bootstrap, McNemar's test."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.evaluation.goal import Goal, gain
from hub.evaluation.intervals import Figure, Paired, mcnemar, paired_bootstrap, resamples_for

if TYPE_CHECKING:
    import numpy.typing as npt

    Correctness = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

__all__ = ["Comparison", "compare"]

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metric of two versions on the same rows.

    `mcnemar` is the two-sided p-value of McNemar's test, None if rows are not simply correct or wrong.
    """

    metric: str
    rows: int
    first: float
    second: float
    paired: Paired
    mcnemar: float | None
    goal: Goal = "max"

    @property
    def gain(self) -> float:
        """The difference of the metric, positive if the first is better."""
        return gain(self.first, self.second, self.goal)

    @property
    def p_worse(self) -> float:
        """One-sided p-value for the first being worse."""
        return 1 - self.p_better

    @property
    def p_better(self) -> float:
        """One-sided p-value for the first being better."""
        return self.paired.worse if self.goal == "max" else 1 - self.paired.worse

    @property
    def is_worse(self) -> bool:
        """Whether the first is significantly worse."""
        return self.p_worse < SIGNIFICANT

    @property
    def is_better(self) -> bool:
        """Whether the first is significantly better."""
        return self.p_better < SIGNIFICANT

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "p_worse": self.p_worse, "p_better": self.p_better}

    def chance(self) -> str:
        """Return the p-values, one-sided in the direction of the difference, as text."""
        p = self.p_worse if self.gain < 0 else self.p_better
        tested = "" if self.mcnemar is None else f", McNemar p {_p(self.mcnemar)}"
        return f"p {_p(p)}{tested}"


def compare(
    metric: str,
    first: Figure,
    second: Figure,
    rows: int,
    seed: int,
    correct: Correctness | None = None,
    *,
    goal: Goal = "max",
    fast: bool = True,
) -> Comparison:
    """Compare the metric of two versions; `goal` is the direction in which it is better.

    `correct` has the correctness of the rows [N] for each version; `fast` is as for `resamples_for`.
    """
    every = np.arange(rows)
    return Comparison(
        metric=metric,
        rows=rows,
        first=first(every),
        second=second(every),
        paired=paired_bootstrap(first, second, rows, seed, resamples_for(rows, fast=fast)),
        mcnemar=mcnemar(*correct) if correct else None,
        goal=goal,
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
