"""Runs an Optuna search over a session; it can be resumed from its storage."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any, Literal

from hub.errors import Conflict, MissingExtra
from hub.evaluation.goal import Goal, best_of, gain
from hub.progress import Progress, silent
from hub.training.search.space import Space
from hub.training.search.storage import StudyPlace
from hub.training.search.trial_run import (
    DETAILS,
    LOST,
    NUMBER,
    STARTUP,
    Prepared,
    Run,
    Trains,
    finished_trials,
    lose,
)
from hub.training.search.trials import Trial, Tuned

try:
    import optuna
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState
except ModuleNotFoundError:
    raise MissingExtra.of("hub tune", "tune") from None

__all__ = ["RunAll", "opened", "search"]

MIN_TRIALS = 4  # finished trials for importances
_OF = "of"  # hash of the recipe, data, base and space
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}

optuna.logging.set_verbosity(optuna.logging.ERROR)


RunAll = Callable[[Iterator[int], Callable[[int], bool]], Iterator[int]]
"""Runs the trials with these numbers, taking each when it starts it, and yields each that has ended.

The function tells whether a trial that ended is the best so far.
"""


def search(  # noqa: PLR0913 - a search is all of these
    session: Prepared,
    space: Space,
    place: StudyPlace,
    *,
    trials: int,
    sampler: str,
    resume: bool = False,
    timeout: float | None = None,
    progress: Progress = silent,
    run_all: RunAll | None = None,
) -> Tuned:
    """Run trials until there are `trials`; none is started after `timeout` seconds.

    The first trial of the sampler "bayes" has the recipe's own values. With `resume` the trials in `place`
    count; an interrupted one is repeated with the same values, so that the result is the same. `run_all` runs
    them elsewhere, several at once; by default they run here, one after another, on a `Session`.

    Raises:
        BadRecipe: the space has no finite grid.
        Conflict: `resume`, and the trials in `place` have another recipe, data set, base or space.
    """
    started = time.perf_counter()
    with _study(session, space, place, sampler, resume) as study:
        before = [_number_of(trial, at) for at, trial in enumerate(_counted(study))]
        grid = space.grid() if sampler == "grid" else None
        most = min(trials, len(grid)) if grid is not None else trials
        missing = (number for number in range(most) if number not in before)
        until = None if timeout is None else started + timeout
        numbers = itertools.takewhile(lambda _: until is None or time.perf_counter() < until, missing)
        progress("tune", len(before), most)
        if run_all is None:
            assert isinstance(session, Trains)
            run_all = Run(session, space, study, sampler, progress).all
        for count, _ in enumerate(run_all(numbers, partial(_is_best, study, session.goal)), len(before) + 1):
            progress("tune", count, most)
        ended = enumerate(_counted(study))
        found = [_trial(_number_of(trial, at), trial, session.goal) for at, trial in ended]
        importance = _importance(study)
    return Tuned(
        recipe=space.recipe,
        metric=session.metric,
        goal=session.goal,
        sampler=sampler,
        space=space.to_json(),
        trials=tuple(sorted(found, key=attrgetter("number"))),
        importance=importance,
        new=len(found) - len(before),
        seconds=time.perf_counter() - started,
    )


@contextmanager
def _study(
    session: Prepared, space: Space, place: StudyPlace, sampler: str, resume: bool
) -> Iterator[optuna.Study]:
    with place.open(afresh=not resume) as storage:
        study = opened(storage, place, session.goal)
        of = _fingerprint(session, space, sampler)
        if study.user_attrs.setdefault(_OF, of) != of:
            raise Conflict(
                f"The trials of {space.recipe.name} cannot be resumed: their recipe, data, base or space was "
                "different. Undo the change, or start a new search without --resume."
            )
        study.set_user_attr(_OF, of)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            lose(storage, trial)
        yield study


def opened(storage: RDBStorage, place: StudyPlace, goal: Goal) -> optuna.Study:
    """Return the study of a search, which is created if there is none."""
    direction: Literal["minimize", "maximize"] = "maximize" if goal == "max" else "minimize"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
    return optuna.create_study(
        storage=storage, study_name=place.name, direction=direction, pruner=pruner, load_if_exists=True
    )


def _is_best(study: optuna.Study, goal: Goal, number: int) -> bool:
    finished = [trial for trial in finished_trials(study) if trial.value is not None]
    best = max(finished, key=lambda trial: gain(trial.value or 0.0, 0.0, goal), default=None)
    return best is not None and best.user_attrs.get(NUMBER) == number


def _number_of(trial: FrozenTrial, at: int) -> int:
    number: int = trial.user_attrs.get(NUMBER, at)
    return number


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ended, in order, without interrupted ones."""
    ended = study.get_trials(deepcopy=False, states=tuple(_STATES))
    return [trial for trial in ended if LOST not in trial.user_attrs]


def _trial(number: int, trial: FrozenTrial, goal: Goal) -> Trial:
    details = trial.user_attrs[DETAILS]
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
    finished = finished_trials(study)
    if len(finished) < MIN_TRIALS or len({one.value for one in finished}) < 2:
        return {}
    varied = [key for key in finished[0].params if len({str(one.params[key]) for one in finished}) > 1]
    if not varied:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varied)
    return {key: round(value, 4) for key, value in found.items()}


def _fingerprint(session: Prepared, space: Space, sampler: str) -> str:
    recipe = space.recipe
    parts: tuple[Any, ...] = (
        session.sha256,
        recipe.resolved()["train"],
        recipe.tune.prune,
        space.to_json(),
        sampler,
    )
    if session.goal == "min":
        parts += (session.goal,)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
