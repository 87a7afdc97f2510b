"""The process of a job: `python -m hub.jobs.process`, started by a serving process, configured on stdin.

It checks the files of a job, or trains it. It ends with the serving process, and another goes on.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.config import Settings, restore_settings
from hub.errors import BadData, Conflict, HubError, NotFound, log_fault
from hub.jobs.aside import give_way
from hub.jobs.events import JobEvents
from hub.jobs.folder import JobFolder
from hub.jobs.openai_rows import CHAT, as_prompts, columns_for, format_of
from hub.jobs.request import recipe_of
from hub.jobs.wording import reworded
from hub.registry.active import activate
from hub.registry.host import Registry
from hub.store.jobs.files import Files, NewFile
from hub.store.jobs.jobs import Jobs, NewEvent
from hub.store.jobs.records import JobStatus, Level, LostJob, TrainingJob
from hub.store.store import Store

if TYPE_CHECKING:
    from hub.data.dataset import Dataset, InvalidRows
    from hub.recipe.recipe import Recipe
    from hub.training.gate import GateDecision
    from hub.training.train import TrainResult

__all__ = ["JobStage", "Order", "main"]

log = logging.getLogger("hub.jobs")

WAIT_S = 60.0  # for the process of a serving process that died
CHECK_EVERY_S = 0.5
MAX_ROWS = 100  # invalid rows in an event
LOST = 3  # exit status: the job has ended, or another run works on it
FAILED = 1

Json = dict[str, Any]


class JobStage(StrEnum):
    """What a process does for its job."""

    CHECK = "check"
    TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is told on stdin, as one line: the environment may be read by others."""

    settings: Settings
    job: str
    owner: str
    stage: JobStage
    parent: int

    def to_line(self) -> bytes:
        """Return the line."""
        fields = {name: getattr(self, name) for name in ("job", "owner", "stage", "parent")}
        return json.dumps({**fields, "settings": self.settings.model_dump_json()}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """Parse the line."""
        fields = json.loads(line)
        stage, settings = JobStage(fields.pop("stage")), restore_settings(fields.pop("settings"))
        return cls(settings=settings, stage=stage, **fields)


def main() -> None:
    """Work on one job; the exit status is 0 if it went well or was reported as failed."""
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = Order.from_line(line)
    logging.basicConfig(format="%(asctime)s [%(levelname)s] %(name)s: %(message)s")
    _step_back(order)
    folder = JobFolder(order.settings.home, order.job)
    with folder.process_lock(WAIT_S), Store.of(order.settings) as store:
        try:
            _Run(order, store, folder).work()
        except LostJob:
            raise SystemExit(LOST) from None


def _step_back(order: Order) -> None:
    """Give way to the server: lower priority, few threads, first to go if memory runs out."""
    threading.Thread(target=_end_with, args=(order.parent,), name="parent-watch", daemon=True).start()
    give_way(order.settings.jobs.nice)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(CHECK_EVERY_S)
    os.killpg(0, signal.SIGKILL)


class _Run:
    def __init__(self, order: Order, store: Store, folder: JobFolder) -> None:
        self.store, self.folder, self.settings = store, folder, order.settings
        self.stage, self.owner = order.stage, order.owner
        self.jobs, self.files = Jobs(store.catalog), Files(store.catalog, store.home)
        self.job: TrainingJob = self.jobs.get(order.job)
        self.registry = activate(Registry.of(order.settings))
        self.sources: dict[str, str] = {}

    def work(self) -> None:
        """Do the stage; an error of the job's own ends it as failed.

        Raises:
            LostJob: the job has ended, or another run works on it.
        """
        events = JobEvents(self.jobs, self.job.id, self.owner, self.folder.work / "checkpoints")
        try:
            if self.stage is JobStage.CHECK:
                self._check(events)
            else:
                self._train(events)
        except HubError as error:
            events.flush()
            self._fail(error)
        except LostJob:
            raise
        except Exception as error:
            log_fault(log, f"Job {self.job.id} failed", error)
            self._fail(HubError(f"Training failed ({type(error).__name__}). The server's log has the place."))

    def _check(self, events: JobEvents) -> None:
        from hub.data.dataset import InvalidRows
        from hub.training.plan import make_plan

        recipe = self._recipe()
        invalid = InvalidRows(recipe)
        try:
            plan = make_plan(
                recipe,
                registry=self.registry,
                bases=self.store.bases,
                cache=self.settings.home / "cache" / "packages",
                invalid=invalid,
                progress=events,
            )
        except BadData:
            self._note_rows(events, invalid, Level.ERROR)
            raise
        self._note_rows(events, invalid, Level.WARN)
        events.add(_rows_event(plan.dataset, len(invalid.rows)))
        events.flush()
        self.jobs.advance(self.job.id, self.owner, JobStatus.QUEUED)

    def _train(self, events: JobEvents) -> None:
        self.jobs.advance(self.job.id, self.owner, JobStatus.RUNNING)
        found = self.folder.result
        if found:
            gate = found.get("gate") or self._decided(lambda: self._gate_stored(found["version"]))
            self.folder.write_result({**found, "gate": gate})
            return
        recipe = self._recipe()
        events.resume()
        try:
            result = self._trained(recipe, events, resume=True)
        except Conflict:  # the base or the data's rules changed since the checkpoint
            events.add(NewEvent("The checkpoints do not fit any more: from the start.", level=Level.WARN))
            events.restart()
            result = self._trained(recipe, events, resume=False)
        events.flush()
        found = self._described(result)
        self.folder.write_result(found)
        gate = self._decided(lambda: self._gate(result, events))
        self.folder.write_result({**found, "gate": gate})

    def _trained(self, recipe: Recipe, events: JobEvents, *, resume: bool) -> TrainResult:
        from hub.export.int8_gate import INT8, int8_gauge
        from hub.report.write import write_report
        from hub.serving.residency.servable import servable_on
        from hub.training.trackers.fan_out import TrackerPlace
        from hub.training.train import train

        servable = servable_on(self.store.bases, trained_here=True)

        def check(files: Any, serving: Any) -> None:
            servable(files, serving)
            self.jobs.advance(self.job.id, self.owner, JobStatus.STORING)

        return train(
            recipe,
            registry=self.registry,
            store=self.store,
            bases=self.store.bases,
            work=self.folder.work,
            progress=events,
            resume=resume,
            check=check,
            gauges={INT8: int8_gauge(self.settings, events)},
            report=write_report,
            trackers=[TrackerPlace("events", "the job", lambda: events)],
        )

    def _recipe(self) -> Recipe:
        spec = self.job.spec
        training = self._path(spec.training_file)
        validation = self._path(spec.validation_file) if spec.validation_file else None
        columns: dict[str, str] = {}
        if kind := format_of(training) if training.suffix == ".jsonl" else "":
            columns = columns_for(self.registry.task(spec.task).task.fields)
            if columns and kind == CHAT:
                training = self._as_prompts(training)
                validation = validation and self._as_prompts(validation)
        return recipe_of(spec, training, validation, columns)

    def _path(self, id: str) -> Path:
        path = self.files.path(self.files.get(id))
        self.sources[path.name] = id
        return path

    def _as_prompts(self, path: Path) -> Path:
        target = self.folder.path / path.name
        as_prompts(path, target)
        return target

    def _decided(self, gate: Callable[[], Json | None]) -> Json | None:
        """Return what a gate decides; a version about which it cannot is stored already, and not deployed."""
        try:
            return gate()
        except LostJob:
            raise
        except HubError as error:
            reason = self._shown(error)
        except Exception as error:
            log_fault(log, f"The gate of job {self.job.id} failed", error)
            reason = f"the gate failed ({type(error).__name__}); the server's log has the place"
        return {"passed": False, "reason": reason}

    def _gate(self, result: TrainResult, events: JobEvents) -> Json | None:
        from hub.report.write import add_gate
        from hub.training.gate import pass_gate

        name = self.job.spec.deploy
        if name is None:
            return None
        live = _live(self.store, name)
        decision = pass_gate(result, live, registry=self.registry, store=self.store, progress=events)
        if result.report:
            add_gate(self.store, result.version, name, live, decision)
        return _gated(decision)

    def _gate_stored(self, ref: str) -> Json | None:
        """Decide by recorded metrics: the process that measured the version has ended."""
        from hub.training.gate import decide

        name = self.job.spec.deploy
        if name is None:
            return None
        rule = self._recipe().deploy
        return _gated(decide(self.store.get(ref), _live(self.store, name), rule))

    def _described(self, result: TrainResult) -> Json:
        outcome, data, train = result.outcome, result.plan.dataset, result.plan.recipe.train
        return {
            "version": str(result.version.ref),
            "sha256": result.version.sha256,
            "metric": result.version.manifest.metric,
            "metrics": dict(outcome.metrics),
            "trained_tokens": outcome.fitted.tokens,
            "steps": outcome.fitted.steps,
            "epochs": outcome.fitted.epochs,
            "resumed_from": outcome.fitted.resumed_from,
            "seconds": round(result.seconds, 1),
            "rows": _counts(data, len(result.invalid)),
            "hyperparameters": {"epochs": train.epochs, "batch_size": train.batch_size},
            "result_file": self._result_file(outcome.fitted.history),
        }

    def _result_file(self, history: Any) -> str | None:
        """Keep the metrics by step; if that fails, the version is stored all the same."""
        from hub.jobs.result_file import PURPOSE, metrics_csv

        new = NewFile(f"step_metrics-{self.job.id}.csv", "csv", PURPOSE)
        try:
            return self.files.add(self.files.stage(metrics_csv(history), "csv", None), new, len(history)).id
        except (HubError, OSError) as error:
            log.warning("The metrics of job %s by step could not be kept: %s", self.job.id, error)
            return None

    def _note_rows(self, events: JobEvents, invalid: InvalidRows, level: Level) -> None:
        if not invalid.rows:
            return
        rows = [
            {"file": self.sources.get(row.source, row.source), "line": row.line, "reason": row.reason}
            for row in invalid.rows[:MAX_ROWS]
        ]
        events.add(NewEvent(f"{len(invalid.rows)} rows are invalid.", {"invalid_rows": rows}, level))

    def _fail(self, error: HubError) -> None:
        reworded(error, self.job.spec)
        message = self._shown(error)
        found = {"code": error.code, "message": message, "param": error.field or None}
        event = NewEvent(message, {"code": error.code}, Level.ERROR)
        self.jobs.finish(self.job.id, self.owner, error=found, event=event)

    def _shown(self, error: HubError) -> str:
        """Return the message of an error without the folder of the home."""
        return str(error).replace(f"{self.settings.home}{os.sep}", "")


def _live(store: Store, name: str) -> Any:
    try:
        return store.deployment(name).stable
    except NotFound:
        return None


def _gated(decision: GateDecision) -> Json:
    return {"passed": decision.passed, "reason": decision.reason}


def _counts(dataset: Dataset, invalid: int) -> Json:
    return {
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "held_out": len(dataset.held_out),
        "invalid": invalid,
    }


def _rows_event(dataset: Dataset, invalid: int) -> NewEvent:
    counts = _counts(dataset, invalid)
    message = f"The files are valid: {counts['train']:,} rows to train on, {counts['held_out']:,} held out."
    return NewEvent(message, {"rows": counts, "data_report": dataset.data_report.to_json()})


if __name__ == "__main__":
    main()
