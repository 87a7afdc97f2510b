"""Starts the trackers of a recipe and passes its settings to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from hub.api import Begun, NotFound, TrackedRun, Tracker
from hub.evaluation.evaluation import Evaluation
from hub.recipe.recipe import Recipe
from hub.registry.active import active
from hub.registry.kinds import TRACKERS
from hub.registry.loaded import extension_call
from hub.training.plan import Plan
from hub.training.trackers.builtin import TENSORBOARD
from hub.training.trackers.fan_out import WAIT_S, TrackerPlace, Trackers

__all__ = ["check", "figures", "params", "places", "track", "tracked"]

MAX_SETTING_CHARS = 500
# Sentences, values of columns and addresses, which are private.
_PRIVATE = ("summary", "where", "set", "labels", "mlflow_uri")


def check(recipe: Recipe) -> None:
    """Check before the run that its trackers can be used.

    Raises:
        BadRecipe: there is no such tracker.
        MissingExtra: the package of one is not installed.
        BadPlugin: the plugin of one fails.
    """
    for name in recipe.report.trackers:
        with extension_call(TRACKERS.word, name, "check()"):
            _tracker(recipe, name).check()


def _tracker(recipe: Recipe, name: str) -> Tracker[Any]:
    try:
        return active().extensions.get(TRACKERS, name)
    except NotFound as error:
        raise recipe.error("report.trackers", str(error).rstrip(".")) from None


def track(plan: Plan, home: Path, others: Sequence[TrackerPlace], wait_s: float = WAIT_S) -> Trackers:
    """Start a run in every tracker of the recipe, and in `others`."""
    group = plan.recipe.name
    run = _new(home / TENSORBOARD / group)
    base = plan.serving.base
    tags = {
        "adapter": group,
        "task": plan.recipe.task,
        "base": base.name,
        "base_fingerprint": base.fingerprint,
        "data_sha256": plan.dataset.sha256,
    }
    return Trackers([*places(plan.recipe, home, run), *others], Begun(group, run, params(plan), tags), wait_s)


@contextmanager
def tracked(plan: Plan, home: Path, others: Sequence[TrackerPlace] = ()) -> Iterator[Trackers]:
    """Track the run in the block, which must call `end` on success; a failure is tracked here."""
    trackers = track(plan, home, others)
    try:
        yield trackers
    except KeyboardInterrupt:
        trackers.end("interrupted")
        raise
    except BaseException:
        trackers.end("failed")
        raise


def figures(evaluation: Evaluation) -> dict[str, float]:
    """Return the metrics of the held-out rows, with the interval bounds as NAME_low and NAME_high."""
    found = dict(evaluation.metrics)
    for name, interval in evaluation.intervals.items():
        found |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return found


def places(recipe: Recipe, home: Path, run: str) -> list[TrackerPlace]:
    """Return the trackers for a run named `run`; none is opened."""
    report = recipe.report
    tracked = TrackedRun(home, recipe.name, run, report.experiment, report.mlflow_uri)

    def place(name: str) -> TrackerPlace:
        tracker = _tracker(recipe, name)
        with extension_call(TRACKERS.word, name, "where()"):
            return TrackerPlace(name, str(tracker.where(tracked)), lambda: tracker.open(tracked))

    return [place(name) for name in dict.fromkeys(report.trackers)]


def params(plan: Plan) -> dict[str, str]:
    """Return the recipe by dotted key and the numbers of rows, without sentences and values of columns."""
    dataset = plan.dataset
    rows = {
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "held_out": len(dataset.held_out),
    }
    return _flat({**plan.recipe.resolved(), "rows": rows})


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if key in _PRIVATE:
            continue
        sections = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        inner = dict(zip(map(str, range(len(value))), value, strict=True)) if sections else value
        if isinstance(inner, dict):
            found |= _flat(inner, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = _text(inner)
    return found


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:MAX_SETTING_CHARS]


def _new(folder: Path) -> str:
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    names = (f"{now}-{number}" if number else now for number in count())
    return next(name for name in names if not (folder / name).exists())
