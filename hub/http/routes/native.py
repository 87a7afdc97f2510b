"""The native API: one typed route per task, one route for all deployments, and lists of both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from types import GenericAlias
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model
from hub.errors import BadRequest, HubError
from hub.http.calls import Form, Read, ask, ask_for_stream, version_headers, visible_routes
from hub.http.hub import hub_of
from hub.http.routes.route import InferRoute, RawInferRoute
from hub.http.routes.schemas import DESCRIBED, ERRORS, DeploymentList, ItemError, TaskList
from hub.http.stream import EVENTS, Events, named_event, wants_events
from hub.http.wire import error_response, json_response
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_end, describe_task
from hub.serving.plugins.validators import runs_plugin_code
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import check_json, parse, parse_call
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Resolve, Route, Routes, by_name, by_task

__all__ = ["add_routes", "predict_once", "stream_once"]


def add_routes(app: FastAPI, tasks: Sequence[LoadedTask]) -> None:
    """Add the native routes for `tasks`."""
    for task in tasks:
        _add_task(app, task)
    _add_deployments(app, tasks)
    app.router.add_api_route(
        "/v1/tasks",
        _list_tasks,
        response_model=TaskList,
        tags=["tasks"],
        summary="List the tasks and their deployments",
        responses=ERRORS,
        route_class_override=InferRoute,
    )
    app.router.add_api_route(
        "/v1/deployments",
        _list_deployments,
        response_model=DeploymentList,
        tags=["deployments"],
        summary="List the deployments and their live versions",
        responses=ERRORS,
        route_class_override=InferRoute,
    )


def _call_model(task: LoadedTask) -> type[BaseModel]:
    """Return the task's request model, which has no field `deployment`, with this one added."""
    about = "The deployment; default: the only one of the task, or the one with the name of the task."
    name = re.sub(r"\W", "_", task.spec.name).title().replace("_", "") + "Call"
    model: type[BaseModel] = create_model(
        name, __base__=task.request, deployment=(str | None, Field(None, description=about))
    )
    return model


def _add_task(app: FastAPI, task: LoadedTask) -> None:
    model, name = _call_model(task), task.spec.name
    foreign = runs_plugin_code(task.request)

    def exact(body: Any) -> list[BaseModel | HubError]:
        given = {key: getattr(body, key) for key in task.request.model_fields}
        return [task.request.model_construct(body.model_fields_set - {"deployment"}, **given)]

    def resolve(deployment: str | None) -> Resolve:
        return by_name(deployment, name) if deployment else by_task(name)

    async def call(request: Request, body: Any) -> Response:
        if not foreign:
            return await _ask(request, resolve(body.deployment), lambda route: exact(body), _Native())
        deployment = parse(_only_deployment(body), _Deployment).deployment
        return await _ask(request, resolve(deployment), lambda route: exact(parse(body, model)), _Native())

    call.__annotations__ = {"request": Request, "body": model, "return": Response}
    app.router.add_api_route(
        f"/v1/tasks/{name}",
        call,
        methods=["POST"],
        response_model=task.response,
        name=f"ask_{name}",
        tags=["tasks"],
        summary=task.spec.summary,
        responses=DESCRIBED,
        route_class_override=RawInferRoute if foreign else InferRoute,
    )


class _Deployment(Model):
    """The field `deployment` of a call."""

    deployment: str | None = None


def _only_deployment(body: bytes) -> bytes:
    """Return a body with the field `deployment` alone: the others are validated by plugin code."""
    value = check_json(body)
    known = isinstance(value, dict) and "deployment" in value
    return to_json({"deployment": value["deployment"]} if known else {})


def _add_deployments(app: FastAPI, tasks: Sequence[LoadedTask]) -> None:
    requests: Any = _any_of([task.request for task in tasks])
    responses: Any = _any_of([task.response for task in tasks])
    # An invalid item is an error in its place; `parse_call` limits the list by limits.items.
    items: Any = Annotated[_list_of(requests | Any), Field(min_length=1)]
    many: Any = create_model("Items", __base__=Model, items=(items, ...))
    result = create_model("ItemResult", __base__=Model, result=(responses, ...))
    outcome = _any_of([result, ItemError])
    results: Any = create_model("ItemResults", __base__=Model, items=(_list_of(outcome), ...))

    async def predict(request: Request, name: str, body: Any) -> Response:
        form = _Predict(body, hub_of(request).limits.items, streams=wants_events(request))
        return await _ask(request, by_name(name), form.read, form)

    body = _any_of([requests, many])
    predict.__annotations__ = {"request": Request, "name": str, "body": body, "return": Response}
    app.router.add_api_route(
        "/v1/deployments/{name}/predict",
        predict,
        methods=["POST"],
        response_model=_any_of([responses, results]),
        tags=["deployments"],
        summary="Send a deployment one request of its task, or a list of requests as `items`",
        responses=DESCRIBED,
        route_class_override=RawInferRoute,
    )


