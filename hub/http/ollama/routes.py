"""`/api`: what the clients of Ollama ask for."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

import hub
from hub.api import HeadKind
from hub.errors import HubError
from hub.http.calls import admit, ask, ask_for_stream, version_headers, visible_routes
from hub.http.hub import hub_of
from hub.http.ollama.answers import (
    NDJSON,
    GenerateAnswer,
    OllamaChatAnswer,
    OllamaError,
    OllamaForm,
    ollama_error,
    version_of,
)
from hub.http.ollama.embed import OllamaVector, OllamaVectors, embed, embed_one
from hub.http.ollama.requests import (
    TAG,
    GenerateRequest,
    ModelRequest,
    OllamaChatRequest,
    OllamaRequest,
    deployment_of,
)
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import DESCRIBED, errors_of
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

Json = dict[str, Any]

_CAPABILITIES = {HeadKind.GENERATE: ["completion"], HeadKind.EMBEDDING: ["embedding"]}


class OllamaDetails(BaseModel):
    """The base of a model."""

    parent_model: str
    format: str
    family: str
    families: list[str]


class OllamaModel(BaseModel):
    """A deployment."""

    name: str
    model: str
    modified_at: str
    digest: str = Field(description="The sha256 of the stable version.")
    details: OllamaDetails


class OllamaModels(BaseModel):
    """Deployments."""

    models: list[OllamaModel]


class OllamaShown(BaseModel):
    """A deployment in detail."""

    modified_at: str
    details: OllamaDetails
    template: str
    parameters: str
    license: str
    capabilities: list[str]
    model_info: dict[str, Any]


class OllamaVersion(BaseModel):
    """The version of GraftHub."""

    version: str


class OllamaRoute(InferRoute):
    """Answers errors as Ollama's clients read them."""

    @staticmethod
    def failed(error: HubError) -> Response:
        return ollama_error(error)


ERRORS = errors_of(OllamaError)
_LINES = {"schema": {"type": "string", "description": "Unless `stream` is false: answers line by line."}}
_ANSWER = {**ERRORS, 200: DESCRIBED[200]}
_ANSWERS = {**ERRORS, 200: {**DESCRIBED[200], "content": {NDJSON: _LINES}}}


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    texts: list[TableRow] = [
        ("POST", "generate", _generate, GenerateAnswer, "Continue a text"),
        ("POST", "chat", _chat, OllamaChatAnswer, "Answer a chat"),
    ]
    vectors: list[TableRow] = [
        ("POST", "embed", embed, OllamaVectors, "Turn texts into vectors"),
        ("POST", "embeddings", embed_one, OllamaVector, "Turn a text into a vector"),
    ]
    shown: list[TableRow] = [
        ("GET", "tags", _tags, OllamaModels, "List the deployments"),
        ("GET", "ps", _ps, OllamaModels, "List the deployments that are loaded"),
        ("POST", "show", _show, OllamaShown, "Show a deployment"),
        ("GET", "version", _version, OllamaVersion, "Show the version of GraftHub"),
    ]
    asked = "as Ollama's clients ask for it"
    for rows, responses in ((texts, _ANSWERS), (vectors, _ANSWER), (shown, ERRORS)):
        add_table(
            app,
            [(method, f"/api/{path}", *others, f"{what}, {asked}") for method, path, *others, what in rows],
            tag="ollama",
            responses=responses,
            route=OllamaRoute,
            response_model_exclude_none=True,
        )


async def _generate(request: Request, body: GenerateRequest) -> Response:
    return await _answer(request, body, chat=False)


async def _chat(request: Request, body: OllamaChatRequest) -> Response:
    return await _answer(request, body, chat=True)


async def _answer(request: Request, body: GenerateRequest | OllamaChatRequest, *, chat: bool) -> Response:
    form = OllamaForm(body.model, chat, body.read)
    if body.is_empty:
        return await _load(request, body, form)
    call = ask if body.stream is False else ask_for_stream
    return await call(request, by_name(body.deployment), form.read, form)


async def _load(request: Request, body: OllamaRequest, form: OllamaForm) -> Response:
    """Load a deployment; what is not used is unloaded by the server itself, when it needs the slot."""
    with await admit(request, by_name(body.deployment)) as admission:
        reason = "unload" if body.unloads else "load"
        line = form.line("", done=True, done_reason=reason, **version_of(admission))
        return Response(line, headers=version_headers(admission), media_type="application/json")


async def _tags(request: Request) -> Response:
    return json_response({"models": [_model(route) for route in _routes(request)]})


async def _ps(request: Request) -> Response:
    resident = hub_of(request).runtime.resident()
    loaded = [route for route in _routes(request) if route.version.sha256 in resident]
    return json_response({"models": [_model(route) for route in loaded]})


async def _show(request: Request, body: ModelRequest) -> Response:
    route = by_name(deployment_of(body.model))(visible_routes(request))
    version = route.version
    base = version.manifest.serving.base.name
    return json_response(
        {
            "modified_at": version.created.isoformat(),
            "details": _details(route),
            "template": "",
            "parameters": "",
            "license": "",
            "capabilities": _CAPABILITIES.get(route.task.spec.head, []),
            "model_info": {
                "general.architecture": base,
                "general.basename": base,
                f"{base}.context_length": version.info.max_length,
                "hub.task": route.task.spec.name,
                "hub.version": str(version.ref),
                "hub.sha256": version.sha256,
            },
        }
    )


async def _version(request: Request) -> Response:
    return json_response({"version": hub.__version__})


def _routes(request: Request) -> list[Route]:
    return [route for _, route in sorted(visible_routes(request).by_name.items())]


def _model(route: Route) -> Json:
    return {
        "name": route.name + TAG,
        "model": route.name + TAG,
        "modified_at": route.version.created.isoformat(),
        "digest": route.version.sha256,
        "details": _details(route),
    }


def _details(route: Route) -> Json:
    base = route.version.manifest.serving.base.name
    return {"parent_model": base, "format": "safetensors", "family": base, "families": [base]}
