"""A search can be stopped at any time and goes on to the same end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.errors import BadPlugin, BadRecipe, Conflict, HubError
from hub.recipe.recipe import Recipe, load_recipe
from hub.report.search_page import page, plots
from hub.training.search.session import Session
from hub.training.search.space import space_of
from hub.training.search.storage import StudyPlace
from hub.training.search.study import search
from hub.training.search.trials import Tuned
from tests.training.search.conftest import RECIPE, ROWS

Open = Callable[..., Session]


class Fake:
    """A session whose trials take no time: the metric is best at a rate of 0.01 and a rank of 8."""

    metric = "accuracy"
    goal = "max"

    def __init__(self, sha256: str = "x", breaks: int | None = None, evaluations: int = 3) -> None:
        self.sha256 = sha256
        self.made: list[Recipe] = []
        self.best: list[float] = []  # so far, as each trial was told
        self._breaks, self._evaluations = breaks, evaluations
        self.failure: HubError = BadRecipe("train.learning_rate: training diverged")

    def train(self, recipe: Recipe, watch: Any, progress: Any = None, best: float = 0.0) -> Any:
        self.best.append(best)
        if self._breaks == len(self.made):
            raise KeyboardInterrupt
        self.made.append(recipe)
        rate, rank = recipe.train.learning_rate, recipe.method.rank
        assert rate is not None
        if rate > 0.09:
            raise self.failure
        found = 1 - abs(rate - 0.01) - (0.02 if rank == 4 else 0)
        for number in range(1, self._evaluations + 1):
            merit = found * number / self._evaluations
            watch(number, merit if self.goal == "max" else 1 - merit)
        return SimpleNamespace(steps=6)


def run(recipe: Recipe, folder: Path, session: Any = None, **settings: Any) -> Tuned:
    folder.mkdir(exist_ok=True)
    defaults: dict[str, Any] = {"trials": 12, "sampler": "bayes"}
    place = StudyPlace.in_folder(folder)
    return search(session or Fake(), space_of(recipe), place, **defaults | settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """A search of 12 trials, which the same recipe makes again in every folder."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "a.csv").write_text(ROWS)
    (folder / "recipe.yaml").write_text(f"name: demo\n{RECIPE}")
    return run(load_recipe(folder / "recipe.yaml"), folder / "search")


def seen(tuned: Tuned) -> list[Any]:
    return [replace(trial, seconds=0) for trial in tuned.trials]


def test_the_first_trial_is_the_recipe_and_the_best_is_no_worse(whole: Tuned) -> None:
    tuned = whole
    assert len(tuned.trials) == tuned.new == 12
    assert tuned.trials[0].values == {"train.learning_rate": 0.02, "method.rank": 8}
    assert tuned.best is not None
    assert tuned.best.metric >= tuned.trials[0].metric
    assert tuned.best.metric > 0.99
    assert tuned.winner is not None
    assert tuned.winner.train.learning_rate == tuned.best.values["train.learning_rate"]
    assert max(tuned.importance, key=tuned.importance.__getitem__) in tuned.space


def test_a_search_for_the_lowest_error_makes_the_trials_of_one_for_the_highest_merit(
    recipe: Recipe, tmp_path: Path, whole: Tuned
) -> None:
    errors = Fake()
    errors.goal = "min"
    highest, lowest = whole, run(recipe, tmp_path / "b", errors)
    assert [trial.values for trial in lowest.trials] == [trial.values for trial in highest.trials]
    assert [trial.state for trial in lowest.trials] == [trial.state for trial in highest.trials]
    assert highest.best is not None
    assert lowest.best is not None
    assert lowest.best.number == highest.best.number
    assert lowest.best.metric == pytest.approx(1 - highest.best.metric)
    assert errors.best[:2] == [math.inf, lowest.trials[0].metric]
    with pytest.raises(Conflict, match="--resume"):
        run(recipe, tmp_path / "b", Fake(), resume=True)


def test_a_search_is_decided_by_its_seed(recipe: Recipe, tmp_path: Path, whole: Tuned) -> None:
    assert seen(run(recipe, tmp_path / "b")) == seen(whole)
    other = run(recipe.changed({"train.seed": 5}), tmp_path / "c", trials=4)
    assert [trial.values for trial in other.trials[1:]] != [trial.values for trial in whole.trials[1:4]]


@pytest.mark.parametrize("breaks", [0, 3, 8])
def test_an_interrupted_search_goes_on_to_the_same_end(
    recipe: Recipe, tmp_path: Path, whole: Tuned, breaks: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "b", Fake(breaks=breaks))
    rest = Fake()
    resumed = run(recipe, tmp_path / "b", rest, resume=True)
    assert seen(resumed) == seen(whole)
    assert (resumed.new, len(rest.made)) == (12 - breaks, 12 - breaks)


def test_each_trial_is_told_the_best_before_it(recipe: Recipe, tmp_path: Path) -> None:
    first = Fake()
    run(recipe, tmp_path / "a", first, trials=2)
    rest = Fake()
    tuned = run(recipe, tmp_path / "a", rest, resume=True, trials=8)
    ended = [trial.metric if trial.state == "complete" else -math.inf for trial in tuned.trials]
    assert first.best + rest.best == [max(ended[:number], default=-math.inf) for number in range(8)]


