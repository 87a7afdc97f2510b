"""The bodies and events that OpenAI's clients read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from hub.api import FinishReason
from hub.errors import EngineFailed, HubError
from hub.http.stream import EVENTS, data_event
from hub.http.wire import error_response
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission

__all__ = ["ChatCompletion", "Completion", "TextForm", "openai_error"]

Json = dict[str, Any]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class PromptTokens(BaseModel):
    """Tokens of the prompt that were not computed again."""

    cached_tokens: int


class UsageCounts(BaseModel):
    """The tokens of a call."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens


class Answer(BaseModel):
    """A message by the model."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One answer to a chat."""

    index: int
    message: Answer
    finish_reason: str
    logprobs: None = None


class TextChoice(BaseModel):
    """One continuation of a prompt."""

    index: int
    text: str
    finish_reason: str
    logprobs: None = None


class _Result(BaseModel):
    id: str
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="The deployment.")
    system_fingerprint: str = Field(description="The version that answered, and its sha256.")
    usage: UsageCounts


class ChatCompletion(_Result):
    """Answers to a chat."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Completion(_Result):
    """Continuations of prompts."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


@dataclass(frozen=True)
class TextForm:
    """Writes answers to one chat (`chat`) or to prompts, each of which has `n` answers.

    `full_deltas`: each part of a chat has a role and a text, as Hugging Face's schema of chunks needs.
    """

    request_id: str
    model: str
    chat: bool
    n: int = 1
    include_usage: bool = False
    full_deltas: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        return _bytes(
            {
                **self.head(admission, "chat.completion" if self.chat else "text_completion"),
                "choices": [self._choice(admission, answers, index) for index in range(len(answers.items))],
                "usage": self.usage(answers),
            }
        )

    def events(self, admission: Admission) -> _Chunks:
        return _Chunks(self, admission)

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return openai_error(error, headers)

    def head(self, admission: Admission, kind: str) -> Json:
        """Return the fields that an answer and a chunk have in common."""
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.request_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"{admission.version.ref} {admission.version.sha256}",
        }

    def usage(self, answers: CallAnswers) -> Json:
        """Return the counts of tokens; a prompt counts once, whatever its number of answers."""
        counts = answers.usage
        prompt = counts.prompt_tokens // self.n if counts else 0
        written = counts.completion_tokens if counts else 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": min(prompt, counts.cached_tokens) if counts else 0},
        }

    def _choice(self, admission: Admission, answers: CallAnswers, index: int) -> Json:
        text = text_of(admission, answers, index)
        body = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        return {"index": index, **body, "finish_reason": reason_of(answers, index), "logprobs": None}


class _Chunks:
    """The events of a stream; a chat begins with the role of its author."""

    media_type: ClassVar[str] = EVENTS

    def __init__(self, form: TextForm, admission: Admission) -> None:
        self._form = form
        self._admission = admission
        self._object = "chat.completion.chunk" if form.chat else "text_completion"

    def start(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""}, "")

    def text(self, part: str) -> bytes:
        return self._chunk({"content": part}, part)

    def end(self, answers: CallAnswers) -> bytes:
        answers.only()  # raises the error of the request
        events = self._chunk({}, "", reason_of(answers, 0))
        if self._form.include_usage:
            events += data_event({**self._head, "choices": [], "usage": self._form.usage(answers)})
        return events + b"data: [DONE]\n\n"

    def error(self, error: HubError) -> bytes:
        return data_event(_described(error))

    @property
    def _head(self) -> Json:
        return self._form.head(self._admission, self._object)

    def _chunk(self, delta: Json, text: str, reason: str | None = None) -> bytes:
        if self._form.full_deltas:
            delta = {"role": "assistant", "content": "", **delta}
        body = {"delta": delta} if self._form.chat else {"text": text}
        choice = {"index": 0, **body, "finish_reason": reason, "logprobs": None}
        usage = {"usage": None} if self._form.include_usage else {}
        return data_event({**self._head, "choices": [choice], **usage})


def text_of(admission: Admission, answers: CallAnswers, index: int) -> str:
    """Return the text of an answer.

    Raises: the error of the request.
    """
    item = answers.items[index]
    if isinstance(item, HubError):
        raise item
    name = admission.route.task.task.text_field
    text = getattr(item, name, None) if name else None
    if not isinstance(text, str):
        raise EngineFailed(
            f"The task {admission.route.task.spec.name!r} does not say which field of its answer is the text "
            "(Task.text_field)."
        )
    return text


def reason_of(answers: CallAnswers, index: int) -> str:
    """Return why a text ended; a task that does not say it has one reason for the call."""
    reason = getattr(answers.items[index], "finish_reason", None)
    if reason is None and answers.usage:
        reason = answers.usage.finish_reason
    return str(reason or FinishReason.STOP)


def openai_error(error: HubError, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as OpenAI's clients read it, with our code."""
    return error_response(error, headers, _described(error))


def _described(error: HubError) -> Json:
    detail = error.to_json()["error"]
    kind = _TYPES.get(error.status) or ("server_error" if error.status >= 500 else "invalid_request_error")
    return {
        "error": {
            "message": detail["message"],
            "type": kind,
            "param": detail.get("field"),
            "code": detail["code"],
        }
    }


def _bytes(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
