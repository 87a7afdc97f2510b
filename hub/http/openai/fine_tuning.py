"""`/v1/fine_tuning/jobs`: create, list, show and cancel training jobs; their events and checkpoints."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from hub.http.auth import Right, caller_of
from hub.http.hub import hub_of
from hub.http.openai.pages import MAX_ID, Cursor, CursorList, TrainingRoute, listed
from hub.http.openai.routes import ERRORS
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.jobs.request import JobRequest
from hub.jobs.wording import about
from hub.names import NAME_PATTERN
from hub.store.jobs.describe import CHECKPOINT, EVENT, describe_checkpoint, describe_job, describe_job_event
from hub.store.jobs.records import EventKind, Page

__all__ = ["add_routes"]

Json = dict[str, Any]
JOBS = "/v1/fine_tuning/jobs"
MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512  # of metadata
_FILTER = re.compile(r"metadata\[(.{1,64})\]")

JobId = Annotated[str, Path(max_length=MAX_ID)]
Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class Hyperparameters(BaseModel):
    """Settings of the training; "auto" is the default of the recipe."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    n_epochs: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Epochs."
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="Rows in a batch."
    )
    learning_rate_multiplier: Literal["auto"] | Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="Factor of the method's default learning rate."
    )

    def given(self) -> Json:
        """Return the values that are not left to the recipe."""
        return {name: value for name, value in self.model_dump().items() if value not in (None, "auto")}


class SupervisedMethod(BaseModel):
    """Training on answers."""

    model_config = ConfigDict(extra="forbid")

    hyperparameters: Hyperparameters | None = None


class FineTuningMethod(BaseModel):
    """How to train: on answers."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["supervised"]
    supervised: SupervisedMethod | None = None


class FineTuningRequest(BaseModel):
    """A job to create."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        description="A base on the server.", examples=["minilm"], json_schema_extra={"pattern": NAME_PATTERN}
    )
    training_file: str = Field(max_length=MAX_ID, description="Id of an uploaded file.")
    validation_file: str | None = Field(
        None, max_length=MAX_ID, description="Id of a file with held-out rows."
    )
    suffix: str | None = Field(
        None, min_length=1, max_length=MAX_KEY, description="Name of the adapter; default: of the deployment."
    )
    seed: int | None = Field(None, ge=0, lt=2**31)
    hyperparameters: Hyperparameters | None = Field(None, description="Short for those in `method`.")
    method: FineTuningMethod | None = None
    metadata: dict[str, str] | None = Field(
        None,
        description="`task`: the task; `deploy`: a deployment to put a good version live under; "
        "`recipe.KEY`: a key of the recipe. Others are kept and shown.",
    )

    @field_validator("metadata")
    @classmethod
    def _limited(cls, pairs: dict[str, str] | None) -> dict[str, str] | None:
        pairs = pairs or {}
        if len(pairs) > MAX_PAIRS:
            raise ValueError(f"has more than {MAX_PAIRS} pairs")
        if any(len(key) > MAX_KEY or len(value) > MAX_VALUE for key, value in pairs.items()):
            raise ValueError(
                f"has a key of more than {MAX_KEY} characters or a value of more than {MAX_VALUE}"
            )
        return pairs

    def asked(self) -> JobRequest:
        """Return what is asked for."""
        of_method = self.method and self.method.supervised and self.method.supervised.hyperparameters
        values = (of_method or self.hyperparameters or Hyperparameters()).given()
        return JobRequest(
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file,
            suffix=self.suffix,
            seed=self.seed,
            hyperparameters=values,
            metadata=self.metadata or {},
        )


