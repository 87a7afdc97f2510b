"""`/api/embed`, and `/api/embeddings` for older clients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Text
from hub.errors import BadRequest, HubError
from hub.http.calls import ask
from hub.http.ollama.answers import SECOND_NS, ollama_error, version_of
from hub.http.ollama.requests import OllamaOptions, OneModel, deployment_of
from hub.http.openai.requests import NOT_READ
from hub.http.stream import Events
from hub.http.vectors import vector_request, vectors_of
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route, by_name

__all__ = ["OllamaVector", "OllamaVectors", "embed", "embed_one"]


class OllamaEmbedRequest(OneModel):
    """Texts to turn into vectors of length 1."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    truncate: bool | None = Field(
        None, description="Cut texts that are too long, the default, or refuse them."
    )
    dimensions: int | None = Field(None, ge=1, lt=2**31, description="Keep so many values of a vector.")
    options: OllamaOptions | None = Field(None, description=NOT_READ)
    keep_alive: float | str | None = Field(None, description=NOT_READ)

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return the request of the route's task."""
        settings = {"truncate": self.truncate, "dimensions": self.dimensions}
        return [vector_request(route, self.input, {"inputs": "input"}, normalize=True, **settings)]


class OllamaVectorRequest(OneModel):
    """A text to turn into a vector, of the length that the adapter gives it."""

    prompt: Text
    options: OllamaOptions | None = Field(None, description=NOT_READ)
    keep_alive: float | str | None = Field(None, description=NOT_READ)

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return the request of the route's task."""
        return [vector_request(route, self.prompt, {"inputs": "prompt"})]


class OllamaVectors(BaseModel):
    """The vectors, in the order of the texts."""

    model: str
    version: str = Field(description="The version that answered.")
    sha256: str = Field(description="Its content hash.")
    embeddings: list[list[float]]
    total_duration: int = Field(description="Nanoseconds.")
    load_duration: int = Field(description="Nanoseconds until a loaded version was assigned.")
    prompt_eval_count: int = Field(description="Tokens of all texts.")


class OllamaVector(BaseModel):
    """The vector of a text."""

    embedding: list[float]


async def embed(request: Request, body: OllamaEmbedRequest) -> Response:
    """Answer with a vector for each text."""
    form = _VectorsForm(body)
    return await ask(request, by_name(deployment_of(body.model)), form.read, form)


async def embed_one(request: Request, body: OllamaVectorRequest) -> Response:
    """Answer with the vector of a text."""
    return await ask(request, by_name(deployment_of(body.model)), body.read, _VectorForm())


class _VectorForm:
    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        vectors = vectors_of(answers).vectors or [[]]
        return to_json({"embedding": vectors[0]})

    def events(self, admission: Admission) -> Events:
        raise BadRequest("Vectors are not streamed.")

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return ollama_error(error, headers)


class _VectorsForm(_VectorForm):
    def __init__(self, body: OllamaEmbedRequest) -> None:
        self._body = body
        self._began = self._admitted = time.perf_counter()

    def read(self, route: Route) -> list[BaseModel | HubError]:
        self._admitted = time.perf_counter()
        return self._body.read(route)

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        found = vectors_of(answers)
        body: dict[str, Any] = {
            "model": self._body.model,
            **version_of(admission),
            "embeddings": found.vectors,
            "total_duration": int((time.perf_counter() - self._began) * SECOND_NS),
            "load_duration": int((self._admitted - self._began) * SECOND_NS),
            "prompt_eval_count": found.tokens,
        }
        return to_json(body)
