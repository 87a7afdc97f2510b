"""What the training rows decide where a recipe does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.api import HeadKind
from hub.recipe.by_rows import TrainingRows
from hub.recipe.recipe import Recipe, load_recipe

LORA = "task: classification\ndata: a.csv\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "recipe.yaml").write_text(LORA)
    return load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("count", "epochs", "batch", "rate"),
    [
        (10, 60, 16, 1e-3),
        (100, 36, 16, 1e-3),
        (999, 4, 16, 1e-3),
        (1999, 3, 16, 1e-3),
        (2000, 3, 32, 2e-3),
        (9999, 3, 32, 2e-3),
        (10_000, 2, 32, 1e-3),
    ],
)
def test_few_rows_get_more_epochs(recipe: Recipe, count: int, epochs: float, batch: int, rate: float) -> None:
    train = recipe.settled(TrainingRows(count, "bert", labels=True)).train
    assert (train.epochs, train.batch_size, train.learning_rate) == (epochs, batch, rate)


def test_what_the_recipe_gives_stays(recipe: Recipe) -> None:
    given = {"train.epochs": 2, "train.batch_size": 8, "train.learning_rate": 0.5}
    train = recipe.changed(given).settled(TrainingRows(2000, "bert", labels=True)).train
    assert (train.epochs, train.batch_size, train.learning_rate) == (2, 8, 0.5)


def test_the_epochs_suit_the_batches(recipe: Recipe) -> None:
    rows = TrainingRows(800, "bert")
    assert recipe.changed({"train.batch_size": 64}).settled(rows).train.epochs == 20
    assert recipe.changed({"train.batch_size": 8}).settled(rows).train.epochs == 3


@pytest.mark.parametrize(("count", "epochs"), [(50, 15), (500, 8), (5000, 3)])
def test_generated_texts_cost_more_and_get_fewer(recipe: Recipe, count: int, epochs: float) -> None:
    assert recipe.settled(TrainingRows(count, "llama", HeadKind.GENERATE)).train.epochs == epochs


def test_pairs_are_told_apart_in_large_batches(recipe: Recipe) -> None:
    assert recipe.settled(TrainingRows(100, "bert", HeadKind.EMBEDDING)).train.batch_size == 64


def test_the_preset_best_takes_twice_as_long(recipe: Recipe) -> None:
    rows = TrainingRows(5000, "bert")
    assert recipe.changed({"preset": "best"}).settled(rows).train.epochs == 6


def test_a_rate_of_another_method_is_its_own(recipe: Recipe) -> None:
    rows = TrainingRows(2000, "bert", labels=True)
    assert recipe.changed({"method.type": "ia3"}).settled(rows).train.learning_rate == 1e-2
