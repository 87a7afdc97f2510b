"""Bulk jobs, searches and training runs on a cluster of two nodes give what one machine gives.

Workers are killed on the way. One file, as each cluster costs seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from hub.bases.cache import Bases
from hub.config import Settings, load_settings
from hub.errors import BadAdapter, BaseMismatch
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.scale.bulk import BulkResult, run_bulk
from hub.scale.job import BulkRequest
from hub.scale.on_ray import run_on_ray
from hub.scale.train import RayFitting
from hub.scale.tune import search_on_ray
from hub.store.store import Store
from hub.training.search.session import KEPT, Session
from hub.training.search.space import space_of
from hub.training.search.storage import SCHEMA, STUDY_FILE, StudyPlace
from hub.training.search.study import opened, search
from hub.training.search.trial_run import LOST, NUMBER
from hub.training.train import TrainResult, train
from tests.fixtures.ray_cluster import killed, two_nodes
from tests.fixtures.s3 import S3Server
from tests.scale.conftest import write_parquet
from tests.support.training import make_recipe, registry
from tests.training.search.conftest import RECIPE, ROWS

__all__ = ["make_recipe", "registry"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of its own defaults
]

DONE = 3  # parts of a bulk job that began on one machine
TRAIN = """
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2}
method: {stored: fp32}
train: {epochs: 6, batch_size: 15, learning_rate: 0.02, validation_fraction: 0.25, dtype: fp32, accumulate: 2}
"""
TOLERANCE = 1e-5  # of weights and losses; docs/ray.md names it


@pytest.fixture(scope="module")
def nodes(moto_server: S3Server) -> Iterator[str]:
    with two_nodes(moto_server.environment) as address:
        yield address


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the base called tiny."""
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("home")
    Bases(folder).pull(str(tiny_encoder(folder / "encoder").path), "tiny")
    return folder


