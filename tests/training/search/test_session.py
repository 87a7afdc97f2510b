"""Trials share what does not depend on what is varied, and each learns as a run of its own does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from hub.bases.cache import Bases
from hub.errors import BadData
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.store.store import Store
from hub.training.fit import trainer
from hub.training.fit.activation_cache import Activations
from hub.training.search import session as module
from hub.training.search.session import KEPT, Session
from hub.training.search.space import space_of
from hub.training.search.storage import StudyPlace
from hub.training.search.study import search
from hub.training.train import train
from tests.training.search.conftest import RECIPE, ROWS

Open = Callable[..., Session]


def ignore(number: int, metric: float) -> None:
    """A watch that lets a trial run to its end."""


def session_steps(session: Session) -> int:
    """Return the steps of one epoch."""
    return math.ceil(len(session.plan.dataset.train) / session.plan.recipe.train.batch_size)


def test_a_trial_reaches_what_a_run_of_that_recipe_reaches(
    recipe: Recipe, open_session: Open, registry: Registry, bases: Bases, tmp_path: Path
) -> None:
    session, seen = open_session(recipe), []
    session.train(recipe.changed({"train.learning_rate": 0.001}), ignore)
    fitted = session.train(recipe, lambda number, metric: seen.append((number, metric)))
    home = tmp_path / "home"
    alone = train(recipe, registry=registry, store=Store(home), bases=bases, work=home / "run")
    known = alone.outcome.fitted
    assert [number for number, _ in seen] == [1, 2]
    assert (fitted.best_metric, fitted.best_step) == (known.best_metric, known.best_step)
    assert fitted.steps == known.steps


def test_what_the_best_trial_learned_is_kept_and_nothing_else(
    recipe: Recipe, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(recipe)
    best = session.train(recipe, ignore).best_metric
    assert best is not None
    kept = tmp_path / "tune" / KEPT
    before = sorted(kept.rglob("*"))
    assert {path.name for path in kept.iterdir()} >= {"plan.json", f"checkpoint-{2 * session_steps(session)}"}
    assert not list(kept.rglob("optimizer.pt"))
    session.train(recipe.changed({"train.learning_rate": 1e-6}), ignore, best=best)
    assert sorted(kept.rglob("*")) == before
    assert sorted((tmp_path / "tune").iterdir()) == [kept, tmp_path / "tune" / "invalid.jsonl"]
    # A run of this recipe keeps no rows apart, so that it would learn from more.
    session.train(recipe.changed({"train.epochs": 1}), ignore)
    assert not kept.exists()


def test_rows_are_read_and_fixed_layers_run_once_for_all_trials(
    recipe: Recipe, open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, kept = [], []
    make, keep = module.make_plan, Activations.keep
    monkeypatch.setattr(module, "make_plan", lambda *a, **k: plans.append(1) or make(*a, **k))
    monkeypatch.setattr(
        Activations, "keep", lambda self, rows, hidden: kept.append(len(rows)) or keep(self, rows, hidden)
    )
    session = open_session(recipe)
    for rank in (4, 8):
        session.train(recipe.changed({"method.rank": rank}), ignore)
    assert plans == [1]
    assert sum(kept) == len(session.plan.dataset.train) + len(session.plan.dataset.validation)


def test_layers_fixed_otherwise_are_kept_apart(recipe: Recipe, open_session: Open) -> None:
    session = open_session(recipe)
    shared = session.train(recipe, ignore)
    other = session.train(recipe.changed({"method.freeze": 0}), ignore)
    again = session.train(recipe, ignore)
    assert (shared.cache.layers, other.cache.layers) == (1, 0)
    assert replace(again, seconds=0) == replace(shared, seconds=0)


@pytest.mark.parametrize("override", ["train.patience=0", "train.epochs=1", "train.max_steps=1"])
def test_trials_are_measured_on_rows_of_their_own_whatever_the_recipe(
    make_recipe: Callable[..., Recipe], open_session: Open, override: str
) -> None:
    recipe = make_recipe(RECIPE, override, a_csv=ROWS)
    session, seen = open_session(recipe), []
    session.train(recipe, lambda number, metric: seen.append(metric))
    assert seen
    rows = {item.request for item in session.plan.dataset.validation}
    assert rows
    assert not rows & {item.request for item in session.plan.dataset.held_out}


def test_too_few_rows_to_choose_by_are_refused(
    make_recipe: Callable[..., Recipe], open_session: Open
) -> None:
    with pytest.raises(BadData, match="Too few validation rows"):
        open_session(make_recipe(RECIPE, "train.validation_fraction=0.05", a_csv=ROWS))


def test_a_watch_ends_a_trial(recipe: Recipe, open_session: Open) -> None:
    class Enough(Exception):
        pass

    def stop(number: int, metric: float) -> None:
        raise Enough

    session = open_session(recipe)
    with pytest.raises(Enough):
        session.train(recipe, stop)
    assert session.train(recipe, ignore).epochs == 2


def test_a_search_never_builds_an_evaluator_of_the_held_out_rows(
    recipe: Recipe, open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, run = set(), trainer.Evaluator.run
    monkeypatch.setattr(
        trainer.Evaluator, "run", lambda self, *a, **k: measured.add(self.examples) or run(self, *a, **k)
    )
    session = open_session(recipe)
    session.train(recipe, ignore)
    assert measured == {len(session.plan.dataset.validation)}


def test_a_trial_that_a_gpu_has_no_memory_for_fails_and_others_follow(
    recipe: Recipe, open_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one may have smaller batches. A search that ended here could not be resumed either."""
    run, tries = trainer._train_from, []

    def lacks(*arguments: Any) -> None:
        tries.append(arguments)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        run(*arguments)

    monkeypatch.setattr(trainer, "_train_from", lacks)
    place = StudyPlace.in_folder(tmp_path)
    found = search(open_session(recipe), space_of(recipe), place, trials=2, sampler="bayes")
    assert [trial.state for trial in found.trials] == ["failed", "complete"]
    assert "train.batch_size: the GPU has too little memory for step 1" in found.trials[0].reason
