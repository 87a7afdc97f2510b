"""Renders a search as one self-contained HTML page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hub.recipe.sections.tune import Dimension
from hub.report.html import render, svg
from hub.training.search.trials import Trial, Tuned

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["page", "plots"]

COLOURS = {"complete": "#3b6ea5", "pruned": "#bbbbbb"}


def page(tuned: Tuned) -> str:
    """Return the page: the trials in a table and in plots."""
    return render("search.html", tuned=tuned, keys=list(tuned.space), plots=plots(tuned), best=tuned.best)


def plots(tuned: Tuned) -> dict[str, Markup]:
    """Return plots as SVG elements by title; {} when no trial was measured."""
    from matplotlib.figure import Figure

    measured = [trial for trial in tuned.trials if trial.metric is not None]
    if not measured:
        return {}
    figures: dict[str, Figure] = {"Trials": Figure(figsize=(7, 2.8), layout="constrained")}
    _history(figures["Trials"].subplots(), measured, tuned)
    figures["Curves"] = Figure(figsize=(7, 2.8), layout="constrained")
    _curves(figures["Curves"].subplots(), measured, tuned.metric)
    figures["Values"] = Figure(figsize=(7, 2.2 * len(tuned.space)), layout="constrained")
    rows = figures["Values"].subplots(len(tuned.space), squeeze=False)
    for axes, (key, dimension) in zip(rows[:, 0], tuned.space.items(), strict=True):
        _slice(axes, measured, key, Dimension.model_validate(dimension), tuned.metric)
    if tuned.importance:
        figures["Importance"] = Figure(figsize=(7, 0.8 + 0.3 * len(tuned.importance)), layout="constrained")
        _importance(figures["Importance"].subplots(), tuned)
    return {title: svg(figure, title) for title, figure in figures.items()}


def _history(axes: Axes, trials: Sequence[Trial], tuned: Tuned) -> None:
    """Plot the metric of each trial, and the best so far."""
    _points(axes, trials, [float(trial.number) for trial in trials])
    finished = [trial for trial in trials if trial.state == "complete"]
    better = max if tuned.goal == "max" else min
    best = itertools.accumulate((trial.metric or 0.0 for trial in finished), better)
    axes.step([trial.number for trial in finished], list(best), where="post", color="#c0504d", label="best")
    _labels(axes, "trial", tuned.metric)
    axes.legend(loc="lower right")


def _curves(axes: Axes, trials: Sequence[Trial], metric: str) -> None:
    """Plot the metric after each evaluation."""
    for trial in trials:
        steps = range(1, len(trial.curve) + 1)
        axes.plot(steps, trial.curve, color=COLOURS.get(trial.state, "#bbbbbb"), alpha=0.6, marker=".")
    _labels(axes, "evaluation", metric)


def _slice(axes: Axes, trials: Sequence[Trial], key: str, dimension: Dimension, metric: str) -> None:
    """Plot the metric by the value of one key."""
    if dimension.values:
        names = [str(value) for value in dimension.values]
        _points(axes, trials, [float(names.index(str(trial.values[key]))) for trial in trials])
        axes.set_xticks(range(len(names)), names, parse_math=False)
    else:
        _points(axes, trials, [float(trial.values[key]) for trial in trials])
        if dimension.log:
            axes.set_xscale("log")
    _labels(axes, key, metric)


def _points(axes: Axes, trials: Sequence[Trial], across: Sequence[float]) -> None:
    for state, colour in COLOURS.items():
        mine = [(x, trial.metric) for x, trial in zip(across, trials, strict=True) if trial.state == state]
        if mine:
            axes.plot(*zip(*mine, strict=True), "o", color=colour, markersize=4, label=state)


def _importance(axes: Axes, tuned: Tuned) -> None:
    keys: list[Any] = sorted(tuned.importance, key=tuned.importance.__getitem__)
    axes.barh(range(len(keys)), [tuned.importance[key] for key in keys], color=COLOURS["complete"])
    axes.set_yticks(range(len(keys)), keys)
    axes.set_xlabel("share of the variance")


def _labels(axes: Axes, across: str, metric: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(metric)