def _any_of(types: Sequence[Any]) -> Any:
    return reduce(or_, types) if types else dict[str, Any]


def _list_of(kind: Any) -> Any:
    return GenericAlias(list, (kind,))


async def _ask(request: Request, resolve: Resolve, read: Read, form: Form) -> Response:
    call = ask_for_stream if wants_events(request) else ask
    return await call(request, resolve, read, form)


class _Native:
    """Answers as the task's response model has it; events are `start`, `text`, `end` and `error`."""

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        return answers.only()

    def events(self, admission: Admission) -> Events:
        return _NativeEvents(admission)

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return error_response(error, headers)


class _NativeEvents:
    """The first event, `start`, has the version; `text` events have the parts; then `end` or `error`."""

    media_type: ClassVar[str] = EVENTS

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def start(self) -> bytes:
        headers = version_headers(self._admission)
        return named_event("start", {key.removeprefix("x-hub-"): value for key, value in headers.items()})

    def text(self, part: str) -> bytes:
        return named_event("text", {"text": part})

    def end(self, answers: CallAnswers) -> bytes:
        return named_event("end", describe_end(answers))

    def error(self, error: HubError) -> bytes:
        return named_event("error", error.to_json())


class _Predict(_Native):
    """Takes one request or several as `items`, and answers several each in its place."""

    def __init__(self, body: bytes, max_items: int, *, streams: bool) -> None:
        self._body = body
        self._max_items = max_items
        self._streams = streams
        self._many = False

    def read(self, route: Route) -> list[BaseModel | HubError]:
        requests, self._many = parse_call(self._body, route.task.request, self._max_items)
        if self._many and self._streams:
            raise BadRequest("A stream answers one request. Send it without `items`.")
        return requests

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        return _many(answers) if self._many else answers.only()


class _Once(_Predict):
    """One request of code on this server, which gets errors raised."""

    def __init__(self, body: bytes, events: Callable[[], Events] | None = None) -> None:
        super().__init__(body, 1, streams=True)
        self._events = events

    def events(self, admission: Admission) -> Events:
        return self._events() if self._events else super().events(admission)

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        raise error


async def predict_once(request: Request, name: str, body: bytes) -> bytes:
    """Return the answer of a deployment to one request, on behalf of the caller of `request`.

    Raises:
        HubError: as the route `predict`.
    """
    form = _Once(body)
    response = await ask(request, by_name(name), form.read, form)
    return bytes(response.body)


async def stream_once(request: Request, name: str, body: bytes, events: Callable[[], Events]) -> Response:
    """Return the answer of a deployment to one request as a stream, on behalf of the caller of `request`.

    Raises:
        HubError: before the first part, as the route `predict`; later ones go to the events.
    """
    form = _Once(body, events)
    return await ask_for_stream(request, by_name(name), form.read, form)


def _many(answers: CallAnswers) -> bytes:
    parts = (
        json.dumps(item.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        if isinstance(item, HubError)
        else b'{"result":' + body + b"}"
        for item, body in zip(answers.items, answers.bodies, strict=True)
    )
    return b'{"items":[' + b",".join(parts) + b"]}"


async def _list_tasks(request: Request) -> Response:
    routes = visible_routes(request)
    return json_response({"tasks": [_task(routes, task) for task in hub_of(request).tasks]})


async def _list_deployments(request: Request) -> Response:
    return json_response({"deployments": visible_routes(request).describe()})


def _task(routes: Routes, task: LoadedTask) -> dict[str, Any]:
    return {
        "name": task.spec.name,
        "summary": task.spec.summary,
        "head": str(task.spec.head),
        **describe_task(task),
        "deployments": [route.name for route in routes.of_task(task.spec.name)],
    }
