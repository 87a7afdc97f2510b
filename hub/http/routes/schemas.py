"""Models of what the hub itself says over HTTP; the tasks bring their own."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import ConfigDict, Field, WithJsonSchema

from hub.api import Model
from hub.serving.canary.guard import CRITERIA, Guard

__all__ = [
    "DESCRIBED",
    "ERRORS",
    "DeployRequest",
    "DeploymentInfo",
    "DeploymentList",
    "DeploymentName",
    "ErrorBody",
    "ItemError",
    "MovedInfo",
    "Rollback",
    "TaskList",
]


NAME_PATTERN = r"^(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,62}$"  # as hub.names checks
VERSION_PATTERN = NAME_PATTERN[:-1] + r"(@[1-9][0-9]{0,8})?$"
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


def _guard_schema() -> dict[str, Any]:
    """Return the schema of a guard: null, nothing, or at least one limit with its conditions."""
    guard = Guard.model_json_schema()
    limits = [{"required": [name], "properties": {name: {"type": "number"}}} for name in CRITERIA]
    return {"anyOf": [{"type": "null"}, {"type": "object", "maxProperties": 0}, {**guard, "anyOf": limits}]}


_STORABLE: dict[str, Any] = {"pattern": r"^[^\u0000]*$"}
_CANARY = {"required": ["canary"], "properties": {"canary": {"type": "number"}}}
_SHADOW = {"required": ["shadow"], "properties": {"shadow": {"const": True}}}
_GUARD = {"required": ["guard"], "properties": {"guard": {"type": "object", "minProperties": 1}}}
# `Trial.of`: a canary or a shadow, and a guard for a canary alone.
_TRIAL_RULES: dict[str, Any] = {
    "not": {"anyOf": [{"allOf": [_CANARY, _SHADOW]}, {"allOf": [_GUARD, {"not": _CANARY}]}]}
}


class Rollback(Model):
    """Who moves a deployment, and why, for its history."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "v2 mistakes irony"}]})

    reason: str = Field("", max_length=1000, json_schema_extra=_STORABLE)
    by: str = Field("admin", min_length=1, max_length=200, json_schema_extra=_STORABLE)


class DeployRequest(Rollback):
    """The version a deployment is to serve, or to try."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"version": "movie-sentiment@2"},
                {"version": "movie-sentiment@3", "canary": 10, "guard": {"error_rate": 0.01}},
            ],
            **_TRIAL_RULES,
        }
    )

    version: str = Field(
        description="name@N, or a name alone for its newest version.",
        json_schema_extra={"pattern": VERSION_PATTERN},
    )
    canary: float | None = Field(
        None, ge=0, le=100, description="Share of the requests in percent: try it, and leave the stable one."
    )
    shadow: bool = Field(False, description="Run it beside the stable one, compare, return nothing of it.")
    guard: Annotated[dict[str, Any] | None, WithJsonSchema(_guard_schema())] = Field(
        None, description="When the canary is promoted or taken away by itself; docs/operations.md."
    )


class MovedInfo(Model):
    """A deployment after a move."""

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
    swap_ms: float = Field(description="Time from moving the pointer until the version was live.")
    warning: str = Field("", description="Why the version may not fit the installed plugin.")


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be served as it is"},
    "5XX": {"model": ErrorBody, "description": "The server cannot serve it now"},
}
_HEADERS = {
    "x-hub-deployment": "The deployment that answered",
    "x-hub-version": "Its version, name@N",
    "x-hub-sha256": "The content hash of that version",
    "x-hub-track": "As what it answered: stable or canary",
    "x-hub-request-id": "What was sent under this name, or a new one",
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
