"""Searches on a tiny base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.bases.cache import Bases
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.training.search.session import Session

RECIPE = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
method: {freeze: 1}
train: {epochs: 2, batch_size: 16, learning_rate: 0.02, validation_fraction: 0.25}
tune:
  space:
    train.learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
    method.rank: [4, 8]
"""
ROWS = "text,label\n" + "".join(
    f"the {thing} of {place} is {word},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot", "actor")
    for place in ("paris", "london", "france")
    for word, label in (
        ("good", "positive"),
        ("great", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
)


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    return make_recipe(RECIPE, a_csv=ROWS)


@pytest.fixture
def open_session(tmp_path: Path, registry: Registry, bases: Bases) -> Callable[..., Session]:
    """Return a function that opens a session on a recipe, in a folder of its own."""

    def opened(recipe: Recipe, name: str = "tune") -> Session:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Session.open(recipe, registry=registry, bases=bases, cache=tmp_path / "cache", folder=folder)

    return opened
