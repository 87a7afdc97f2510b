"""`/hf/{deployment}`: the URL that an `InferenceClient` is given as its model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI, Path
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import BadRequest, HubError, TooLarge
from hub.http.calls import ask, ask_for_stream, visible_routes
from hub.http.hub import hub_of
from hub.http.huggingface.pipelines import HfPipeline, TextOutput, details, pipeline_of
from hub.http.openai.answers import ChatCompletion
from hub.http.openai.requests import ChatRequest
from hub.http.openai.routes import ANSWERS, OpenAIRoute, answer_chat
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import DESCRIBED
from hub.http.stream import EVENTS, data_event
from hub.http.wire import error_response, json_response
from hub.names import VERSION_PATTERN
from hub.serving.requests.call import CallAnswers
from hub.serving.requests.parsing import parse
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

Deployment = Annotated[str, Path(json_schema_extra={"pattern": VERSION_PATTERN})]


class PipelineRequest(BaseModel):
    """A call of the deployment's pipeline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: str | dict[str, Any] | list[str | dict[str, Any]] = Field(
        description="A text, or a question with its context; or a list of them."
    )
    parameters: dict[str, Any] | None = Field(None, description="Those of the pipeline.")
    options: dict[str, Any] | None = Field(None, description="Accepted and not read.")
    stream: bool | None = Field(None, description="Answer with server-sent events; for text-generation.")


class PipelineError(BaseModel):
    """An error as Hugging Face's clients read it."""

    error: str
    error_type: str = Field(description="Stable: a program may match on it.")


class PipelineRoute(InferRoute):
    """Answers errors as Hugging Face's clients read them."""

    def failed(self, error: HubError) -> Response:
        return _error(error)


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": PipelineError, "description": "The request cannot be served as it is"},
    "5XX": {"model": PipelineError, "description": "The server cannot serve it now"},
}


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    events = {"schema": {"type": "string", "description": "With `stream`: events with a token each."}}
    app.router.add_api_route(
        "/hf/{name}",
        _call,
        methods=["POST"],
        response_model=dict[str, Any] | list[Any],
        tags=["hugging face"],
        summary="Send a deployment what Hugging Face's InferenceClient sends",
        responses={**ERRORS, 200: {**DESCRIBED[200], "content": {"text/event-stream": events}}},
        route_class_override=PipelineRoute,
    )
    app.router.add_api_route(
        "/hf/{name}/v1/chat/completions",
        _chat,
        methods=["POST"],
        response_model=ChatCompletion,
        tags=["hugging face"],
        summary="Answer a chat by this deployment, whatever `model` names",
        responses=ANSWERS,
        route_class_override=OpenAIRoute,
    )
    for path, shown, summary in (
        ("/hf/{name}/health", _health, "Is the deployment live?"),
        ("/hf/{name}/info", _info, "Describe the deployment"),
    ):
        app.router.add_api_route(
            path,
            shown,
            response_model=dict[str, Any],
            tags=["hugging face"],
            summary=summary,
            responses=ERRORS,
            route_class_override=PipelineRoute,
        )


async def _call(request: Request, name: Deployment, body: PipelineRequest) -> Response:
    form = _PipelineForm(body, hub_of(request).limits.items)
    call = ask_for_stream if body.stream else ask
    return await call(request, by_name(name), form.read, form)


async def _chat(request: Request, name: Deployment, body: ChatRequest) -> Response:
    return await answer_chat(request, body.model_copy(update={"model": name}))


async def _health(request: Request, name: Deployment) -> Response:
    by_name(name)(visible_routes(request))
    return json_response({})


async def _info(request: Request, name: Deployment) -> Response:
    route = by_name(name)(visible_routes(request))
    return json_response(
        {
            "model_id": str(route.version.ref),
            "model_sha": route.version.sha256,
            "task": route.task.spec.name,
            "base": route.version.manifest.serving.base.name,
            "max_input_tokens": route.version.info.max_length,
        }
    )


class _PipelineForm:
    """Reads a body as the pipeline of the task takes it, and writes its answer."""

    def __init__(self, body: PipelineRequest, max_items: int) -> None:
        self._body = body
        self._max_items = max_items
        self._parameters: Mapping[str, Any] = body.parameters or {}

    def read(self, route: Route) -> list[BaseModel | HubError]:
        pipeline = pipeline_of(route)
        if self._body.stream and not isinstance(pipeline, TextOutput):
            raise BadRequest(f"Deployment {route.name!r} writes no text that could be streamed.")
        inputs = pipeline.inputs(self._body.inputs)
        if len(inputs) > self._max_items:
            raise TooLarge(
                f"inputs has {len(inputs):,} items and the limit is {self._max_items} (limits.items). "
                "Send fewer."
            )
        fields = pipeline.fields(self._parameters)
        return [parse(to_json({**one, **fields}), route.task.request) for one in inputs]

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        found = []
        for item, body in zip(answers.items, answers.bodies, strict=True):
            if isinstance(item, HubError):
                raise item
            found.append(from_json(body))
        many = isinstance(self._body.inputs, list)
        return _bytes(pipeline_of(admission.route).answer(found, self._parameters, many=many))

    def events(self, admission: Admission) -> _TokenEvents:
        return _TokenEvents(pipeline_of(admission.route), self._parameters)

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return _error(error, headers)


class _TokenEvents:
    """One event for each part of the text, and a last one with the whole text and why it ended."""

    media_type: ClassVar[str] = EVENTS

    def __init__(self, pipeline: HfPipeline, parameters: Mapping[str, Any]) -> None:
        self._pipeline = pipeline
        self._parameters = parameters
        self._index = 0

    def start(self) -> bytes:
        return b""  # the headers name the version

    def text(self, part: str) -> bytes:
        return self._token(part)

    def end(self, answers: CallAnswers) -> bytes:
        answer = from_json(answers.only())
        assert isinstance(self._pipeline, TextOutput)
        more = details(answer, self._parameters) if self._parameters.get("details") else None
        return self._token("", generated_text=answer[self._pipeline.field], details=more)

    def error(self, error: HubError) -> bytes:
        return data_event(_described(error))

    def _token(self, text: str, generated_text: str | None = None, details: Any = None) -> bytes:
        self._index += 1
        return data_event(
            {
                "index": self._index,
                "token": {"id": 0, "text": text, "logprob": None, "special": generated_text is not None},
                "generated_text": generated_text,
                "details": details,
            }
        )


def _error(error: HubError, headers: Mapping[str, str] | None = None) -> Response:
    return error_response(error, headers, _described(error))


def _described(error: HubError) -> dict[str, str]:
    return {"error": str(error), "error_type": error.code}


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
