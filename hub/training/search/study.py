"""Runs an Optuna search over a session; it can be resumed from its SQLite file."""

from __future__ import annotations

import hashlib
import json
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hub.errors import BadRecipe, Conflict, MissingExtra
from hub.evaluation.goal import Goal, best_of, worst
from hub.progress import Progress, silent
from hub.recipe.sections.tune import Dimension
from hub.training.search.session import Session
from hub.training.search.space import Space
from hub.training.search.trials import Trial, Tuned

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.trial import FrozenTrial, TrialState
except ModuleNotFoundError:
    raise MissingExtra.of("hub tune", "tune") from None

__all__ = ["STUDY_FILE", "search"]

STUDY_FILE = "study.db"
STARTUP = 5  # random trials before the sampler is guided and trials are pruned
MIN_TRIALS = 4  # finished trials for importances
_STUDY = "study"
_OF = "of"  # hash of the recipe, data, base and space
_LOST = "interrupted"
_DETAILS = "details"
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}

optuna.logging.set_verbosity(optuna.logging.ERROR)


def search(
    session: Session,
    space: Space,
    folder: Path,
    *,
    trials: int,
    sampler: str,
    resume: bool = False,
    timeout: float | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Run trials until there are `trials`; none is started after `timeout` seconds.

    The first trial of the sampler "bayes" has the recipe's own values. With `resume` the trials in `folder`
    count; an interrupted one is repeated with the same values, so that the result is the same.

    Raises:
        BadRecipe: the space has no finite grid.
        Conflict: `resume`, and the trials in `folder` have another recipe, data set, base or space.
    """
    started = time.perf_counter()
    with _study(session, space, folder, sampler, resume) as study:
        before = len(_counted(study))
        run = _Run(session, space, study, sampler, progress)
        most = min(trials, len(run.grid)) if run.grid is not None else trials
        for number in range(before, most):
            if timeout is not None and time.perf_counter() - started >= timeout:
                break
            progress("tune", number, most)
            run.one(number)
            progress("tune", number + 1, most)
        found = tuple(_trial(number, trial, session.goal) for number, trial in enumerate(_counted(study)))
        importance = _importance(study)
    return Tuned(
        recipe=space.recipe,
        metric=session.metric,
        goal=session.goal,
        sampler=sampler,
        space=space.to_json(),
        trials=found,
        importance=importance,
        new=len(found) - before,
        seconds=time.perf_counter() - started,
    )


class _Run:
    """Runs trials; the values of a trial depend only on seed, number and earlier trials."""

    def __init__(
        self, session: Session, space: Space, study: optuna.Study, sampler: str, progress: Progress
    ) -> None:
        self.grid = space.grid() if sampler == "grid" else None
        self._session, self._space, self._study, self._progress = session, space, study, progress
        self._distributions = {key: _distribution(one) for key, one in space.dimensions.items()}

    def one(self, number: int) -> None:
        """Run a trial and record its result."""
        study, recipe = self._study, self._space.recipe
        study.sampler = optuna.samplers.TPESampler(
            seed=random.Random(f"{recipe.train.seed}-{number}").randrange(2**32), n_startup_trials=STARTUP
        )
        fixed = self.grid[number] if self.grid is not None else self._space.own() if number == 0 else {}
        if fixed:
            study.enqueue_trial({key: _encode(value) for key, value in fixed.items()})
        trial = study.ask(self._distributions)
        values = {key: _decode(self._space.dimensions[key], value) for key, value in trial.params.items()}
        begun, curve, steps, reason = time.perf_counter(), [], 0, ""

        def watch(evaluation: int, metric: float) -> None:
            curve.append(metric)
            trial.report(metric, evaluation)
            if recipe.tune.prune == "median" and trial.should_prune():
                raise optuna.TrialPruned

        goal = self._session.goal
        ended = [one.value for one in _finished(study) if one.value is not None]
        best = best_of([worst(goal), *ended], goal)
        try:
            steps = self._session.train(self._space.applied(values), watch, self._progress, best).steps
            state = TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except BadRecipe as error:
            state, reason = TrialState.FAIL, str(error)
        details = {"values": values, "curve": curve, "steps": steps, "reason": reason}
        trial.set_user_attr(_DETAILS, details | {"seconds": round(time.perf_counter() - begun, 2)})
        study.tell(trial, best_of(curve, goal) if state is TrialState.COMPLETE else None, state)


@contextmanager
def _study(
    session: Session, space: Space, folder: Path, sampler: str, resume: bool
) -> Iterator[optuna.Study]:
    file = folder / STUDY_FILE
    if not resume:
        for path in folder.glob(f"{STUDY_FILE}*"):
            path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    try:
        direction: Literal["minimize", "maximize"] = "maximize" if session.goal == "max" else "minimize"
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
        study = optuna.create_study(
            storage=storage, study_name=_STUDY, direction=direction, pruner=pruner, load_if_exists=True
        )
        of = _fingerprint(session, space, sampler)
        if study.user_attrs.setdefault(_OF, of) != of:
            raise Conflict(
                f"The trials in {folder} cannot be resumed: their recipe, data, base or space was different. "
                "Undo the change, or start a new search without --resume."
            )
        study.set_user_attr(_OF, of)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            # `_trial_id` is private in Optuna 4, and the storage takes no other id.
            storage.set_trial_user_attr(trial._trial_id, _LOST, True)
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ended, in order, without interrupted ones."""
    ended = study.get_trials(deepcopy=False, states=tuple(_STATES))
    return [trial for trial in ended if _LOST not in trial.user_attrs]


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _trial(number: int, trial: FrozenTrial, goal: Goal) -> Trial:
    details = trial.user_attrs[_DETAILS]
    return Trial(
        number=number,
        values=details["values"],
        state=_STATES[trial.state],  # type: ignore[arg-type]
        metric=best_of(details["curve"], goal),
        curve=tuple(details["curve"]),
        seconds=details["seconds"],
        steps=details["steps"],
        reason=details["reason"],
    )


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return the share of the metric's variance that each key explains over the finished trials.

    By fANOVA (Hutter and others, ICML 2014).
    """
    finished = _finished(study)
    if len(finished) < MIN_TRIALS or len({one.value for one in finished}) < 2:
        return {}
    varied = [key for key in finished[0].params if len({str(one.params[key]) for one in finished}) > 1]
    if not varied:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    return {key: round(value, 4) for key, value in found.items()}


def _fingerprint(session: Session, space: Space, sampler: str) -> str:
    recipe = space.recipe
    parts: tuple[Any, ...] = (
        session.plan.sha256,
        recipe.resolved()["train"],
        recipe.tune.prune,
        space.to_json(),
        sampler,
    )
    if session.goal == "min":
        parts += (session.goal,)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
