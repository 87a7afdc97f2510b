"""Training jobs: their curves and events as they come, and a new one from an uploaded file."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from hub.console.events import live_of, live_part
from hub.console.render import render
from hub.console.routes import FORM_BYTES, ActionRoute, add_page, common, form_of, page, redirect, text_of
from hub.errors import BadRequest, HubError
from hub.http.auth import Right, caller_of
from hub.http.hub import Hub, hub_of
from hub.http.openai.fine_tuning import Hyperparameters
from hub.jobs.inspect_file import inspect_file
from hub.jobs.request import FINE_TUNE, JobRequest
from hub.jobs.service import MAX_NAME, format_by_name
from hub.serving.requests.parsing import parse_fields
from hub.store.jobs.describe import describe_job, describe_job_event
from hub.store.jobs.files import NewFile
from hub.store.jobs.jobs import MAX_EVENTS
from hub.store.jobs.records import EventKind, Page, TrainingJob

__all__ = ["add_routes"]

MAX_JOBS = 100
_SETTINGS = ("n_epochs", "batch_size", "learning_rate_multiplier")
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the pages, and the actions that upload a file, start a job and cancel one."""
    add_page(app, "/training", _list, Right.TRAIN)
    add_page(app, "/live/training", _live_list, Right.TRAIN)
    add_page(app, "/training/files", _upload, Right.TRAIN, route=_UploadAction)
    add_page(app, "/training/files/{file_id}", _look, Right.TRAIN)
    add_page(app, "/training/jobs", _start, Right.TRAIN, route=ActionRoute)
    add_page(app, "/training/jobs/{job_id}", _show, Right.TRAIN)
    add_page(app, "/live/training/jobs/{job_id}", _live, Right.TRAIN)
    add_page(app, "/training/jobs/{job_id}/cancel", _cancel, Right.TRAIN, route=ActionRoute)


class _UploadAction(ActionRoute):
    """Takes one file, of the size that a training file may have."""

    _files = 1

    def _limit(self, request: Request) -> tuple[int, str]:
        return hub_of(request).settings.jobs.file_bytes + FORM_BYTES, "jobs.file_bytes"


async def _list(request: Request) -> Response:
    live_of(request).want()
    return page(request, "training.html", "Training", **await _jobs(request))


async def _live_list(request: Request) -> Response:
    async def part() -> str:
        return render("training_live.html", **common(request), **await _jobs(request))

    return live_part(request, part)


async def _jobs(request: Request) -> Json:
    hub = hub_of(request)
    found = await asyncio.to_thread(hub.training.jobs.page, Page(MAX_JOBS))
    searches = await asyncio.to_thread(_searches, hub)
    return {"jobs": [describe_job(job) for job in found[:MAX_JOBS]], "searches": searches}


def _searches(hub: Hub) -> list[Json]:
    """Describe the searches whose best trial became a version."""
    return [
        {"version": str(version.ref), **version.manifest.search.model_dump(mode="json")}
        for version in hub.runtime.store.versions()
        if version.manifest.search
    ]


async def _upload(request: Request) -> Response:
    """Keep a file, and go on to look at it."""
    file, training = form_of(request).get("file"), hub_of(request).training
    if not isinstance(file, UploadFile) or not file.filename:
        raise BadRequest("Choose a file with rows to train on.")
    name = file.filename[:MAX_NAME]
    new = NewFile(name, format_by_name(name), FINE_TUNE, None)
    kept = await training.reading(partial(training.upload, file.file, new))
    return redirect(f"/training/files/{kept.id}")


