"""Models of what the hub itself says over HTTP; the tasks bring their own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from hub.api import Model
from hub.names import NAME_PATTERN

__all__ = [
    "DESCRIBED",
    "ERRORS",
    "ERROR_MODELS",
    "ChangedInfo",
    "DeploymentInfo",
    "DeploymentList",
    "DeploymentName",
    "ErrorBody",
    "ItemError",
    "TaskList",
    "errors_of",
]


DeploymentName = Annotated[str, Path(json_schema_extra={"pattern": NAME_PATTERN})]


class ErrorDetail(Model):
    """What went wrong and what to do."""

    code: str = Field(description="Stable: a program may match on it.")
    message: str
    field: str | None = Field(None, description="Path of the wrong value in the body, such as items.0.text.")


class ErrorBody(Model):
    """The one shape of every error."""

    error: ErrorDetail


class ItemError(ErrorBody):
    """An item that could not be answered; the others were."""


class TrialState(Model):
    """A version on trial."""

    version: str = Field(examples=["movie-sentiment@3"])
    sha256: str


class CanaryInfo(TrialState):
    """A version that answers a share of the requests."""

    percent: float
    guard: dict[str, Any] = Field(description="Empty: no guard promotes it or takes it away.")


class DeploymentInfo(Model):
    """A deployment and the versions live behind it."""

    name: str
    task: str
    version: str = Field(description="The stable version.", examples=["movie-sentiment@2"])
    sha256: str
    labels: list[str]
    reading: dict[str, Any] = Field(
        description="Settings that the training files of the stable version were read with, such as columns."
    )
    canary: CanaryInfo | None
    shadow: TrialState | None
    updated: str


class DeploymentList(Model):
    deployments: list[DeploymentInfo]


class TaskInfo(Model):
    """A task, the JSON schemas of its request and response, and the deployments that answer for it."""

    name: str
    summary: str
    head: str
    request: dict[str, Any]
    response: dict[str, Any]
    deployments: list[str]


class TaskList(Model):
    tasks: list[TaskInfo]


class ChangedInfo(Model):
    """A deployment after a change."""

    name: str
    task: str
    version: str
    previous: str | None
    canary: CanaryInfo | None
    shadow: TrialState | None
    generation: int
    prepare_ms: float = Field(
        description="Time to load and check the version; the old one answered meanwhile."
    )
    swap_ms: float = Field(description="Time from the change of the catalog until the version was live.")
    warning: str = Field("", description="Why the version may not fit the installed plugin.")


ERROR_MODELS: dict[str, type[BaseModel]] = {}  # by name, for the document


def errors_of(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of routes, whose body is `model`.

    By a reference: given the model, FastAPI builds a validator of it for each route and status that no one
    uses, a quarter of the time in which the routes are made.
    """
    ERROR_MODELS[model.__name__] = model
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {
        "4XX": {"description": "The request cannot be served as it is", "content": body},
        "5XX": {"description": "The server cannot serve it now", "content": body},
    }


ERRORS = errors_of(ErrorBody)
_HEADERS = {
    "x-hub-deployment": "The deployment that answered",
    "x-hub-version": "Its version, name@N",
    "x-hub-sha256": "The content hash of that version",
    "x-hub-track": "As what it answered: stable, canary, pinned or base",
    "x-hub-request-id": "The value the request sent, or a new one",
    "server-timing": "Milliseconds in the queue, in the engine and in all",
}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {
        "description": "The answer",
        "headers": {
            name: {"description": about, "schema": {"type": "string"}} for name, about in _HEADERS.items()
        },
    },
}
