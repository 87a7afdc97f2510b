"""One training run, from a recipe to a stored version; if a step fails, nothing is stored."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of
from pathlib import Path

from filelock import FileLock, Timeout

from hub.api.kinds.reader import InvalidRow
from hub.bases.cache import Bases
from hub.data.augment.back_translation import TRANSLATIONS
from hub.data.dataset import InvalidRows
from hub.data.notes import write_notes
from hub.errors import Conflict
from hub.evaluation.assess import MISTAKES, Measured, assess, measured, recorded
from hub.evaluation.evaluation import Evaluation
from hub.evaluation.evaluator import EvaluationSample
from hub.names import VersionRef
from hub.progress import Progress, silent
from hub.recipe.recipe import Recipe
from hub.registry.host import Registry
from hub.store.manifest import PrecisionRecord, Search, Spread
from hub.store.records import Version
from hub.store.store import Check, Store, Training
from hub.training.ablation import WITHOUT, Ablation, ablate
from hub.training.cross_validate import FOLDS, cross_validate
from hub.training.plan import Plan, make_plan
from hub.training.run import FIRST, Fitting, Outcome, run
from hub.training.trackers.fan_out import Tracked, TrackerPlace, Trackers
from hub.training.trackers.start import check as check_trackers
from hub.training.trackers.start import figures, tracked
from hub.training.work_folder import ADAPTER, CHECKPOINTS

__all__ = ["Gauge", "TrainResult", "WriteReport", "only_run", "train"]

log = logging.getLogger(__name__)

INVALID_FILE = "invalid.jsonl"
NOTES_FILE = "rows.jsonl"
_LIBRARIES = ("grafthub", "torch", "transformers", "peft")


Gauge = Callable[[Plan, Path, EvaluationSample], PrecisionRecord]
"""Measures the adapter in a folder on a base of another precision; raises nothing."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run; `invalid_file` lists the invalid rows, one JSON object per line.

    `evaluation` has all figures of the held-out rows, `measured` the answers behind them. `new` is false if
    the store already had the same weights under this name. `report` is the page, None if it could not be
    written; `ablation` is the effect of augmentation, if requested. `trackers` are those of the recipe, with
    the problem of each that failed.
    """

    version: Version
    new: bool
    plan: Plan
    outcome: Outcome
    seconds: float
    invalid: tuple[InvalidRow, ...]
    invalid_file: Path
    measured: Measured
    evaluation: Evaluation
    report: Path | None = None
    ablation: Ablation | None = None
    trackers: tuple[Tracked, ...] = ()


WriteReport = Callable[[Store, TrainResult], Path]
"""Writes the report of a stored version and returns its page: `hub.report.write.write_report`."""


def train(  # noqa: PLR0913 - a run needs all of the hub
    recipe: Recipe,
    *,
    registry: Registry,
    store: Store,
    bases: Bases,
    work: Path,
    progress: Progress = silent,
    resume: bool = False,
    check: Check | None = None,
    gauges: Mapping[str, Gauge] | None = None,
    search: Search | None = None,
    trial: Path | None = None,
    report: WriteReport | None = None,
    trackers: Sequence[TrackerPlace] = (),
    fitting: Fitting | None = None,
) -> TrainResult:
    """Train, evaluate and store an adapter; `report` writes its report, `trackers` follow the run too.

    `work` keeps the checkpoints of an unfinished run, which `resume` continues. The store calls `check`
    before it adds the files. The results of `gauges`, and the `search` that found the recipe, are recorded in
    the manifest. `trial` has checkpoints of that search, see `run`. `fitting` trains the version elsewhere;
    folds and an ablation are trained here.

    Raises:
        BadRecipe, BadData: the recipe or its data cannot be used.
        Conflict: another run uses `work`, or the run in it has another recipe.
        NotFound, SourceUnavailable: the task or base does not exist, or a download failed.
    """
    started = time.perf_counter()
    check_trackers(recipe)
    with only_run(work), ExitStack() as during:
        with _listed(recipe, work) as invalid:
            cache = store.home / "cache" / "packages"
            plan = make_plan(
                recipe, registry=registry, bases=bases, cache=cache, invalid=invalid, progress=progress
            )
            following = during.enter_context(tracked(plan, store.home, trackers))
            ran = _run_plan(plan, invalid, store, work, progress, resume, trial, following, fitting)
        evaluation = _assessed(recipe, ran, progress)
        precision = _gauged(ran, work / ADAPTER, gauges or {})
        seconds = time.perf_counter() - started
        ablation = ablate(plan, ran.outcome, ran.found, work, progress, resume)
        about = _trained(ran, evaluation, seconds, precision, ablation)
        about |= {"recipe": recipe.resolved(), "search": search, "plugin": registry.plugin_of(recipe.task)}
        version = store.add(recipe.name, work / ADAPTER, plan.serving, origin="trained", check=check, **about)
        _clean(work)
        result = TrainResult(
            version=version,
            new=version.ref not in ran.before,
            plan=plan,
            outcome=ran.outcome,
            seconds=seconds,
            invalid=tuple(ran.invalid.rows),
            invalid_file=work / INVALID_FILE,
            measured=ran.found,
            evaluation=evaluation,
            ablation=ablation,
            trackers=_end_trackers(ran, evaluation, version),
        )
    return replace(result, report=_report(store, result, report))


@contextmanager
def _listed(recipe: Recipe, work: Path) -> Iterator[InvalidRows]:
    """Yield the list of invalid rows, and write it to `work` in any case."""
    invalid = InvalidRows(recipe)
    try:
        yield invalid
    finally:
        invalid.write(work / INVALID_FILE)


@dataclass(frozen=True, slots=True)
class _Ran:
    """The results of a plan; `before` are the earlier versions of its name."""

    plan: Plan
    invalid: InvalidRows
    across: dict[str, Spread]
    before: set[VersionRef]
    trackers: Trackers
    outcome: Outcome
    found: Measured


def _run_plan(  # noqa: PLR0913, PLR0917 - a run needs all of the hub
    plan: Plan,
    invalid: InvalidRows,
    store: Store,
    work: Path,
    progress: Progress,
    resume: bool,
    trial: Path | None,
    trackers: Trackers,
    fitting: Fitting | None,
) -> _Ran:
    """Cross-validate, train, and answer the held-out rows."""
    write_notes(plan.dataset.notes, work / NOTES_FILE)
    across = cross_validate(plan, work / FOLDS, progress, resume)
    before = {version.ref for version in store.versions(plan.recipe.name)}
    outcome = run(plan, invalid, work, progress, resume, trackers=trackers, trial=trial, fitting=fitting)
    found = measured(outcome.held_out, outcome.scored)
    return _Ran(plan, invalid, across, before, trackers, outcome, found)


def _assessed(recipe: Recipe, ran: _Ran, progress: Progress) -> Evaluation:
    return assess(
        ran.found,
        baseline=ran.outcome.baseline,
        temperature=ran.outcome.temperature,
        columns=recipe.evaluate.slices,
        mistakes=max(MISTAKES, recipe.report.examples),
        seed=recipe.train.seed,
        progress=progress,
    )


def _gauged(ran: _Ran, adapter: Path, gauges: Mapping[str, Gauge]) -> dict[str, PrecisionRecord]:
    return {name: gauge(ran.plan, adapter, ran.outcome.sample) for name, gauge in gauges.items()}


def _end_trackers(ran: _Ran, evaluation: Evaluation, version: Version) -> tuple[Tracked, ...]:
    tags = {"version": str(version.ref), "sha256": version.sha256}
    return ran.trackers.end("finished", figures(evaluation), tags)


def _trained(
    ran: _Ran,
    evaluation: Evaluation,
    seconds: float,
    precision: Mapping[str, PrecisionRecord],
    ablation: Ablation | None,
) -> Training:
    """Return the manifest's entries on the data, the run and its figures."""
    task, outcome, kept = ran.plan.loaded.task, ran.outcome, recorded(evaluation)
    return {
        "metrics": outcome.metrics,
        "metric": task.metric,
        "metric_goal": task.metric_goal,
        "signatures": dict(evaluation.signatures),
        "metrics_cv": ran.across,
        "intervals": kept["intervals"],
        "calibration": kept["calibration"],
        "underperforming_slices": kept["underperforming_slices"],
        "data": ran.plan.data_ref(len(ran.invalid.rows), outcome.augmented, outcome.dropped),
        "libraries": {name: version_of(name) for name in _LIBRARIES},
        "train_seconds": round(seconds, 1),
        "precision": precision,
        "ablation": ablation.as_dict() if ablation else {},
    }


def _clean(work: Path) -> None:
    """Remove what a run needed; the stored version remains if this fails."""
    try:
        for name in (CHECKPOINTS, ADAPTER, FOLDS, FIRST, WITHOUT):
            shutil.rmtree(work / name, ignore_errors=name not in (CHECKPOINTS, ADAPTER))
        (work / TRANSLATIONS).unlink(missing_ok=True)
    except OSError as error:
        log.warning("The version is stored, but %s could not be cleaned: %s", work, error)


def _report(store: Store, result: TrainResult, write: WriteReport | None) -> Path | None:
    """Write the report; the stored version remains if this fails."""
    try:
        return write(store, result) if write else None
    except Exception as error:
        log.warning("%s is stored, but its report could not be written: %s", result.version.ref, error)
        return None


@contextmanager
def only_run(work: Path) -> Iterator[None]:
    """Lock a folder against other runs within the block.

    Raises:
        Conflict: another run uses it.
    """
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise Conflict(f"Another run uses {work}. Wait for it, or use another adapter name.") from None
    try:
        yield
    finally:
        lock.release()
