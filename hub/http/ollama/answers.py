"""The bodies and lines that Ollama's clients read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from hub.errors import HubError
from hub.http.openai.answers import reason_of, text_of
from hub.http.wire import error_response
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route

__all__ = [
    "NDJSON",
    "SECOND_NS",
    "GenerateAnswer",
    "OllamaChatAnswer",
    "OllamaError",
    "OllamaForm",
    "now",
    "ollama_error",
    "version_of",
]

Json = dict[str, Any]

NDJSON = "application/x-ndjson"
SECOND_NS = 1_000_000_000


class _Line(BaseModel):
    model: str
    created_at: str = Field(description="UTC, ISO 8601.")
    version: str | None = Field(None, description="The version that answered; in the first line of a stream.")
    sha256: str | None = Field(None, description="Its content hash.")
    done: bool
    done_reason: str | None = Field(None, description="stop, length, load or unload.")
    total_duration: int | None = Field(None, description="Nanoseconds; only in the last line.")
    load_duration: int | None = Field(None, description="Nanoseconds until a loaded version was assigned.")
    prompt_eval_count: int | None = Field(None, description="Tokens of the prompt.")
    eval_count: int | None = Field(None, description="Tokens of the answer.")
    eval_duration: int | None = Field(None, description="Nanoseconds in the engine, for prompt and answer.")


class GenerateAnswer(_Line):
    """A text, or a part of it."""

    response: str


class OllamaAnswerMessage(BaseModel):
    """A message by the model."""

    role: Literal["assistant"]
    content: str


class OllamaChatAnswer(_Line):
    """A message by the model, or a part of it."""

    message: OllamaAnswerMessage


class OllamaError(BaseModel):
    """An error as Ollama's clients read it."""

    model_config = ConfigDict(extra="forbid")

    error: str
    code: str = Field(description="Stable: a program may match on it.")


@dataclass
class OllamaForm:
    """Writes the answer to one chat (`chat`) or text; `read_by` turns its body into a request of the task."""

    model: str
    chat: bool
    read_by: Callable[[Route], list[BaseModel | HubError]]
    began: float = field(default_factory=time.perf_counter)
    admitted: float = 0.0

    def read(self, route: Route) -> list[BaseModel | HubError]:
        self.admitted = time.perf_counter()
        return self.read_by(route)

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        return self.line(
            text_of(admission, answers, 0), **version_of(admission), **self.end(answers)
        ).rstrip()

    def events(self, admission: Admission) -> _Lines:
        return _Lines(self, admission)

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return ollama_error(error, headers)

    def line(self, text: str, *, done: bool = False, **more: Any) -> bytes:
        """Return a line with a text."""
        body = {"message": {"role": "assistant", "content": text}} if self.chat else {"response": text}
        return _line({"model": self.model, "created_at": now(), **body, "done": done, **more})

    def end(self, answers: CallAnswers) -> Json:
        """Return what the last line has besides its text."""
        answers.only()  # raises the error of the request
        counts = answers.usage
        return {
            "done": True,
            "done_reason": reason_of(answers, 0),
            "total_duration": int((time.perf_counter() - self.began) * SECOND_NS),
            "load_duration": int((self.admitted - self.began) * SECOND_NS),
            "prompt_eval_count": counts.prompt_tokens if counts else 0,
            "eval_count": counts.completion_tokens if counts else 0,
            "eval_duration": int(answers.engine_s * SECOND_NS),
        }


class _Lines:
    """A line for each part of the text, and a last one with the counts; the first one names the version."""

    media_type: ClassVar[str] = NDJSON

    def __init__(self, form: OllamaForm, admission: Admission) -> None:
        self._form = form
        self._version = version_of(admission)

    def start(self) -> bytes:
        return b""

    def text(self, part: str) -> bytes:
        return self._line(part)

    def end(self, answers: CallAnswers) -> bytes:
        return self._line("", **self._form.end(answers))

    def error(self, error: HubError) -> bytes:
        return _line(_described(error))

    def _line(self, text: str, **more: Any) -> bytes:
        version, self._version = self._version, {}
        return self._form.line(text, **version, **more)


def version_of(admission: Admission) -> Json:
    """Return the fields that name the version of an answer."""
    return {"version": str(admission.version.ref), "sha256": admission.version.sha256}


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def ollama_error(error: HubError, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as Ollama's clients read it, with our code."""
    return error_response(error, headers, _described(error))


def _described(error: HubError) -> Json:
    return {"error": str(error), "code": error.code}


def _line(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
