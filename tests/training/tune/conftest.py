# ruff: noqa: TID253 - bounds torch's threads
"""Searches on a tiny base."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hub.bases.cache import Bases
from hub.registry.host import Registry
from hub.testing.tiny import tiny_encoder
from hub.training.recipe import Recipe
from hub.training.tune.session import Session

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


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(scope="package")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    folder = tmp_path_factory.mktemp("bases")
    made = Bases(folder)
    made.pull(str(tiny_encoder(folder / "encoder").path), "tiny")
    return made


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
