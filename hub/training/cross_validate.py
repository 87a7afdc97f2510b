"""k-fold cross-validation of a plan, before the actual training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from hub.data.augment.back_translation import TRANSLATIONS
from hub.data.dataset import InvalidRows
from hub.data.folds import fold_datasets
from hub.progress import Progress, named
from hub.store.manifest import Spread
from hub.training.plan import Plan
from hub.training.run import run

__all__ = ["FOLDS", "cross_validate"]

FOLDS = "folds"
_RESULT = "metrics.json"


def cross_validate(plan: Plan, folder: Path, progress: Progress, resume: bool) -> dict[str, Spread]:
    """Train and evaluate once per fold of `evaluate.folds`; {} if it is not set.

    Each fold's model is evaluated like the one to be stored, and has the same seed. With `resume`, folds with
    results in `folder` are not trained again.

    Raises:
        BadRecipe: the rows make fewer than two folds.
    """
    count = plan.recipe.evaluate.folds
    if count is None:
        return {}
    found: list[Mapping[str, float]] = []
    task, labelled = plan.loaded.task, plan.loaded.labelled
    parts = fold_datasets(plan.recipe, plan.dataset, task, labelled=labelled)
    for number, dataset in enumerate(parts, 1):
        work = folder / str(count) / str(number)  # other numbers of folds have other rows in each
        work.mkdir(parents=True, exist_ok=True)
        one = replace(plan, dataset=dataset)
        known = _known(work / _RESULT, one) if resume else None
        if known is None:
            shown = named(progress, f"fold {number} of {count}")
            memory = folder.parent / TRANSLATIONS
            outcome = run(one, InvalidRows(plan.recipe), work, shown, resume, memory)
            known = dict(outcome.metrics)
            more = list(plan.recipe.evaluate.metrics)
            (work / _RESULT).write_text(json.dumps([one.sha256, known, more]), encoding="utf-8")
        found.append(known)
    if len(found) < 2:
        raise plan.recipe.error("evaluate.folds", "there are too few training rows for two folds")
    names = [name for name in found[0] if all(name in metrics for metrics in found)]
    return {name: _spread([metrics[name] for metrics in found]) for name in names}


def _spread(values: list[float]) -> Spread:
    return Spread(mean=mean(values), std=stdev(values), folds=tuple(values))


def _known(path: Path, plan: Plan) -> dict[str, float] | None:
    """Return the metrics of a fold; None if it was of another plan or lacks metrics that are wanted now."""
    if not path.is_file():
        return None
    of, metrics, *more = json.loads(path.read_text(encoding="utf-8"))
    measured = more[0] if more else ()
    return metrics if of == plan.sha256 and {*plan.recipe.evaluate.metrics} <= {*measured} else None