async def _look(request: Request, file_id: str) -> Response:
    """Show what a file has, and what could be trained on it."""
    hub, query = hub_of(request), request.query_params
    file = await asyncio.to_thread(hub.training.files.get, file_id)
    path = hub.training.files.path(file)
    task, problem = query.get("task", ""), ""
    if task and task not in {one.spec.name for one in hub.tasks}:
        raise BadRequest("There is no such task here.")
    try:
        profile = await hub.training.reading(partial(inspect_file, path, file.filename, task))
    except HubError as error:
        if not task:
            raise
        problem = str(error)  # its columns do not fit: show the file all the same
        profile = await hub.training.reading(partial(inspect_file, path, file.filename))
    stem = PurePosixPath(file.filename).stem.lower()
    proposed = "".join(char if char.isalnum() and char.isascii() else "-" for char in stem).strip("-")[:40]
    return page(
        request,
        "file.html",
        file.filename,
        file={"id": file.id, "filename": file.filename, "rows": file.rows, "bytes": file.bytes},
        profile=profile,
        problem=problem,
        task=task,
        tasks=[{"name": one.spec.name, "summary": one.spec.summary} for one in hub.tasks],
        bases=[
            {"name": one.name, "kind": one.kind.value}
            for one in await asyncio.to_thread(hub.runtime.store.bases.list)
        ],
        proposed=proposed or "adapter",
        may_deploy=caller_of(request).may(Right.DEPLOY),
    )


async def _start(request: Request) -> Response:
    """Queue a job for a file."""
    deploy = text_of(request, "deploy", "").strip()
    if deploy:
        caller_of(request).require(Right.DEPLOY, deploy)
    metadata = {"task": text_of(request, "task"), **({"deploy": deploy} if deploy else {})}
    asked = JobRequest(
        model=text_of(request, "base"),
        training_file=text_of(request, "file"),
        suffix=text_of(request, "name", "").strip() or None,
        hyperparameters=_settings(request),
        metadata=metadata,
    )
    job = await asyncio.to_thread(hub_of(request).training.create, asked)
    return redirect(f"/training/jobs/{job.id}")


def _settings(request: Request) -> Json:
    """Return the hyperparameters of the form, with the limits of the API."""
    found: Json = {}
    for name in _SETTINGS:
        text = text_of(request, name, "").strip()
        if not text:
            continue
        fraction = name.startswith("learning")
        try:
            found[name] = float(text) if fraction else int(text)
        except ValueError:
            wanted = "a number" if fraction else "a whole number"
            raise BadRequest(f"{name}: {text[:20]!r} is not {wanted}.") from None
        if fraction and not math.isfinite(found[name]):
            raise BadRequest(f"{name}: must be finite.")
    return parse_fields(found, Hyperparameters).given()


async def _show(request: Request, job_id: str) -> Response:
    live_of(request).want()
    return page(request, "job.html", job_id, **await _job(request, job_id))


async def _live(request: Request, job_id: str) -> Response:
    async def part() -> str:
        return render("job_live.html", **common(request), **await _job(request, job_id))

    return live_part(request, part)


async def _job(request: Request, job_id: str) -> Json:
    jobs = hub_of(request).training.jobs
    job: TrainingJob = await asyncio.to_thread(jobs.get, job_id)
    events = await asyncio.to_thread(jobs.events, job_id, Page(MAX_EVENTS), list(EventKind))
    described = [describe_job_event(event) for event in events[:MAX_EVENTS]]
    return {
        "job": describe_job(job),
        "active": job.is_active,
        "curves": _curves(described),
        "log": [one for one in described if one["type"] == EventKind.MESSAGE],
    }


def _curves(events: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return the points of each metric over the steps, as uPlot takes them; events come newest first."""
    points: dict[str, dict[float, float]] = {}
    for event in reversed(events):
        data = event["data"] or {}
        for name, value in data.items() if event["type"] == EventKind.METRICS else ():
            if name != "step" and isinstance(value, int | float) and "step" in data:
                points.setdefault(name, {})[data["step"]] = value
    return [
        {"name": name, "data": [list(found), list(found.values())]}
        for name, found in sorted(points.items())
        if len(found) > 1
    ]


async def _cancel(request: Request, job_id: str) -> Response:
    await asyncio.to_thread(hub_of(request).training.cancel, job_id)
    return redirect(f"/training/jobs/{job_id}")
