# ruff: noqa: TID253 - imported when a search starts, and by nothing else
"""Runs one trial of a study after another, in this process or beside others that do the same."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from hub.errors import BadPlugin, BadRecipe
from hub.evaluation.goal import Goal, best_of, worst
from hub.progress import Progress, silent
from hub.recipe.recipe import Recipe
from hub.recipe.sections.tune import Dimension
from hub.training.search.session import OnEvaluation
from hub.training.search.space import Space

__all__ = ["DETAILS", "LOST", "NUMBER", "STARTUP", "Prepared", "Run", "Trains", "finished_trials", "lose"]

STARTUP = 5  # random trials before the sampler is guided and trials are pruned
MAX_DEATHS = 3  # of the workers that run a trial
LOST = "interrupted"
NUMBER = "number"
DETAILS = "details"
_DIED = "died"


class Prepared(Protocol):
    """What a search has to know of its prepared data: the hash of the plan, and the metric with its goal."""

    @property
    def sha256(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def goal(self) -> Goal: ...


@runtime_checkable
class Trains(Prepared, Protocol):
    """Prepared data that trials can be trained on: `Session`."""

    def train(
        self, recipe: Recipe, on_evaluation: OnEvaluation, progress: Progress, best: float | None
    ) -> Any: ...


class Run:
    """Runs trials; the values of a trial depend only on seed, number and earlier trials.

    `shared`: other processes run trials of the study at the same time.
    """

    def __init__(
        self,
        session: Trains,
        space: Space,
        study: optuna.Study,
        sampler: str,
        progress: Progress = silent,
        shared: bool = False,
    ) -> None:
        self._grid = space.grid() if sampler == "grid" else None
        self._session, self._space, self._study, self._progress = session, space, study, progress
        self._distributions = {key: _distribution(one) for key, one in space.dimensions.items()}
        self._shared = shared

    def all(self, numbers: Iterator[int], is_best: Callable[[int], bool]) -> Iterator[int]:
        """Run trials one after another; a `RunAll`."""
        for number in numbers:
            self.one(number)
            yield number

    def one(self, number: int) -> None:
        """Run a trial and record its result.

        If a worker died while it ran this trial, it is repeated with the same values, or marked as failed if
        that happened too often.
        """
        repeated, deaths = self._of_dead_worker(number)
        trial = self._ask(number, repeated)
        details: dict[str, Any] = {"curve": [], "steps": 0, "reason": ""}
        details["values"] = {
            key: _decode(self._space.dimensions[key], value) for key, value in trial.params.items()
        }
        begun, goal = time.perf_counter(), self._session.goal
        if deaths >= MAX_DEATHS:
            state = TrialState.FAIL
            details["reason"] = f"The worker died {deaths} times; perhaps it has too little memory."
        else:
            state = self._train(trial, details)
        trial.set_user_attr(DETAILS, details | {"seconds": round(time.perf_counter() - begun, 2)})
        value = best_of(details["curve"], goal) if state is TrialState.COMPLETE else None
        self._study.tell(trial, value, state)

    def _ask(self, number: int, repeated: dict[str, Any] | None) -> optuna.Trial:
        study, recipe = self._study, self._space.recipe
        sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(
            seed=random.Random(f"{recipe.train.seed}-{number}").randrange(2**32),
            n_startup_trials=STARTUP,
            constant_liar=self._shared,
        )
        fixed = self._grid[number] if self._grid is not None else self._space.own() if number == 0 else {}
        encoded = repeated or {key: _encode(value) for key, value in fixed.items()}
        if encoded and self._shared:  # another process could take an enqueued trial
            sampler = optuna.samplers.PartialFixedSampler(encoded, sampler)
        elif encoded:
            study.enqueue_trial(encoded)
        study.sampler = sampler
        trial = study.ask(self._distributions)
        trial.set_user_attr(NUMBER, number)
        return trial

    def _train(self, trial: optuna.Trial, details: dict[str, Any]) -> TrialState:
        recipe, goal = self._space.recipe, self._session.goal

        def watch(evaluation: int, metric: float) -> None:
            details["curve"].append(metric)
            trial.report(metric, evaluation)
            if recipe.tune.prune == "median" and trial.should_prune():
                raise optuna.TrialPruned

        ended = [one.value for one in finished_trials(self._study) if one.value is not None]
        best = best_of([worst(goal), *ended], goal)
        try:
            fitted = self._session.train(self._space.applied(details["values"]), watch, self._progress, best)
            details["steps"] = fitted.steps
        except optuna.TrialPruned:
            return TrialState.PRUNED
        except (BadRecipe, BadPlugin) as error:  # the latter: its metric is undefined
            details["reason"] = str(error)
            return TrialState.FAIL
        return TrialState.COMPLETE

    def _of_dead_worker(self, number: int) -> tuple[dict[str, Any] | None, int]:
        """Mark this trial as lost if it still runs; return its values, and how often that happened."""
        values, storage = None, self._study._storage
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if trial.user_attrs.get(NUMBER) == number:
                values = dict(trial.params)
                storage.set_trial_user_attr(trial._trial_id, _DIED, True)
                lose(storage, trial)
        every = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        died = [one for one in every if _DIED in one.user_attrs and one.user_attrs.get(NUMBER) == number]
        return values, len(died)


def lose(storage: Any, trial: FrozenTrial) -> None:
    """Mark a trial as interrupted: it does not count."""
    # `_trial_id` is private in Optuna 5, and the storage takes no other id.
    storage.set_trial_user_attr(trial._trial_id, LOST, True)
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ran to their end."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.values:
        return CategoricalDistribution([_encode(value) for value in dimension.values])
    low, high, step = dimension.low or 0.0, dimension.high or 0.0, dimension.step
    if dimension.int:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=step)


def _encode(value: Any) -> Any:
    """Return a value of a type that Optuna's categories accept."""
    return value if value is None or isinstance(value, str | int | float | bool) else json.dumps(value)


def _decode(dimension: Dimension, value: Any) -> Any:
    return next((one for one in dimension.values if _encode(one) == value), value)
