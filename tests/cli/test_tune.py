"""`hub tune` on a tiny base: the best of several trials is stored, and a kill loses one trial at most."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadRecipe, Conflict, MissingExtra
from hub.store.store import Store
from tests.support.preloaded import preloaded
from tests.support.waiting import until

RECIPE = """
name: demo
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
train: {epochs: 2, batch_size: 8, learning_rate: 0.02, validation_fraction: 0.25}
evaluate: {int8: false}
tune:
  trials: 4
  space:
    train.learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
"""
ROWS = "text,label\n" + "".join(
    f"the {thing} of {place} is {word},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot")
    for place in ("paris", "london", "france", "city")
    for word, label in (
        ("good", "positive"),
        ("great", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("base") / "encoder").path


@pytest.fixture
def recipe(tmp_path: Path, tiny: Path) -> Path:
    Bases(find_home()).pull(str(tiny), "tiny")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "a.csv").write_text(ROWS)
    return tmp_path / "recipe.yaml"


def hub_tune(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["tune", *map(str, arguments)])


def answer(*arguments: object) -> Any:
    result = hub_tune(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def tried(found: Any) -> list[Any]:
    return [(trial["values"], trial["state"], trial["curve"]) for trial in found["trials"]]


def test_the_best_trial_is_stored(recipe: Path) -> None:
    shown = hub_tune(recipe)
    assert shown.exit_code == 0, shown.exception
    assert "The best trial is" in shown.stdout
    assert "Stored demo@1; on held-out rows: accuracy" in shown.stdout
    [version] = Store(find_home()).versions("demo")
    search, stored = version.manifest.search, version.manifest.recipe
    assert search is not None
    assert stored is not None
    assert (search.trials, search.metric) == (4, "accuracy")
    assert search.values == {"train.learning_rate": stored["train"]["learning_rate"]}
    assert [trial.number for trial in search.listed] == [0, 1, 2, 3]
    best = max(
        (trial for trial in search.listed if trial.state == "complete"), key=lambda one: one.metric or 0
    )
    assert (best.values, best.metric) == (search.values, search.best)
    folder = find_home() / "runs" / "demo" / "tune"
    assert "<svg" in (folder / "tune.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["invalid.jsonl", "study.db", "tune.html"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that has one entry for each training step made."""
    from transformers import Trainer

    made: list[int] = []
    step = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda *args, **more: made.append(1) or step(*args, **more))
    return made


@pytest.mark.parametrize(
    "changes",
    [
        ("train.epochs=3", "method.freeze=1"),
        ("train.epochs=6", "train.patience=1"),
        ("train.optimizer=schedule-free",),
        ("method.type=full",),
    ],
)
def test_the_weights_of_the_best_trial_are_those_of_a_training_with_its_values(
    recipe: Path, steps: list[int], changes: tuple[str, ...]
) -> None:
    settings = [word for change in changes for word in ("--set", change)]
    found = answer(recipe, "--trials", 2, *settings)
    tuned = Store(find_home()).versions("demo")[0]
    assert len(steps) == sum(trial["steps"] or 0 for trial in found["trials"])
    alone = CliRunner().invoke(
        app, ["train", str(recipe), *settings, *chosen(found), "--set", "name=alone", "--json"]
    )
    assert alone.exit_code == 0, alone.exception
    assert json.loads(alone.stdout)["metrics"] == found["metrics"]
    [version] = Store(find_home()).versions("alone")
    assert version.sha256 == tuned.sha256
    assert tuned.manifest.search is not None
    assert tuned.manifest.search.seconds > 0


def test_a_recipe_that_keeps_no_rows_apart_learns_from_all_of_them_in_the_end(
    recipe: Path, steps: list[int]
) -> None:
    found = answer(recipe, "--trials", 2, "--set", "train.epochs=1")
    assert len(steps) > sum(trial["steps"] for trial in found["trials"])
    assert not (find_home() / "runs" / "demo" / "tune" / "best").exists()


