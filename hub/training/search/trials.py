"""The result of a search: the value of each trial, and the best trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hub.evaluation.goal import Goal, gain
from hub.recipe.recipe import Recipe
from hub.store.manifest import Search, SearchTrial

__all__ = ["State", "Trial", "Tuned"]

MAX_LISTED = 500  # in a manifest
State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial; `metric` is its best on the validation rows, None without an evaluation.

    `curve` has the metric of each evaluation; `reason` is that of a failure.
    """

    number: int
    values: Mapping[str, Any]
    state: State
    metric: float | None
    curve: Sequence[float] = ()
    seconds: float = 0.0
    steps: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tuned:
    """All trials of a search, in order; `new` is the number of trials of this call.

    `importance` is the share of the metric's variance that each key explains, {} if it is undefined.
    """

    recipe: Recipe
    metric: str
    sampler: str
    space: Mapping[str, Any]
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]
    new: int
    seconds: float
    goal: Goal = "max"

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best metric, the earliest if there are several."""
        finished = [trial for trial in self.trials if trial.state == "complete" and trial.metric is not None]
        return max(finished, key=lambda trial: gain(trial.metric or 0.0, 0.0, self.goal), default=None)

    @property
    def winner(self) -> Recipe | None:
        """The recipe with the best values."""
        return self.recipe.changed(self.best.values) if self.best else None

    def record(self) -> Search | None:
        """Return the entry for the manifest of the best version."""
        best = self.best
        if best is None or best.metric is None:
            return None
        states = [trial.state for trial in self.trials]
        return Search(
            trials=len(states),
            pruned=states.count("pruned"),
            failed=states.count("failed"),
            sampler=self.sampler,
            space=dict(self.space),
            metric=self.metric,
            best=best.metric,
            values=dict(best.values),
            seconds=round(sum(trial.seconds for trial in self.trials), 1),
            listed=tuple(_listed(trial) for trial in self.trials[-MAX_LISTED:]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "metric": self.metric,
            "sampler": self.sampler,
            "space": dict(self.space),
            "trials": [asdict(trial) for trial in self.trials],
            "best": asdict(self.best) if self.best else None,
            "importance": dict(self.importance),
            "new": self.new,
            "seconds": round(self.seconds, 1),
        }


def _listed(trial: Trial) -> SearchTrial:
    return SearchTrial(
        number=trial.number,
        state=trial.state,
        metric=trial.metric,
        values=dict(trial.values),
        seconds=round(trial.seconds, 1),
    )
