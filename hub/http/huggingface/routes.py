"""`/hf/{deployment}`: the URL that an `InferenceClient` is given as its model."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI, Path
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from hub.errors import BadMediaType, BadRequest, HubError, TooLarge
from hub.http.calls import ask, ask_for_stream, visible_routes
from hub.http.hub import hub_of
from hub.http.huggingface.pipelines import ImageClassification, TextOutput, details, pipeline_of
from hub.http.openai.answers import ChatCompletion, Completion
from hub.http.openai.requests import ChatRequest, CompletionRequest
from hub.http.openai.routes import ANSWERS, OpenAIRoute, answer_text
from hub.http.origin import BYTES
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import DESCRIBED, errors_of
from hub.http.routes.table import TableRow, add_table
from hub.http.stream import EVENTS, data_event
from hub.http.wire import error_response, json_response
from hub.names import VERSION_PATTERN
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import parse_fields
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

Deployment = Annotated[str, Path(json_schema_extra={"pattern": VERSION_PATTERN})]


class PipelineRequest(BaseModel):
    """A call of the deployment's pipeline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: str | dict[str, Any] | list[str | dict[str, Any]] = Field(
        description="A text, a question with its context, or a sentence with others; or a list of them."
    )
    parameters: dict[str, Any] | None = Field(None, description="Those of the pipeline.")
    options: dict[str, Any] | None = Field(None, description="Accepted and not read.")
    stream: bool | None = Field(None, description="Answer with server-sent events; for text-generation.")
    normalize: bool | None = Field(None, description="feature-extraction: vectors of length 1.")
    truncate: bool | None = Field(None, description="feature-extraction: cut long texts, or refuse them.")
    truncation_direction: str | None = Field(None, description="feature-extraction: right.")
    prompt_name: str | None = Field(None, description="feature-extraction: query or document.")
    dimensions: int | None = Field(None, description="feature-extraction: values of a vector to keep.")
    encoding_format: str | None = Field(None, description="feature-extraction: float.")

    @property
    def given(self) -> dict[str, Any]:
        """The parameters, also those that feature-extraction has beside the inputs."""
        others = ("inputs", "parameters", "options", "stream")
        beside = {name: getattr(self, name) for name in self.model_fields_set.difference(others)}
        return {**(self.parameters or {}), **beside}


class RawImage(PipelineRequest):
    """A call whose body was the image alone."""


class PipelineError(BaseModel):
    """An error as Hugging Face's clients read it."""

    error: str
    error_type: str = Field(description="Stable: a program may match on it.")


class PipelineRoute(InferRoute):
    """Answers errors as Hugging Face's clients read them."""

    root = "/hf"

    @staticmethod
    def failed(error: HubError) -> Response:
        return _error(error)


class PipelineCallRoute(PipelineRoute):
    """Takes JSON, or an image alone, whose clients may declare no content type."""

    binary = (BYTES, "image/png", "image/jpeg", "image/webp")

    def read(self, request: Request, body: bytes, model: Any) -> Any:
        declared = request.headers.get("content-type", "").strip().lower()
        if body and declared in ("", *self.binary):
            return RawImage(inputs=b64encode(body).decode("ascii"))
        return super().read(request, body, model)


ERRORS = errors_of(PipelineError)


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    events = {"schema": {"type": "string", "description": "With `stream`: events with a token each."}}
    sent = "Send a deployment what Hugging Face's InferenceClient sends"
    by_path = "by this deployment, whatever `model` names"
    of_chat, of_text = "/hf/{name}/v1/chat/completions", "/hf/{name}/v1/completions"
    call: TableRow = ("POST", "/hf/{name}", _call, dict[str, Any] | list[Any], sent)
    texts: list[TableRow] = [
        ("POST", of_chat, _chat, ChatCompletion, f"Answer a chat {by_path}"),
        ("POST", of_text, _complete, Completion, f"Continue a text {by_path}"),
    ]
    shown: list[TableRow] = [
        ("GET", "/hf/{name}/health", _health, dict[str, Any], "Is the deployment live?"),
        ("GET", "/hf/{name}/info", _info, dict[str, Any], "Describe the deployment"),
    ]
    answers = {**ERRORS, 200: {**DESCRIBED[200], "content": {"text/event-stream": events}}}
    add = partial(add_table, app, tag="hugging face")
    add([call], responses=answers, route=PipelineCallRoute)
    add(texts, responses=ANSWERS, route=OpenAIRoute)
    add(shown, responses=ERRORS, route=PipelineRoute)


async def _call(request: Request, name: Deployment, body: PipelineRequest) -> Response:
    form = _PipelineForm(body, hub_of(request).limits.items)
    call = ask_for_stream if body.stream else ask
    return await call(request, by_name(name), form.read, form)


async def _chat(request: Request, name: Deployment, body: ChatRequest) -> Response:
    return await answer_text(request, body.model_copy(update={"model": name}), full_deltas=True)


async def _complete(request: Request, name: Deployment, body: CompletionRequest) -> Response:
    return await answer_text(request, body.model_copy(update={"model": name}))


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
        self._parameters: Mapping[str, Any] = body.given

    def read(self, route: Route) -> list[BaseModel | HubError]:
        pipeline = pipeline_of(route, route.version)
        if self._body.stream and not isinstance(pipeline, TextOutput):
            raise BadRequest(f"Deployment {route.name!r} writes no text that could be streamed.")
        if isinstance(self._body, RawImage) and not isinstance(pipeline, ImageClassification):
            raise BadMediaType(
                f"Deployment {route.name!r} takes JSON: add the header 'content-type: application/json'."
            )
        requests = pipeline.requests(self._body.inputs, self._parameters)
        if len(requests) > self._max_items:
            raise TooLarge(
                f"inputs has {len(requests):,} items and the limit is {self._max_items} (limits.items). "
                "Send fewer."
            )
        return [
            parse_fields(one, route.task.request, pipeline.places(self._body.inputs, number, one))
            for number, one in enumerate(requests)
        ]

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        found = []
        for item, body in zip(answers.items, answers.bodies, strict=True):
            if isinstance(item, HubError):
                raise item
            found.append(from_json(body))
        many = isinstance(self._body.inputs, list)
        pipeline = pipeline_of(admission.route, admission.version)
        return _bytes(pipeline.answer(found, self._parameters, many=many))

    def events(self, admission: Admission) -> _TokenEvents:
        return _TokenEvents(admission, self._parameters)

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return _error(error, headers)


class _TokenEvents:
    """One event for each part of the text, and a last one with the whole text and why it ended.

    The first also has `version` and `sha256`.
    """

    media_type: ClassVar[str] = EVENTS

    def __init__(self, admission: Admission, parameters: Mapping[str, Any]) -> None:
        self._pipeline = pipeline_of(admission.route, admission.version)
        self._named = {"version": str(admission.version.ref), "sha256": admission.version.sha256}
        self._parameters = parameters
        self._index = 0

    def start(self) -> bytes:
        return b""  # the event of the first token names the version

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
        named = self._named if self._index == 1 else {}
        return data_event(
            {
                **named,
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
