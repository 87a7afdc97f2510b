# ruff: noqa: TID253 - opens studies
"""Where the trials of a search on Ray are stored, and how often one is tried; see test_on_two_nodes.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from hub.config import Settings
from hub.errors import BadConfig
from hub.recipe.recipe import Recipe
from hub.scale.cluster import Cluster
from hub.scale.tune import place_of
from hub.training.search.space import space_of
from hub.training.search.storage import StudyPlace
from hub.training.search.study import opened
from hub.training.search.trial_run import Run
from tests.support.training import make_recipe
from tests.training.search.conftest import RECIPE, ROWS

__all__ = ["make_recipe"]

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

HERE = Cluster(((1, 0), (1, 0)), machines=1)
APART = Cluster(((1, 0), (1, 0)), machines=2)
CATALOG = "postgresql://hub@database/hub"


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    return make_recipe(RECIPE, a_csv=ROWS)


def test_trials_are_in_the_catalog_s_database_and_without_one_in_the_folder(
    recipe: Recipe, tmp_path: Path
) -> None:
    without = Settings(home=tmp_path)
    catalog = without.catalog.model_copy(update={"url": CATALOG})
    having = without.model_copy(update={"catalog": catalog})
    for found in (HERE, APART):
        assert place_of(recipe, having, tmp_path, found) == StudyPlace.in_catalog(CATALOG, "demo")
    assert place_of(recipe, without, tmp_path, HERE) == StudyPlace.in_folder(tmp_path)
    with pytest.raises(BadConfig, match=r"catalog\.url is empty, and the cluster has 2 machines"):
        place_of(recipe, without, tmp_path, APART)


class Deadly:
    """A session whose workers die in their first `deaths` trials."""

    sha256, metric, goal = "x", "accuracy", "max"

    def __init__(self, deaths: int) -> None:
        self.trained: list[dict[str, Any]] = []
        self._deaths = deaths

    def train(self, recipe: Recipe, watch: Callable[[int, float], None], *others: Any) -> Any:
        self.trained.append({"rate": recipe.train.learning_rate, "rank": recipe.method.rank})
        if len(self.trained) <= self._deaths:
            raise KeyboardInterrupt
        watch(1, 0.5)
        return SimpleNamespace(steps=1)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    place = StudyPlace.in_folder(tmp_path)
    with place.open() as storage:
        yield opened(storage, place, "max")


def run_until_told(recipe: Recipe, study: optuna.Study, session: Deadly, number: int) -> int:
    """Give a trial to a new worker for each that dies; return how many there were."""
    for count in range(1, 10):
        try:
            Run(session, space_of(recipe), study, "bayes", shared=True).one(number)
        except KeyboardInterrupt:
            continue
        return count
    raise AssertionError("it is given to workers for ever")


def test_a_trial_whose_worker_dies_is_repeated_with_its_values(recipe: Recipe, study: optuna.Study) -> None:
    session = Deadly(deaths=2)
    assert run_until_told(recipe, study, session, number=7) == 3
    assert session.trained == 3 * session.trained[:1]
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE"]


def test_a_trial_fails_after_three_deaths_and_the_others_go_on(recipe: Recipe, study: optuna.Study) -> None:
    session = Deadly(deaths=3)
    assert run_until_told(recipe, study, session, number=7) == 4
    assert len(session.trained) == 3
    assert study.trials[-1].user_attrs["details"]["reason"].startswith("The worker died 3 times")
    assert run_until_told(recipe, study, session, number=8) == 1
    assert [trial.state.name for trial in study.trials] == [*4 * ["FAIL"], "COMPLETE"]