def test_more_trials_are_added_and_none_are_lost(recipe: Recipe, tmp_path: Path) -> None:
    few = run(recipe, tmp_path / "a", trials=4)
    more = run(recipe, tmp_path / "a", trials=7, resume=True)
    assert seen(more)[:4] == seen(few)
    assert (len(more.trials), more.new) == (7, 3)
    assert run(recipe, tmp_path / "a", trials=5, resume=True).new == 0
    assert len(run(recipe, tmp_path / "a", trials=2).trials) == 2  # without --resume anew


def test_trials_of_another_search_are_not_gone_on_from(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path / "a", trials=1)
    others = [
        (Fake("other data"), recipe, {}),
        (Fake(), recipe.changed({"train.epochs": 3}), {}),
        (Fake(), recipe.changed({"tune.space": {"method.rank": [4, 8]}}), {}),
        (Fake(), recipe.changed({"tune.space": {"method.rank": [4, 8]}}), {"sampler": "grid"}),
    ]
    for session, changed, settings in others:
        with pytest.raises(Conflict, match="--resume"):
            run(changed, tmp_path / "a", session, resume=True, **settings)


def test_poor_trials_are_pruned_once_there_are_some_to_compare_with(
    recipe: Recipe, tmp_path: Path, whole: Tuned
) -> None:
    pruned = [trial for trial in whole.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.curve) < 3 for trial in pruned)
    assert min(trial.number for trial in pruned) >= 5
    assert whole.best not in pruned
    kept = run(recipe.changed({"tune.prune": "none"}), tmp_path / "b")
    assert "pruned" not in {trial.state for trial in kept.trials}


def test_a_grid_is_gone_through_whole_and_no_further(
    make_recipe: Any, recipe: Recipe, tmp_path: Path
) -> None:
    points = {"train.learning_rate": [0.001, 0.01, 0.1], "method.rank": [4, 8]}
    recipe = recipe.changed({"tune.space": points, "tune.prune": "none"})
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "a", Fake(breaks=2), sampler="grid")
    tuned = run(recipe, tmp_path / "a", sampler="grid", resume=True, trials=100)
    tried = [tuple(trial.values.values()) for trial in tuned.trials]
    assert sorted(tried) == [(rate, rank) for rate in (0.001, 0.01, 0.1) for rank in (4, 8)]
    assert tuned.best is not None
    assert tuned.best.values == {"train.learning_rate": 0.01, "method.rank": 8}


@pytest.mark.parametrize("kind", [BadRecipe, BadPlugin])  # the latter: an undefined metric
def test_a_trial_that_fails_says_why_and_the_search_goes_on(
    recipe: Recipe, tmp_path: Path, kind: type[HubError]
) -> None:
    recipe = recipe.changed({"tune.space": {"train.learning_rate": [0.01, 0.1]}})
    session = Fake()
    session.failure = kind("training diverged")
    tuned = run(recipe, tmp_path / "a", session, sampler="grid")
    assert sorted((trial.state, trial.reason) for trial in tuned.trials) == [
        ("complete", ""),
        ("failed", "training diverged"),
    ]
    record = tuned.record()
    assert record is not None
    assert (record.trials, record.failed, record.values) == (2, 1, {"train.learning_rate": 0.01})


def test_values_that_do_not_go_together_fail_alone(recipe: Recipe, tmp_path: Path) -> None:
    space = {"train.optimizer": ["adamw", "schedule-free"], "train.schedule": ["auto", "cosine"]}
    tuned = run(recipe.changed({"tune.space": space}), tmp_path / "a", sampler="grid")
    [failed] = [trial for trial in tuned.trials if trial.state == "failed"]
    assert failed.values == {"train.optimizer": "schedule-free", "train.schedule": "cosine"}


def test_when_the_time_is_over_no_trial_is_begun(recipe: Recipe, tmp_path: Path) -> None:
    tuned = run(recipe, tmp_path / "a", timeout=0)
    assert (tuned.trials, tuned.best, tuned.winner, tuned.record()) == ((), None, None, None)
    assert "0 trials" in page(tuned)
    assert plots(tuned) == {}


def test_lists_are_values_too(recipe: Recipe, tmp_path: Path) -> None:
    space = {"method.target": ["all-linear", ["query", "value"]]}
    fake = Fake()
    tuned = run(recipe.changed({"tune.space": space}), tmp_path / "a", fake, sampler="grid")
    assert {made.method.target for made in fake.made} == {"all-linear", ("query", "value")}
    assert ["query", "value"] in [trial.values["method.target"] for trial in tuned.trials]


def test_the_page_shows_every_trial_and_draws_them(whole: Tuned) -> None:
    tuned = whole
    shown = page(tuned)
    assert shown.count("<tr") == 1 + 12
    assert set(plots(tuned)) == {"Trials", "Curves", "Values", "Importance"}
    assert shown.count("<svg") == 4
    assert shown == page(replace(tuned))
    assert "http://" not in shown.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_a_real_search_ends_with_its_best(recipe: Recipe, open_session: Open, tmp_path: Path) -> None:
    tuned = run(recipe, tmp_path / "tune", open_session(recipe), trials=3)
    assert [trial.state for trial in tuned.trials] == ["complete"] * 3
    assert all(len(trial.curve) <= 2 and trial.steps for trial in tuned.trials)
