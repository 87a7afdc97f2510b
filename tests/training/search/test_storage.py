# ruff: noqa: TID253 - opens studies
"""Several processes write the trials of one search; another search does not see them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from sqlalchemy import create_engine, inspect

from hub.errors import BadConfig
from hub.store.store import Store
from hub.training.search.storage import SCHEMA, StudyPlace
from hub.training.search.study import opened
from hub.training.search.trial_run import NUMBER

WRITERS, TRIALS = 4, 5


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StudyPlace:
    if request.param == "file":
        return StudyPlace.in_folder(tmp_path)
    return StudyPlace.in_catalog(request.getfixturevalue("postgres_url"), "demo")


def write(place: StudyPlace, first: int) -> None:
    """Run trials as a worker does, with a storage of its own."""
    with place.open() as storage:
        study = opened(storage, place, "max")
        for number in range(first, first + TRIALS):
            trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
            trial.set_user_attr(NUMBER, number)
            trial.report(trial.params["x"], 1)
            trial.should_prune()
            study.tell(trial, trial.params["x"])


def test_no_trial_is_lost_when_several_write(place: StudyPlace) -> None:
    write(place, 0)
    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(write, place, TRIALS * writer) for writer in range(1, WRITERS + 1)]:
            done.result(120)
    with place.open() as storage:
        trials = opened(storage, place, "max").get_trials()
    assert sorted(trial.user_attrs[NUMBER] for trial in trials) == list(range(TRIALS * (WRITERS + 1)))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_a_new_search_has_no_trials_of_the_last(place: StudyPlace) -> None:
    with place.open(afresh=True):
        pass
    write(place, 0)
    with place.open(afresh=True) as storage:
        assert not opened(storage, place, "max").get_trials()


def test_the_tables_are_apart_from_those_of_the_catalog(postgres_url: str, tmp_path: Path) -> None:
    place, other = (StudyPlace.in_catalog(postgres_url, name) for name in ("demo", "other"))
    with Store(tmp_path / "home", catalog=postgres_url) as store:
        before = store.versions()
        write(place, 0)
        write(other, 0)
        with place.open(afresh=True) as storage:
            assert [one.study_name for one in storage.get_all_studies()] == ["other"]
    with Store(tmp_path / "home", catalog=postgres_url) as store:
        assert store.versions() == before
    with other.open() as storage:
        assert len(opened(storage, other, "max").get_trials()) == TRIALS
    engine = create_engine(other.url)
    assert "trials" in inspect(engine).get_table_names(schema=SCHEMA)
    assert "trials" not in inspect(engine).get_table_names(schema="public")
    engine.dispose()


def test_a_catalog_that_is_not_postgres_is_refused() -> None:
    with pytest.raises(BadConfig, match=r"catalog\.url"):
        StudyPlace.in_catalog("mysql://host/database", "demo")