class JobFailure(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class ShownHyperparameters(BaseModel):
    """The settings of the training."""

    n_epochs: int | float | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate_multiplier: float | Literal["auto"]


class JobInfo(BaseModel):
    """A training job."""

    id: str
    object: Literal["fine_tuning.job"]
    status: Status
    model: str
    task: str = Field(description="Not part of OpenAI's API.")
    adapter: str = Field(description="The name of its versions; not part of OpenAI's API.")
    fine_tuned_model: str | None = Field(description="The stored version, name@N.")
    created_at: int = Field(description="Seconds since 1970.")
    finished_at: int | None
    estimated_finish: None
    training_file: str
    validation_file: str | None
    hyperparameters: ShownHyperparameters
    method: Json
    seed: int
    trained_tokens: int | None
    result_files: list[str]
    error: JobFailure | None
    metadata: dict[str, str]
    organization_id: str
    integrations: list[Json]
    result: Json | None = Field(
        description="Metrics, rows, and the outcome of the deployment; not part of OpenAI's API."
    )


class JobList(CursorList):
    """Jobs, newest first."""

    data: list[JobInfo]


class JobEventInfo(BaseModel):
    """Something that happened in a job."""

    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: Json | None


class JobEventList(CursorList):
    """Events, newest first."""

    data: list[JobEventInfo]


class CheckpointInfo(BaseModel):
    """A checkpoint that a job wrote; it is kept until the job ends, and cannot be deployed."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: Json


class CheckpointList(CursorList):
    """Checkpoints, newest first."""

    data: list[CheckpointInfo]


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    one = f"{JOBS}/{{fine_tuning_job_id}}"
    rows: list[TableRow] = [
        ("POST", JOBS, _create, JobInfo, "Queue a training job"),
        ("GET", JOBS, _list, JobList, "List the training jobs"),
        ("GET", one, _show, JobInfo, "Show a training job"),
        ("POST", f"{one}/cancel", _cancel, JobInfo, "Cancel a training job"),
        ("GET", f"{one}/events", _events, JobEventList, "List the events of a training job"),
        ("GET", f"{one}/checkpoints", _checkpoints, CheckpointList, "List the checkpoints of a training job"),
    ]
    add_table(app, rows, tag="training", responses=ERRORS, route=TrainingRoute)


async def _create(request: Request, body: FineTuningRequest) -> Response:
    asked = body.asked()
    if (deploy := asked.metadata.get("deploy")) is not None:
        with about("metadata.deploy"):
            caller_of(request).require(Right.DEPLOY, deploy)
    return json_response(describe_job(await asyncio.to_thread(hub_of(request).training.create, asked)))


async def _list(request: Request, query: Annotated[Cursor, Query()]) -> Response:
    jobs, wanted = hub_of(request).training.jobs, _wanted(request)
    found = await asyncio.to_thread(jobs.page, query.page, wanted)
    return json_response(listed(found, query.limit, describe_job))


async def _show(request: Request, fine_tuning_job_id: JobId) -> Response:
    return json_response(
        describe_job(await asyncio.to_thread(hub_of(request).training.jobs.get, fine_tuning_job_id))
    )


async def _cancel(request: Request, fine_tuning_job_id: JobId) -> Response:
    return json_response(
        describe_job(await asyncio.to_thread(hub_of(request).training.cancel, fine_tuning_job_id))
    )


async def _events(request: Request, fine_tuning_job_id: JobId, query: Annotated[Cursor, Query()]) -> Response:
    jobs, kinds = hub_of(request).training.jobs, (EventKind.MESSAGE, EventKind.METRICS)
    found = await asyncio.to_thread(jobs.events, fine_tuning_job_id, _numbered(query, EVENT), kinds)
    return json_response(listed(found, query.limit, describe_job_event))


async def _checkpoints(
    request: Request, fine_tuning_job_id: JobId, query: Annotated[Cursor, Query()]
) -> Response:
    jobs, page = hub_of(request).training.jobs, _numbered(query, CHECKPOINT)
    found = await asyncio.to_thread(jobs.events, fine_tuning_job_id, page, (EventKind.CHECKPOINT,))
    return json_response(listed(found, query.limit, describe_checkpoint))


def _numbered(query: Cursor, prefix: str) -> Page:
    return Page(query.limit, query.after and query.after.removeprefix(prefix))


def _wanted(request: Request) -> dict[str, str]:
    """Return the values of `metadata[key]` that the query names."""
    named = ((_FILTER.fullmatch(name), value) for name, value in request.query_params.multi_items())
    return {match[1]: value for match, value in named if match}
