"""Writes the progress, the metrics and the checkpoints of a run as events of its job."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.api.kinds.tracker import Begun, Ended, Scalars
from hub.errors import HubError
from hub.store.jobs.jobs import MAX_EVENTS, Jobs, NewEvent
from hub.store.jobs.records import EventKind, Level, Page

__all__ = ["JobEvents"]

log = logging.getLogger(__name__)

FLUSH_S = 1.0
STATE = "trainer_state.json"  # Trainer writes it last, so a checkpoint with it is complete
_NAMES = {"train": "train", "validation": "valid"}


class JobEvents:
    """A progress and a tracker of one run; events are written about once a second.

    Progress is called by the thread that trains, the tracker by another; only the former writes.
    """

    def __init__(self, jobs: Jobs, job: str, owner: str, checkpoints: Path) -> None:
        self._jobs, self._job, self._owner = jobs, job, owner
        self._checkpoints = checkpoints
        self._known: set[int] = set()
        self._noted: set[tuple[int, frozenset[str]]] = set()
        self._new: list[NewEvent] = []
        self._lock = threading.Lock()
        self._stage, self._steps, self._flushed = "", 0, 0.0

    def resume(self) -> None:
        """Leave out what an earlier process of the job noted: a resumed run reports its steps again."""
        page = Page(MAX_EVENTS)
        for event in self._jobs.events(self._job, page, [EventKind.METRICS, EventKind.CHECKPOINT]):
            data = event.data or {}
            if event.kind is EventKind.CHECKPOINT:
                self._known.add(data["step"])
            elif "step" in data:
                self._noted.add((data["step"], frozenset(data)))

    def restart(self) -> None:
        """Note everything from now on: the run begins again."""
        self._known.clear()
        self._noted.clear()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Take the progress of a stage."""
        if stage == "train":
            self._steps = total
            self._add_checkpoints()  # the trainer keeps the two newest only
        due = time.monotonic() - self._flushed >= FLUSH_S
        if stage != self._stage:
            self._stage = stage
            self.add(NewEvent(f"Stage: {stage}."))
            due = True
        if due:
            self.flush()

    def add(self, event: NewEvent) -> None:
        """Add an event that is written soon."""
        with self._lock:
            self._new.append(event)

    def flush(self) -> None:
        """Write what is new; if the catalog does not answer, the next call does.

        Raises:
            LostJob: the job has ended, or another run works on it.
        """
        self._add_checkpoints()
        with self._lock:
            events, self._new = self._new, []
        try:
            if events:
                self._jobs.note(self._job, self._owner, events)
        except HubError as error:
            log.warning("Events are written later: %s", error)
            with self._lock:
                self._new[:0] = events
        self._flushed = time.monotonic()

    def start(self, run: Begun) -> None:
        """Take the start of the run."""

    def scalars(self, step: int, values: Scalars) -> None:
        """Take the metrics of a step."""
        data = {"step": step, "total_steps": self._steps, **_flat(values)}
        if (step, frozenset(data)) in self._noted:
            return
        shown = ", ".join(f"{name} {value:.4g}" for name, value in _flat(values).items())
        self.add(NewEvent(f"Step {step}/{self._steps or '?'}: {shown}.", data, kind=EventKind.METRICS))

    def end(self, run: Ended) -> None:
        """Take the end of the run."""
        if run.metrics:
            data = {name.replace("/", "_"): value for name, value in run.metrics.items()}
            self.add(NewEvent("Held-out rows are evaluated.", data, Level.INFO, EventKind.METRICS))

    def _add_checkpoints(self) -> None:
        for state in sorted(self._checkpoints.glob(f"checkpoint-*/{STATE}"), key=_step):
            step = _step(state)
            if step in self._known:
                continue
            self._known.add(step)
            data = {"step": step, "metrics": _last_metrics(state)}
            self.add(NewEvent(f"Checkpoint at step {step}.", data, kind=EventKind.CHECKPOINT))


def _step(state: Path) -> int:
    return int(state.parent.name.rpartition("-")[2])


def _flat(values: Mapping[str, float]) -> dict[str, float]:
    found = {}
    for name, value in values.items():
        section, _, metric = name.partition("/")
        found[f"{_NAMES.get(section, section)}_{metric}"] = value
    return found


def _last_metrics(state: Path) -> dict[str, Any]:
    """Return the last loss and validation metrics that a checkpoint knows."""
    found: dict[str, Any] = {}
    for entry in json.loads(state.read_text(encoding="utf-8"))["log_history"]:
        if "loss" in entry:
            found["train_loss"] = entry["loss"]
        found |= {f"valid_{key[5:]}": value for key, value in entry.items() if key.startswith("eval_")}
    return found
