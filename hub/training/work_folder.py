"""The folder of a training run: its checkpoints, and the plan that they belong to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hub.errors import Conflict
from hub.training.fit.checkpoints import move
from hub.training.plan import Plan

__all__ = ["ADAPTER", "CHECKPOINTS", "begin", "note_plan"]

ADAPTER = "adapter"
CHECKPOINTS = "checkpoints"
PLAN_FILE = "plan.json"


def begin(plan: Plan, work: Path, resume: bool, trial: Path | None) -> bool:
    """Prepare the work folder; return whether to resume from checkpoints in it, which are of this plan."""
    record = work / PLAN_FILE
    if not resume:
        for folder in (work / CHECKPOINTS, work / ADAPTER):
            shutil.rmtree(folder, ignore_errors=True)
    elif record.is_file() and not _is_of(plan, record):
        raise Conflict(
            f"The run in {work} cannot be resumed: its recipe, data or base was different. Undo the change, "
            "or train from the start without --resume."
        )
    note_plan(plan, work)
    if not resume and trial and _is_of(plan, trial / PLAN_FILE):
        move(trial, work / CHECKPOINTS)
        return True
    return resume


def note_plan(plan: Plan, folder: Path) -> None:
    """Record the plan of the checkpoints in a folder."""
    (folder / PLAN_FILE).write_text(json.dumps(plan.sha256), encoding="utf-8")


def _is_of(plan: Plan, record: Path) -> bool:
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")) == plan.sha256
