"""Runs the trials of a search on a Ray cluster; Optuna chooses them, in a database that workers share."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.config import Settings
from hub.errors import BadConfig
from hub.progress import Progress, silent
from hub.recipe.recipe import Recipe
from hub.scale.cluster import Cluster, cluster, resulting
from hub.scale.hub_here import hub_here, settings_for_workers

if TYPE_CHECKING:
    from hub.evaluation.goal import Goal
    from hub.training.search.session import Session
    from hub.training.search.storage import StudyPlace
    from hub.training.search.trials import Tuned

__all__ = ["place_of", "search_on_ray"]

_WORKER = "worker-"
_INVALID = "invalid.jsonl"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the command knows of the data that its workers have prepared."""

    sha256: str
    metric: str
    goal: Goal


def search_on_ray(  # noqa: PLR0913 - a search is all of these
    recipe: Recipe,
    settings: Settings,
    folder: Path,
    *,
    workers: int | None,
    trials: int,
    sampler: str,
    resume: bool = False,
    timeout: float | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Search as `hub.training.search.study.search` does, with several trials at once.

    Each of `workers` (default: one for each CPU) prepares and tokenizes the data once. A trial whose worker
    dies is repeated by the next one, and marked as failed after three deaths. The result depends on the order
    in which trials end, so that it is not decided by the seed alone.

    Raises:
        BadConfig: the cluster has several machines, and `catalog.url` is empty.
        BadRecipe, BadData, Conflict, ClusterUnavailable, MissingExtra: as `search`, `Session` and `cluster`.
    """
    from hub.training.search.space import space_of
    from hub.training.search.study import search

    space = space_of(recipe)
    with cluster(settings.ray) as found:
        place = place_of(recipe, settings, folder, found)
        count = min(workers or sum(cpus for cpus, _ in found.shares), trials)
        pool = _Pool(recipe, settings, folder, place, found.share(count), count, sampler)
        progress("prepare workers", 0, 0)
        with pool:
            return search(
                pool.facts(),
                space,
                place,
                trials=trials,
                sampler=sampler,
                resume=resume,
                timeout=timeout,
                progress=progress,
                run_all=pool.run_all,
            )


def place_of(recipe: Recipe, settings: Settings, folder: Path, found: Cluster) -> StudyPlace:
    """Return where the trials are stored: the catalog's database, or a file if all workers are here."""
    from hub.training.search.storage import StudyPlace

    if settings.catalog.url:
        return StudyPlace.in_catalog(settings.catalog.url, recipe.name)
    if found.machines > 1:
        raise BadConfig(
            f"catalog.url is empty, and the cluster has {found.machines} machines. Set it to a PostgreSQL "
            "database: all workers read and write the trials there."
        )
    return StudyPlace.in_folder(folder)


class _Pool:
    """The workers of a search, as Ray actors, which Ray starts again when they die."""

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        folder: Path,
        place: StudyPlace,
        share: tuple[int, int],
        count: int,
        sampler: str,
    ) -> None:
        import ray

        made = ray.remote(TrialWorker).options(
            num_cpus=share[0],
            num_gpus=share[1],
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy="SPREAD",
        )
        given = settings_for_workers(settings)
        self._folder = folder
        self._actors = [
            made.remote(recipe, given, folder / f"{_WORKER}{number}", place, sampler)
            for number in range(count)
        ]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        for folder in self._folder.glob(f"{_WORKER}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def facts(self) -> _Facts:
        """Wait until the first worker has prepared the data.

        Raises:
            BadRecipe, BadData: as `Session.open`.
        """
        import ray

        facts: _Facts = resulting(lambda: ray.get(self._actors[0].facts.remote()))
        invalid = self._folder / f"{_WORKER}0" / _INVALID
        if invalid.is_file():
            shutil.copyfile(invalid, self._folder / _INVALID)
        return facts

    def run_all(self, numbers: Iterator[int], is_best: Callable[[int], bool]) -> Iterator[int]:
        """Run trials, one at a time on each worker; a `RunAll`."""
        from ray.util import ActorPool

        pool = ActorPool(self._actors)
        for number in _first(numbers, len(self._actors)):
            pool.submit(_run, number)
        while pool.has_next():
            ended, kept = resulting(pool.get_next_unordered)
            self._keep(kept, is_best(ended))
            for number in _first(numbers, 1):
                pool.submit(_run, number)
            yield ended

    def _keep(self, kept: Path, best: bool) -> None:
        """Take over the checkpoints of the best trial, where its worker's folder is visible here."""
        from hub.training.fit.checkpoints import move
        from hub.training.search.session import KEPT

        if best and kept.is_dir():
            move(kept, self._folder / KEPT)
        shutil.rmtree(kept, ignore_errors=True)


class TrialWorker:
    """One worker: data that is prepared for the first trial, and the trials that are run on it."""

    def __init__(self, recipe: Recipe, settings: str, folder: Path, place: StudyPlace, sampler: str) -> None:
        self._recipe, self._settings, self._folder = recipe, settings, folder
        self._place, self._sampler = place, sampler
        self._session: Session | None = None

    def facts(self) -> _Facts:
        """Prepare the data, and describe it."""
        session = self._prepared()
        return _Facts(session.sha256, session.metric, session.goal)

    def run(self, number: int) -> tuple[int, Path]:
        """Run a trial; return its number, and the folder of its checkpoints if it was the best so far."""
        from hub.training.search.session import KEPT
        from hub.training.search.space import space_of
        from hub.training.search.study import opened
        from hub.training.search.trial_run import Run

        session = self._prepared()
        with self._place.open() as storage:
            study = opened(storage, self._place, session.goal)
            Run(session, space_of(self._recipe), study, self._sampler, shared=True).one(number)
        return number, self._folder / KEPT

    def _prepared(self) -> Session:
        from hub.training.search.session import Session

        if self._session is None:
            here = hub_here(self._settings)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._session = Session.open(
                self._recipe,
                registry=here.registry,
                bases=here.bases,
                cache=here.packages,
                folder=self._folder,
            )
        return self._session


def _run(worker: Any, number: int) -> Any:
    return worker.run.remote(number)


def _first(numbers: Iterator[int], count: int) -> list[int]:
    return list(itertools.islice(numbers, count))
