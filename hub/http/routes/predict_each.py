"""The route that asks several deployments at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model
from hub.errors import BadRequest, HubError
from hub.http.calls import admit_each, read_requests, version_headers
from hub.http.gate import NUMBER
from hub.http.hub import Hub, hub_of
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import ERRORS, ErrorDetail
from hub.http.stream import wants_events
from hub.http.telemetry.record import CallRecord
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import BadField, below, parse
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Resolve, Route, Routes, by_name

__all__ = ["add_routes"]

MAX_DEPLOYMENTS = 32  # in one request; each holds a slot until it has answered


class EachRequest(Model):
    """One request to several deployments."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"deployments": ["mood", "topic@3"], "inputs": {"text": "A warm, funny film."}}]
        }
    )

    deployments: list[str] = Field(
        min_length=1,
        max_length=MAX_DEPLOYMENTS,
        description="Deployments, or exact versions `NAME@N`; an unknown one is an error in its place.",
    )
    inputs: dict[str, Any] = Field(
        description="Fields of the requests: each deployment reads those that its task has."
    )


class EachAnswer(Model):
    """What one deployment answered: `result` as its own route answers, or `error`."""

    deployment: str
    version: str | None = Field(None, examples=["mood@2"])
    sha256: str | None = None
    track: str | None = Field(None, description="As what the version answered.")
    result: dict[str, Any] | None = None
    error: ErrorDetail | None = None


class EachAnswers(Model):
    """The answers, in the order of the deployments."""

    answers: list[EachAnswer]


def add_routes(app: FastAPI) -> None:
    """Add the route."""
    app.router.add_api_route(
        "/v1/predict",
        _predict,
        methods=["POST"],
        response_model=EachAnswers,
        response_model_exclude_unset=True,
        tags=["deployments"],
        summary="Send one request to several deployments, which share the forward pass of their base",
        responses=ERRORS,
        route_class_override=InferRoute,
    )


async def _predict(request: Request, body: EachRequest) -> Response:
    if wants_events(request):
        raise BadRequest(
            "Several deployments do not answer as a stream. Ask without `accept: text/event-stream`, or send "
            "a request to each deployment."
        )
    hub = hub_of(request)
    calls: list[CallRecord] = []
    with _recorded(hub, calls), ExitStack() as leases:
        began = time.perf_counter()
        admitted = await admit_each(request, [_resolve(name) for name in body.deployments])
        admissions = [leases.enter_context(one) for one in admitted if isinstance(one, Admission)]
        calls += [_record(request, one, began) for one in admissions]
        _check_fields(body.inputs, admissions)
        requests = [await _read(hub, one.route, body.inputs) for one in admissions]
        found = await hub.runtime.pipeline.run_each(admissions, requests, request_id=request.scope[NUMBER])
        for call, outcome in zip(calls, found, strict=True):
            _end(call, outcome)
    answers = iter(zip(admissions, found, strict=True))
    parts = [
        _answer(*next(answers)) if isinstance(one, Admission) else _error({"deployment": name}, one)
        for name, one in zip(body.deployments, admitted, strict=True)
    ]
    return Response(b'{"answers":[' + b",".join(parts) + b"]}", media_type="application/json")


def _resolve(name: str) -> Resolve:
    """Resolve a name; one that is invalid fails in its place."""

    def resolve(routes: Routes) -> Route:
        return by_name(name)(routes)

    return resolve


def _check_fields(inputs: Mapping[str, Any], admissions: Sequence[Admission]) -> None:
    known = {name for one in admissions for name in one.route.task.request.model_fields}
    for name in inputs if admissions else ():
        if name not in known:
            raise BadField(
                f"inputs.{name[:80]}: no task of these deployments has this field. They have: "
                f"{', '.join(sorted(known))}.",
                f"inputs.{name}",
            )


async def _read(hub: Hub, route: Route, inputs: Mapping[str, Any]) -> BaseModel | HubError:
    """Return the request of a route's task, or the error of its fields."""
    model = route.task.request
    fields = to_json({name: value for name, value in inputs.items() if name in model.model_fields})
    try:
        (request,) = await read_requests(hub, route, lambda route: [parse(fields, model)])
    except HubError as error:
        return below("inputs", error)
    return request


def _record(request: Request, admission: Admission, began: float) -> CallRecord:
    call = CallRecord(request.scope)
    call.began = began
    call.admitted(admission)
    return call


@contextmanager
def _recorded(hub: Hub, calls: Sequence[CallRecord]) -> Iterator[None]:
    """Count the calls when the block has ended, with its error if it raises."""
    try:
        yield
    except BaseException as error:
        for call in calls:
            call.failed(error)
        raise
    finally:
        for call in calls:
            hub.ended(call)


def _end(call: CallRecord, found: CallAnswers | HubError) -> None:
    if isinstance(found, HubError):
        call.failed(found)
        return
    (item,) = found.items
    call.end(item.code if isinstance(item, HubError) else "ok", found)


def _answer(admission: Admission, found: CallAnswers | HubError) -> bytes:
    described = {name.removeprefix("x-hub-"): value for name, value in version_headers(admission).items()}
    try:
        if isinstance(found, HubError):
            raise found
        return _bytes(described)[:-1] + b',"result":' + found.only() + b"}"
    except HubError as error:
        return _error(described, error)


def _error(described: Mapping[str, Any], error: HubError) -> bytes:
    return _bytes({**described, **error.to_json()})


def _bytes(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
