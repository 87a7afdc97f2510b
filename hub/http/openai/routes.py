"""`/v1/models`, `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import HubError, NotFound
from hub.http.calls import ask, ask_for_stream, visible_routes
from hub.http.gate import NUMBER
from hub.http.openai.answers import ChatCompletion, Completion, TextForm, openai_error
from hub.http.openai.requests import ChatRequest, CompletionRequest
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import DESCRIBED, errors_of
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.serving.routing.routes import Route, Routes, by_name

__all__ = ["ANSWERS", "OpenAIRoute", "add_routes", "answer_text"]

Json = dict[str, Any]


class ModelInfo(BaseModel):
    """A deployment, or a base."""

    id: str
    object: Literal["model"]
    created: int = Field(description="When the stable version was stored, in seconds since 1970; 0: a base.")
    owned_by: str
    root: str = Field(description="The stable version, or the base.")
    parent: str | None = Field(description="The base of a deployment.")


class ModelList(BaseModel):
    """The deployments, and the resident bases that can be asked by their name."""

    object: Literal["list"]
    data: list[ModelInfo]


class OpenAIError(BaseModel):
    """What went wrong and what to do."""

    message: str
    type: str
    param: str | None = Field(description="Path of the wrong value in the body.")
    code: str = Field(description="Stable: a program may match on it.")


class OpenAIErrorBody(BaseModel):
    """An error as OpenAI's clients read it."""

    error: OpenAIError


class OpenAIRoute(InferRoute):
    """Answers errors as OpenAI's clients read them, which have what our own have and more."""

    root = "/v1"

    @staticmethod
    def failed(error: HubError) -> Response:
        return openai_error(error)


ERRORS = errors_of(OpenAIErrorBody)
EVENTS = {"schema": {"type": "string", "description": "With `stream`: chunks as server-sent events."}}
ANSWERS = {
    **ERRORS,
    200: {**DESCRIBED[200], "content": {"text/event-stream": EVENTS}},
}


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    chat, complete = "Answer a chat", "Continue texts"
    asked = "as OpenAI's clients ask for it"
    calls: list[TableRow] = [
        ("POST", "/v1/chat/completions", _chat, ChatCompletion, f"{chat}, {asked}"),
        ("POST", "/v1/completions", _complete, Completion, f"{complete}, {asked}"),
    ]
    models: list[TableRow] = [
        ("GET", "/v1/models", _list, ModelList, "List the deployments and the resident bases"),
        ("GET", "/v1/models/{model}", _show, ModelInfo, "Show a deployment or a base"),
    ]
    add_table(app, calls, tag="openai", responses=ANSWERS, route=OpenAIRoute)
    add_table(app, models, tag="openai", responses=ERRORS, route=OpenAIRoute)


async def answer_text(
    request: Request, body: ChatRequest | CompletionRequest, *, full_deltas: bool = False
) -> Response:
    """Answer a chat, or continue texts, by the deployment that `model` names; `full_deltas`: see TextForm."""
    form = TextForm(
        request.scope[NUMBER],
        body.model,
        isinstance(body, ChatRequest),
        body.n or 1,
        bool(body.stream_options and body.stream_options.include_usage),
        full_deltas,
    )
    call = ask_for_stream if body.stream else ask
    return await call(request, by_name(body.model), body.read, form)


async def _chat(request: Request, body: ChatRequest) -> Response:
    return await answer_text(request, body)


async def _complete(request: Request, body: CompletionRequest) -> Response:
    return await answer_text(request, body)


async def _list(request: Request) -> Response:
    return json_response({"object": "list", "data": list(_models(visible_routes(request)).values())})


async def _show(request: Request, model: str) -> Response:
    visible = visible_routes(request)
    if "@" in model:
        return json_response(_model(model, by_name(model)(visible)))
    models = _models(visible)
    if model not in models:
        raise NotFound.of("model", model[:80], models)
    return json_response(models[model])


def _models(visible: Routes) -> dict[str, Json]:
    routes = {**dict(sorted(visible.bases.items())), **dict(sorted(visible.by_name.items()))}
    return {name: _model(name, route) for name, route in routes.items()}


def _model(name: str, route: Route) -> Json:
    version = route.version
    return {
        "id": name,
        "object": "model",
        "created": int(version.created.timestamp()),
        "owned_by": "grafthub",
        "root": str(version.ref),
        "parent": None if version.bare else version.manifest.serving.base.name,
    }
