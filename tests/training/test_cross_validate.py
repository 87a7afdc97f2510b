"""Runs with cross-validation and balancing, on a tiny base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.errors import BadRecipe
from hub.training import cross_validate as module
from hub.training.train import TrainResult

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
train: {epochs: 4, batch_size: 8, learning_rate: 0.01, patience: 0}
"""
THINGS = ("film", "book", "phone", "food", "plot", "actor", "song", "game", "car", "hotel")
ROWS = "text,label\n" + "".join(
    f"the {thing}  is {word} {extra},{label}\n"
    for thing in THINGS
    for extra in ("", "in paris", "and i like this")
    for word, label in (("good", "positive"), ("great", "positive"), ("bad", "negative"))
)

Trainer = Callable[..., TrainResult]


def test_the_metric_has_a_mean_and_a_spread_over_the_folds(make_recipe, run: Trainer, tmp_path: Path) -> None:
    result = run(
        make_recipe(RECIPE, "evaluate.folds=3", "train.epochs=3", "train.learning_rate=0.02", a_csv=ROWS)
    )
    manifest = result.version.manifest
    spread = manifest.metrics_cv["accuracy"]
    assert len(spread.folds) == 3
    assert spread.mean == pytest.approx(sum(spread.folds) / 3)
    assert spread.mean > 0.8
    assert manifest.data is not None
    assert manifest.data.train_rows == 72  # the stored version is trained on all of them
    assert manifest.data.data_report["changed"] == {"whitespace": 90}
    assert not (tmp_path / "home" / "runs" / "demo" / "folds").exists()
    notes = (tmp_path / "home" / "runs" / "demo" / "rows.jsonl").read_text().splitlines()
    changed = {"source": "a.csv", "line": 2, "what": "changed", "detail": "whitespace"}
    assert json.loads(notes[0]) == changed


def test_without_folds_the_manifest_says_nothing_of_them(make_recipe, run: Trainer) -> None:
    result = run(make_recipe(RECIPE, "train.max_steps=2", a_csv=ROWS))
    assert "metrics_cv" not in result.version.manifest.model_dump(mode="json")


def test_resuming_trains_no_fold_again(make_recipe, run: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(RECIPE, "evaluate.folds=3", "train.max_steps=1", a_csv=ROWS)
    trained: list[int] = []
    real = module.run

    def counted(plan, refused, work: Path, *settings):
        trained.append(int(work.name))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(plan, refused, work, *settings)

    monkeypatch.setattr(module, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        run(recipe)
    resumed = run(recipe, resume=True)
    assert trained == [1, 2, 2, 3]
    trained[:] = [0, 0, 0]
    afresh = run(recipe)
    assert afresh.version.manifest.metrics_cv == resumed.version.manifest.metrics_cv
    assert trained == [0, 0, 0, 1, 2, 3]


def test_folds_do_not_start_from_those_of_another_number(
    make_recipe, run: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their models were trained on rows that are held out now."""
    real, resumed = module.run, []

    def noted(plan, refused, work: Path, *settings):
        outcome = real(plan, refused, work, *settings)
        resumed.append(outcome.fitted.resumed_from)
        if len(resumed) == 2:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(module, "run", noted)
    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(RECIPE, "evaluate.folds=4", "train.epochs=1", a_csv=ROWS))
    again = make_recipe(RECIPE, "evaluate.folds=3", "train.epochs=1", a_csv=ROWS)
    folds = run(again, resume=True).version.manifest.metrics_cv
    assert resumed == [None] * 5
    assert folds == run(again, home="afresh").version.manifest.metrics_cv


def test_a_metric_that_is_wanted_when_a_run_goes_on_is_measured_in_all_folds(
    make_recipe, run: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = module.run, []

    def two(plan, refused, work: Path, *settings):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(work)
        return real(plan, refused, work, *settings)

    monkeypatch.setattr(module, "run", two)
    with pytest.raises(KeyboardInterrupt):
        run(make_recipe(RECIPE, "evaluate.folds=3", "train.max_steps=1", a_csv=ROWS))
    monkeypatch.setattr(module, "run", real)
    more = "evaluate.metrics=[balanced_accuracy]"
    again = make_recipe(RECIPE, "evaluate.folds=3", "train.max_steps=1", more, a_csv=ROWS)
    found = run(again, resume=True).version.manifest.metrics_cv
    assert len(found["balanced_accuracy"].folds) == 3
    assert found == run(again, home="afresh").version.manifest.metrics_cv


def test_rows_of_one_group_make_no_folds(make_recipe, run: Trainer) -> None:
    recipe = make_recipe(
        "task: sentiment\nbase: tiny\ndata: {source: a.csv, eval: b.csv, group_by: text}\n"
        "evaluate: {folds: 2}\n",
        a_csv="text,label\nsame,positive\nsame,negative\n",
        b_csv="text,label\nother,positive\n",
    )
    with pytest.raises(BadRecipe, match=r"evaluate\.folds: there are too few training rows for two folds"):
        run(recipe)


def test_balancing_gives_the_rare_label_a_chance(make_recipe, run: Trainer) -> None:
    # A quarter of what is called bad is negative, and nothing else.
    rows = "text,label\n" + "".join(
        f"{n} the {thing} is {'good' if n % 3 else 'bad'},{'positive' if n % 12 else 'negative'}\n"
        for n, thing in enumerate(THINGS * 24)
    )

    def is_the_majority(*overrides: str) -> bool:
        outcome = run(make_recipe(RECIPE, "train.max_steps=40", *overrides, a_csv=rows)).outcome
        return outcome.metrics["accuracy"] == outcome.baseline["accuracy"]

    assert is_the_majority(), "always answers the commonest label"
    assert not is_the_majority("train.balance=weights"), "answers the rare one too"
    assert not is_the_majority("train.balance=sample"), "answers the rare one too"


def test_balancing_needs_labels(make_recipe, run: Trainer) -> None:
    rows = "".join(
        json.dumps(
            {
                "question": f"who is {n}?",
                "context": f"it is {n}",
                "answers": [{"text": "it", "answer_start": 0}],
            }
        )
        + "\n"
        for n in range(20)
    )
    recipe = make_recipe("task: qa\nbase: tiny\ndata: a.jsonl\ntrain: {balance: weights}\n", a_jsonl=rows)
    with pytest.raises(BadRecipe, match=r"train\.balance: task qa has no labels to balance"):
        run(recipe)