def test_a_winner_without_checkpoints_is_trained_again(recipe: Path, steps: list[int]) -> None:
    found = answer(recipe, "--no-train", "--trials", 2)
    shutil.rmtree(find_home() / "runs" / "demo" / "tune" / "best")
    before = len(steps)
    assert answer(recipe, "--resume", "--trials", 2)["version"] == "demo@1"
    assert len(steps) - before == found["best"]["steps"]


def chosen(found: Any) -> list[str]:
    """Return the best values as options of `hub train`."""
    return [word for key, value in found["best"]["values"].items() for word in ("--set", f"{key}={value!r}")]


def test_without_training_nothing_is_stored_and_more_trials_may_follow(recipe: Path) -> None:
    few = answer(recipe, "--no-train", "--trials", 2)
    assert few["version"] is None
    assert Store(find_home()).versions("demo") == []
    more = answer(recipe, "--no-train", "--resume")
    assert (len(more["trials"]), more["new"]) == (4, 2)
    assert tried(more)[:2] == tried(few)


def test_a_grid_may_be_asked_for(recipe: Path) -> None:
    values = "tune.space={method.rank: [2, 4], train.epochs: [1]}"
    found = answer(recipe, "--grid", "--set", values)
    assert sorted(trial["values"]["method.rank"] for trial in found["trials"]) == [2, 4]
    assert found["version"] == "demo@1"
    assert found["train_seconds"] > 0


def test_the_values_of_the_best_trial_can_be_pasted_into_a_shell(recipe: Path) -> None:
    values = "tune.space={method.target: [[query, value]], train.epochs: [1]}"
    shown = hub_tune(recipe, "--no-train", "--set", values, "--set", "tune.trials=1").stdout
    best = next(line for line in shown.splitlines() if line.startswith("The best trial is"))
    words = shlex.split(best.partition(": ")[2])
    assert words == ["--set", 'method.target=["query", "value"]', "--set", "train.epochs=1"]


def test_an_invalid_space_is_found_before_anything_is_loaded(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("train.learning_rate: {low", "train.learning_rat: {low"))
    error = hub_tune(recipe).exception
    assert isinstance(error, BadRecipe)
    assert "recipe.yaml:11: tune.space.train.learning_rat: cannot be varied" in str(error)


def test_when_no_trial_is_finished_that_is_an_error(recipe: Path) -> None:
    error = hub_tune(recipe, "--timeout", 0).exception
    assert isinstance(error, BadRecipe)
    assert "No trial finished" in str(error)
    assert Store(find_home()).versions("demo") == []


def test_another_recipe_does_not_go_on(recipe: Path) -> None:
    answer(recipe, "--no-train", "--trials", 1)
    error = hub_tune(recipe, "--resume", "--set", "train.epochs=3").exception
    assert isinstance(error, Conflict)


def test_without_optuna_the_extra_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "hub.training.search.study", raising=False)
    error = hub_tune(recipe).exception
    assert isinstance(error, MissingExtra)
    assert "grafthub[tune]" in str(error)


def test_a_search_that_was_killed_goes_on_to_the_same_end(recipe: Path) -> None:
    whole = answer(recipe, "--no-train", "--trials", 4)
    study = find_home() / "runs" / "demo" / "tune" / "study.db"
    study.unlink()
    search = ("tune", str(recipe), "--trials", "500", "--no-train")
    with open(os.devnull, "w") as nothing:
        running = preloaded().start("hub", *search, env=os.environ, stdout=nothing, stderr=nothing)
    assert until(lambda: ended(study) >= 2 or running.poll() is not None, 120)
    running.kill()
    running.wait()
    before = ended(study)
    assert 2 <= before < 500
    resumed = answer(recipe, "--no-train", "--trials", 4, "--resume")
    assert tried(resumed)[:4] == tried(whole)
    assert resumed["new"] == max(0, 4 - before)


def ended(study: Path) -> int:
    """How many trials of a study that another process writes have come to an end."""
    try:
        with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as file:
            found = file.execute(
                "SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
            ).fetchone()
    except sqlite3.OperationalError:
        return 0
    finally:
        if "file" in locals():
            file.close()
    return int(found[0])
