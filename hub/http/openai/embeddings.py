"""`/v1/embeddings`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Text
from hub.errors import BadRequest, HubError
from hub.http.calls import ask
from hub.http.openai.answers import openai_error
from hub.http.openai.requests import NOT_READ
from hub.http.openai.routes import ERRORS, OpenAIRoute
from hub.http.routes.schemas import DESCRIBED
from hub.http.stream import Events
from hub.http.vectors import vector_request, vectors_of
from hub.names import VERSION_PATTERN
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

_PLACES = {"inputs": "input"}
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """Texts to turn into vectors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="The deployment.", examples=["search"], json_schema_extra={"pattern": VERSION_PATTERN}
    )
    input: (
        Text
        | Annotated[list[Text], Field(min_length=1)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1)]
    ) = Field(description="A text or several, also as token ids of the base, special tokens included.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="Lists of numbers, or little-endian float32 in base64."
    )
    dimensions: int | None = Field(
        None, ge=1, lt=2**31, description="Keep so many values of a vector, and normalize it."
    )
    truncate: StrictBool | None = Field(
        None, description="Ours: cut texts that are too long instead of refusing."
    )
    user: str | None = Field(None, description=NOT_READ)

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return the request of the route's task."""
        one_text = isinstance(self.input, list) and isinstance(self.input[0], int)
        inputs: Any = [self.input] if one_text else self.input
        return [
            vector_request(route, inputs, _PLACES, dimensions=self.dimensions, truncate=bool(self.truncate)),
        ]


class EmbeddingItem(BaseModel):
    """A vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """The tokens of a call."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str = Field(description="The deployment.")
    usage: EmbeddingUsage


def add_routes(app: FastAPI) -> None:
    """Add the route."""
    app.router.add_api_route(
        "/v1/embeddings",
        _embed,
        methods=["POST"],
        response_model=EmbeddingList,
        tags=["openai"],
        summary="Turn texts into vectors, as OpenAI's clients ask for it",
        responses={**ERRORS, 200: DESCRIBED[200]},
        route_class_override=OpenAIRoute,
    )


async def _embed(request: Request, body: EmbeddingsRequest) -> Response:
    return await ask(request, by_name(body.model), body.read, _EmbeddingsForm(body))


class _EmbeddingsForm:
    def __init__(self, body: EmbeddingsRequest) -> None:
        self._body = body

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        found = vectors_of(answers)
        written = _base64 if self._body.encoding_format == "base64" else list
        items = [
            EmbeddingItem.model_construct(object="embedding", index=index, embedding=written(vector))
            for index, vector in enumerate(found.vectors or ())
        ]
        usage = EmbeddingUsage(prompt_tokens=found.tokens, total_tokens=found.tokens)
        return to_json(EmbeddingList.model_construct(data=items, model=self._body.model, usage=usage))

    def events(self, admission: Admission) -> Events:
        raise BadRequest("Vectors are not streamed.")

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return openai_error(error, headers)


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
