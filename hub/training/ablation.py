"""Ablation of augmentation: trains without copies, and compares both models on the held-out rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hub.data.dataset import InvalidRows
from hub.evaluation.assess import Measured, measured
from hub.evaluation.comparison import Comparison
from hub.evaluation.stored.measure import compared
from hub.progress import Progress, named
from hub.recipe.sections.train import DEFAULT_EPOCHS
from hub.training.plan import Plan
from hub.training.run import Outcome, run, without_copies

__all__ = ["WITHOUT", "Ablation", "ablate"]

WITHOUT = "without_copies"


@dataclass(frozen=True, slots=True)
class Ablation:
    """The metric with and without copies, on the same `rows` held-out rows.

    `low` and `high` are the 95 % interval of `difference` (with minus without). `p` is one-sided, in the
    direction of the difference; `mcnemar` is two-sided, None if rows are not simply correct or wrong.
    `copies` counts by change, `dropped` by change and reason. `seconds` is the time without copies.
    """

    metric: str
    rows: int
    with_copies: float
    without_copies: float
    difference: float
    low: float
    high: float
    p: float
    mcnemar: float | None
    resamples: int
    steps: int
    steps_without: int
    seconds: float
    copies: Mapping[str, int]
    dropped: Mapping[str, Mapping[str, int]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, found: Comparison, ours: Outcome, plain: Outcome, seconds: float) -> Ablation:
        """Combine a comparison (the model with copies first) with the outcomes of both runs."""
        paired = found.paired
        return cls(
            metric=found.metric,
            rows=found.rows,
            with_copies=found.first,
            without_copies=found.second,
            difference=paired.difference,
            low=paired.low,
            high=paired.high,
            p=found.p_worse if found.gain < 0 else found.p_better,
            mcnemar=found.mcnemar,
            resamples=paired.resamples,
            steps=ours.fitted.steps,
            steps_without=plain.fitted.steps,
            seconds=round(seconds, 1),
            copies={
                name: count for name, count in ours.augmented.items() if name not in ("dropped", "unusable")
            },
            dropped={name: dict(reasons) for name, reasons in ours.dropped.items()},
        )


def ablate(
    plan: Plan, outcome: Outcome, found: Measured, work: Path, progress: Progress, resume: bool
) -> Ablation | None:
    """Train a plan without copies and compare; None unless `augment.ablation` is set.

    Seed, number of steps and steps between evaluations equal those of the run with copies, whose epochs are
    longer: the runs differ in the rows, not in the length of training.
    """
    if not plan.recipe.augment.ablation:
        return None
    started = time.perf_counter()
    folder = work / WITHOUT
    folder.mkdir(exist_ok=True)
    shown = named(progress, "without copies")
    plain = run(_as_long(without_copies(plan), outcome), InvalidRows(plan.recipe), folder, shown, resume)
    seconds = time.perf_counter() - started
    theirs = measured(plain.held_out, plain.scored)
    return Ablation.of(compared(found, theirs, plan.recipe.train.seed), outcome, plain, seconds)


def _as_long(plan: Plan, outcome: Outcome) -> Plan:
    """Return the plan with the number of steps of the run with copies, before early stopping."""
    train, fitted = plan.recipe.train, outcome.fitted
    epoch = max(1, round(fitted.steps / fitted.epochs)) if fitted.epochs else 1
    settled = train.model_copy(
        update={
            "max_steps": train.max_steps or round(epoch * (train.epochs or DEFAULT_EPOCHS)),
            "checkpoint_steps": train.checkpoint_steps or epoch,
        }
    )
    return replace(plan, recipe=plan.recipe.model_copy(update={"train": settled}))
