"""The native API: one typed route per task, one route for all deployments, and lists of both."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial, reduce
from operator import or_
from types import GenericAlias
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model
from hub.errors import BadPlugin, BadRequest, HubError
from hub.http.gate import NUMBER
from hub.http.hub import Hub, hub_of
from hub.http.routes.route import InferRoute, RawInferRoute
from hub.http.routes.schemas import DESCRIBED, ERRORS, DeploymentList, ItemError, TaskList
from hub.http.routes.stream import EventStream, wants_events
from hub.http.wire import error_response, json_response
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_task
from hub.serving.plugins.validators import runs_plugin_code
from hub.serving.requests.parsing import check_json, parse, parse_call
from hub.serving.requests.pipeline import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Resolve, Route, by_name, by_task

__all__ = ["add_routes", "sticky_key"]

MAX_KEY_CHARS = 256
Requests = tuple[list[BaseModel | HubError], bool]  # and whether the body was a list


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


def call_model(task: LoadedTask) -> type[BaseModel]:
    """Return the task's request model with the field `deployment` added.

    Raises:
        BadPlugin: the request already has a field of this name.
    """
    if "deployment" in task.request.model_fields:
        raise BadPlugin(
            f"The request of task {task.spec.name!r} has a field 'deployment', which is a reserved name."
        )
    about = "The deployment; default: the only one of the task, or the one with the name of the task."
    name = re.sub(r"\W", "_", task.spec.name).title().replace("_", "") + "Call"
    model: type[BaseModel] = create_model(
        name, __base__=task.request, deployment=(str | None, Field(None, description=about))
    )
    return model


def _add_task(app: FastAPI, task: LoadedTask) -> None:
    model, name = call_model(task), task.spec.name
    foreign = runs_plugin_code(task.request)

    def exact(body: Any) -> Requests:
        given = {key: getattr(body, key) for key in task.request.model_fields}
        return [task.request.model_construct(body.model_fields_set - {"deployment"}, **given)], False

    def resolve(deployment: str | None) -> Resolve:
        return by_name(deployment, name) if deployment else by_task(name)

    async def call(request: Request, body: Any) -> Response:
        if not foreign:
            return await _answer(request, resolve(body.deployment), lambda route: exact(body))
        deployment = parse(_only_deployment(body), _Deployment).deployment
        return await _answer(request, resolve(deployment), lambda route: exact(parse(body, model)))

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
        limit = hub_of(request).limits.items
        return await _answer(
            request, by_name(name), lambda route: parse_call(body, route.task.request, limit)
        )

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


async def _answer(request: Request, resolve: Resolve, read: Callable[[Route], Requests]) -> Response:
    if wants_events(request):
        return await _stream(request, resolve, read)
    hub, began = hub_of(request), time.perf_counter()
    task, code = "", "internal"
    admission: Admission | None = None
    try:
        with await hub.runtime.router.admit(resolve, sticky_key(request)) as admission:
            route = admission.route
            task = route.task.spec.name
            requests, many = await _read(hub, route, read)
            answers = await hub.runtime.pipeline.run(admission, requests, request_id=request.scope[NUMBER])
        body = _many(answers) if many else answers.only()
        code = "ok"
    except HubError as error:
        code = error.code
        if admission is None:
            raise
        return error_response(error, _version_headers(admission))
    except asyncio.CancelledError:
        code = "cancelled"
        raise
    finally:
        took = time.perf_counter() - began
        hub.metrics.call(task, code, took)
    return Response(body, headers=_headers(admission, answers, took), media_type="application/json")


async def _stream(request: Request, resolve: Resolve, read: Callable[[Route], Requests]) -> Response:
    """Answer with events; an error before the first part is an ordinary error response."""
    hub, began = hub_of(request), time.perf_counter()
    task, code = "", "internal"
    admission: Admission | None = None
    try:
        async with AsyncExitStack() as stack:
            admission = stack.enter_context(await hub.runtime.router.admit(resolve, sticky_key(request)))
            route = admission.route
            task = route.task.spec.name
            requests, many = await _read(hub, route, read)
            if many:
                raise BadRequest("A stream answers one request. Send it without `items`.")
            stream = hub.runtime.pipeline.stream(admission, requests[0], request_id=request.scope[NUMBER])
            parts = await stack.enter_async_context(aclosing(stream))
            first = await anext(parts)
            if isinstance(first, CallAnswers):
                first.only()  # raises the error of the request
            code = ""  # counted when the stream ends
            return EventStream(hub, task, _version_headers(admission), began, first, parts, stack.pop_all())
    except HubError as error:
        code = error.code
        if admission is None:
            raise
        return error_response(error, _version_headers(admission))
    except asyncio.CancelledError:
        code = "cancelled"
        raise
    finally:
        if code:
            hub.metrics.call(task, code, time.perf_counter() - began)


async def _read(hub: Hub, route: Route, read: Callable[[Route], Requests]) -> Requests:
    if runs_plugin_code(route.task.request):  # may hang, so it does not run on the event loop
        return await hub.runtime.pipeline.read(route.task, partial(read, route))
    return read(route)


def sticky_key(request: Request) -> str:
    """Return the key that pins the caller to one of the versions, or ""."""
    key = request.headers.get("x-hub-key", "")
    if len(key) > MAX_KEY_CHARS:
        raise BadRequest(
            f"x-hub-key has {len(key):,} characters; the limit is {MAX_KEY_CHARS}. Send a hash of it."
        )
    return key


def _version_headers(admission: Admission) -> dict[str, str]:
    return {
        "x-hub-deployment": admission.route.name,
        "x-hub-version": str(admission.version.ref),
        "x-hub-sha256": admission.version.sha256,
        "x-hub-track": admission.track,
    }


def _headers(admission: Admission, answers: CallAnswers, took: float) -> dict[str, str]:
    return {
        **_version_headers(admission),
        "server-timing": f"queue;dur={answers.queue_s * 1000:.3f}, engine;dur={answers.engine_s * 1000:.3f}, "
        f"total;dur={took * 1000:.3f}",
    }


def _many(answers: CallAnswers) -> bytes:
    parts = (
        json.dumps(item.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        if isinstance(item, HubError)
        else b'{"result":' + body + b"}"
        for item, body in zip(answers.items, answers.bodies, strict=True)
    )
    return b'{"items":[' + b",".join(parts) + b"]}"


async def _list_tasks(request: Request) -> Response:
    hub = hub_of(request)
    return json_response({"tasks": [_task(hub, task) for task in hub.tasks]})


async def _list_deployments(request: Request) -> Response:
    return json_response({"deployments": hub_of(request).runtime.router.routes.describe()})


def _task(hub: Hub, task: LoadedTask) -> dict[str, Any]:
    return {
        "name": task.spec.name,
        "summary": task.spec.summary,
        "head": str(task.spec.head),
        **describe_task(task),
        "deployments": [route.name for route in hub.runtime.router.routes.of_task(task.spec.name)],
    }