@pytest.fixture
def settings(tiny_home: Path, nodes: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HUB_HOME", str(tiny_home))
    monkeypatch.setenv("HUB_RAY__ADDRESS", nodes)
    return load_settings()


@pytest.fixture
def on_ray(
    nodes: str, home: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., BulkResult]:
    """Run a bulk job on the cluster."""
    monkeypatch.setenv("HUB_RAY__ADDRESS", nodes)

    def run(
        data: Path, *deployments: str, out: str, show: Any = lambda now: None, **options: Any
    ) -> BulkResult:
        request = BulkRequest(
            deployments=deployments or ("mood",), data=str(data), out=str(tmp_path / out), **options
        )
        return run_bulk(request, load_settings(), run_on_ray(2), show)

    return run


def test_a_job_that_began_here_goes_on_there_though_a_worker_is_killed(on_ray, job, tmp_path) -> None:
    for part in range(4):
        write_parquet(tmp_path / "in" / f"{part}.parquet", 1200, group=300)
    (tmp_path / "in" / "z.jsonl").write_text('{"text": "good"}\n{"text": ""}\n{broken\n')
    expected = job(tmp_path / "in", "mood", "tone", rows_per_part=300).to_json()
    out = tmp_path / "ray"
    job(tmp_path / "in", "mood", "tone", out="ray", rows_per_part=300)
    for path in sorted(out.glob("*.*"))[DONE:]:  # as if it had been stopped
        if not path.name.startswith("_"):
            path.unlink()
    seen: list[int] = []
    with killed("PartWorker", lambda: len(list(out.glob("*.parquet"))) > DONE, most=1) as workers:
        found = on_ray(
            tmp_path / "in",
            "mood",
            "tone",
            out="ray",
            show=lambda now: seen.append(now.rows),
            rows_per_part=300,
        ).to_json()
    assert workers
    assert (found["answered"], found["failed"], found["files"]) == (4801, 2, 17)
    assert found["resumed_files"] == DONE
    assert seen[-1] == 4803 - 300 * DONE
    assert found["failures"] == expected["failures"]
    names = sorted(path.name for path in (tmp_path / "out").glob("*.*"))
    assert names == sorted(path.name for path in out.glob("*.*"))
    for name in names:
        if name.endswith(".parquet"):
            ours, theirs = (pq.read_table(folder / name) for folder in (out, tmp_path / "out"))
            assert ours.schema == theirs.schema
            assert ours.to_pylist() == theirs.to_pylist()
    assert (out / "z.jsonl").read_text() == (tmp_path / "out" / "z.jsonl").read_text()


def test_an_error_of_a_worker_is_the_error_of_the_job(on_ray, home, tmp_path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", 5)
    version = home.store.get("mood@1")
    (version.path / "adapter_model.safetensors").write_bytes(b"altered")
    with pytest.raises(BadAdapter, match="mood@1"):
        on_ray(tmp_path / "in", out="out")
    assert not (tmp_path / "out" / "a.parquet").exists()


def trial_runs(place: StudyPlace) -> bool:
    """Return whether a trial has its values and its number, and runs."""
    query = f"""
        SELECT count(*) FROM {SCHEMA}.trials JOIN {SCHEMA}.trial_user_attributes USING (trial_id)
        WHERE state = 'RUNNING' AND key = '{NUMBER}'
    """
    engine = create_engine(place.url)
    try:
        with engine.connect() as connection:
            return bool(connection.execute(text(query)).scalar())
    except ProgrammingError:
        return False  # there is no table yet
    finally:
        engine.dispose()


def lost_trials(place: StudyPlace) -> list[dict[str, Any]]:
    """Return the values of the trials that ended with their workers."""
    with place.open() as storage:
        return [one.params for one in opened(storage, place, "max").trials if LOST in one.user_attrs]


def test_a_search_on_postgres_repeats_the_trials_of_killed_workers_and_is_resumed_here(
    make_recipe: Callable[..., Recipe],
    settings: Settings,
    tmp_path: Path,
    registry: Registry,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUB_CATALOG__URL", postgres_url)
    recipe = make_recipe(RECIPE, "train.epochs=12", "train.patience=12", "tune.prune=none", a_csv=ROWS)
    place, folder = StudyPlace.in_catalog(postgres_url, recipe.name), tmp_path / "tune"
    folder.mkdir()
    with killed("TrialWorker", lambda: trial_runs(place), most=2) as workers:
        tuned = search_on_ray(recipe, load_settings(), folder, workers=2, trials=3, sampler="bayes")
    assert workers
    assert [trial.number for trial in tuned.trials] == [0, 1, 2]
    assert {trial.state for trial in tuned.trials} == {"complete"}
    assert tuned.trials[0].values == space_of(recipe).own()
    assert lost_trials(place)
    assert json.loads((folder / KEPT / "plan.json").read_text())
    assert not list(folder.glob("worker-*"))
    assert not (folder / STUDY_FILE).exists()

    bases, packages = Bases(settings.home), tmp_path / "packages"
    session = Session.open(recipe, registry=registry, bases=bases, cache=packages, folder=folder)
    more = search(session, space_of(recipe), place, trials=4, sampler="bayes", resume=True)
    assert more.new == 1
    assert more.trials[:3] == tuned.trials


def test_a_search_without_a_database_keeps_its_trials_in_the_folder(
    make_recipe: Callable[..., Recipe], settings: Settings, tmp_path: Path
) -> None:
    recipe = make_recipe(RECIPE, "train.epochs=1", a_csv=ROWS)
    tuned = search_on_ray(recipe, settings, tmp_path, workers=2, trials=2, sampler="bayes")
    place = StudyPlace.in_folder(tmp_path)
    with place.open() as storage:
        stored = opened(storage, place, "max").trials
    assert sorted(one.value for one in stored) == sorted(trial.metric for trial in tuned.trials)


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Callable[..., TrainResult]:
    """Return a function that trains a recipe in a home of its own."""

    def trained(recipe: Recipe, home: str, **more: Any) -> TrainResult:
        folder = tmp_path / home
        return train(
            recipe,
            registry=Registry.load(),
            store=Store(folder),
            bases=Bases(settings.home),
            work=folder / "runs" / recipe.name,
            **more,
        )

    return trained


def weights(result: TrainResult, home: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(Store(home).fetch(result.version) / "adapter_model.safetensors")


@pytest.mark.usefixtures("fresh_s3")
def test_two_workers_give_the_weights_of_one_process_though_one_is_killed(
    make_recipe: Callable[..., Recipe],
    run: Callable[..., TrainResult],
    s3_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, place = make_recipe(TRAIN, a_csv=ROWS), f"{s3_url}/runs"
    here = run(recipe, "local")
    monkeypatch.setenv("HUB_RAY__CHECKPOINTS", place)
    files, root = fsspec.core.url_to_fs(place, use_listings_cache=False)
    shown: list[str] = []
    third = f"{root}/*/checkpoint_*/checkpoint-6/*"  # is uploaded when the second counts
    with killed("RayTrainWorker", lambda: bool(files.glob(third)), most=1) as workers:
        there = run(
            recipe,
            "ray",
            fitting=RayFitting(load_settings(), 2),
            progress=lambda stage, done, total, note="": shown.append(stage),
        )
    assert workers
    assert there.outcome.fitted.resumed_from
    assert there.outcome.fitted.stopped_early
    assert there.outcome.fitted.steps == here.outcome.fitted.steps
    assert there.outcome.fitted.best_step == here.outcome.fitted.best_step
    assert there.outcome.metrics == here.outcome.metrics
    first, second = weights(here, tmp_path / "local"), weights(there, tmp_path / "ray")
    assert first.keys() == second.keys()
    difference = max(float(abs(first[name] - second[name]).max()) for name in first)
    assert difference < TOLERANCE
    losses = [
        [entry["loss"] for entry in result.outcome.fitted.history if "loss" in entry]
        for result in (here, there)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=TOLERANCE)
    assert "train" in shown
    assert not files.find(root)


def test_an_error_of_the_hub_in_a_worker_ends_a_run_at_once(
    make_recipe: Callable[..., Recipe],
    run: Callable[..., TrainResult],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.train import ControllerError

    from tests.support.tiny import tiny_encoder

    other = tmp_path / "home-of-workers"
    Bases(other).pull(str(tiny_encoder(tmp_path / "other", "distilbert").path), "tiny")
    monkeypatch.setenv("HUB_HOME", str(other))
    with pytest.raises(BaseMismatch, match="The base tiny of this worker is another one") as raised:
        run(make_recipe(TRAIN, a_csv=ROWS), "ray", fitting=RayFitting(load_settings(), 1))
    assert isinstance(raised.value.__context__, ControllerError)  # else it has those of workers
