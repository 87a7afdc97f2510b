"""The bodies that OpenAI's clients send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hub.api import HeadKind
from hub.errors import BadRequest, Conflict, HubError
from hub.generation.response_format import ResponseFormat
from hub.names import VERSION_PATTERN
from hub.serving.requests.parsing import parse_fields
from hub.serving.routing.routes import Route

__all__ = [
    "NOT_READ",
    "ChatMessage",
    "ChatRequest",
    "CompletionRequest",
    "TextRequest",
    "as_list",
    "requests_of",
    "text_input",
]

MAX_CHOICES = 8
MAX_PROMPTS = 64
NOT_READ = "Accepted and not read."
Unset = Annotated[None, Field(description="Only null.")]
_PLACES = {"max_new_tokens": "max_tokens"}
_SAME_NAME = ("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "repetition_penalty")


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _plain_format(value: Any) -> Any:
    """Undo what huggingface_hub makes of a JSON schema: {"type": "json_object", "value": schema}."""
    if isinstance(value, dict) and value.get("type") == "json_object" and "value" in value:
        return {"type": "json_schema", "json_schema": {"schema": value["value"]}}
    return value


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: bool = Field(False, description="Send the counts of tokens before the end.")
    include_obfuscation: bool = Field(False, description=NOT_READ)


class TextRequest(BaseModel):
    """What chats and completions have in common; the last ones are settings of vLLM.

    Settings that would change the answer and are not followed here, such as `tools`, are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(
        description="The deployment, or `NAME@N`.",
        examples=["assistant"],
        json_schema_extra={"pattern": VERSION_PATTERN},
    )
    max_tokens: int | None = Field(None, ge=1, lt=2**53, description="Maximum tokens of an answer.")
    temperature: float | None = Field(
        None, ge=0, le=5, description="Default 0: always the most likely token."
    )
    top_p: float | None = Field(None, gt=0, le=1, description="As in `generation`.")
    seed: int | None = Field(None, ge=0, lt=2**53, description="The same seed gives the same text.")
    stop: Annotated[tuple[str, ...], BeforeValidator(as_list)] | None = Field(
        None,
        description="A string or several; the text ends before the first.",
        json_schema_extra={
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]
        },
    )
    logit_bias: dict[str, float] | None = Field(None, description="Added to the logits, by token id.")
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Answers to each prompt.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    stream_options: StreamOptions | None = None
    frequency_penalty: Literal[0] | None = Field(None, description="Only 0; see `repetition_penalty`.")
    presence_penalty: Literal[0] | None = Field(None, description="Only 0; see `repetition_penalty`.")
    response_format: Annotated[ResponseFormat | None, BeforeValidator(_plain_format)] = Field(
        None, description="The form of the answer."
    )
    user: str | None = Field(None, description=NOT_READ)
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="As in `generation`.")
    min_p: float | None = Field(None, ge=0, le=1, description="As in `generation`.")
    repetition_penalty: float | None = Field(None, ge=0.01, le=10, description="As in `generation`.")

    def settings(self, route: Route) -> dict[str, Any]:
        """Return the fields of the task's request that this sets.

        Raises:
            BadRequest: the task has no such setting.
        """
        asked = {
            "max_new_tokens": self.limit,
            "stop": self.stop,
            "response_format": self.response_format and self.response_format.model_dump(exclude_none=True),
            **{name: getattr(self, name) for name in _SAME_NAME},
        }
        found = {name: value for name, value in asked.items() if value is not None}
        if unknown := found.keys() - route.task.request.model_fields.keys():
            raise BadRequest(
                f"The task {route.task.spec.name!r} of deployment {route.name!r} has no setting "
                f"{', '.join(sorted(unknown))}. Leave it out."
            )
        return found

    @property
    def limit(self) -> int | None:
        """Maximum tokens of an answer."""
        return self.max_tokens

    def numbered(self, number: int) -> dict[str, Any]:
        """Return the seed of answer `number` to a prompt, so that several differ."""
        return {} if self.seed is None or not number else {"seed": (self.seed + number) % 2**53}


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A turn of a chat; the nulls are those of an answer that a client sends back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...] = Field(description="A text, or its parts.")
    name: str | None = Field(None, description=NOT_READ)
    refusal: Unset = None
    annotations: Unset = None
    audio: Unset = None
    function_call: Unset = None
    tool_calls: Unset = None

    @property
    def author(self) -> str:
        """The role as chat templates know it."""
        return "system" if self.role == "developer" else self.role

    @property
    def text(self) -> str:
        """The text of all parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(TextRequest):
    """A chat to answer."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=512)
    max_completion_tokens: int | None = Field(
        None, ge=1, lt=2**53, description="The newer name of `max_tokens`."
    )
    logprobs: Literal[False] | None = Field(None, description="Only false.")
    top_logprobs: Unset = None
    tools: Unset = None
    tool_choice: Unset = None
    parallel_tool_calls: Unset = None
    functions: Unset = None
    function_call: Unset = None
    modalities: Unset = None
    audio: Unset = None
    prediction: Unset = None
    reasoning_effort: Unset = None
    verbosity: Unset = None
    metadata: dict[str, str] | None = Field(None, description=NOT_READ)
    store: bool | None = Field(None, description=NOT_READ)
    service_tier: str | None = Field(None, description=NOT_READ)
    safety_identifier: str | None = Field(None, description=NOT_READ)
    prompt_cache_key: str | None = Field(None, description=NOT_READ)

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return a request of the route's task for each answer."""
        fields = route.task.request.model_fields
        places: dict[str, str] = {}
        if "messages" in fields:
            messages = [{"role": one.author, "content": one.text} for one in self.messages]
            if messages[-1]["role"] == "system":  # a chat of instructions alone
                messages[-1]["role"] = "user"
            asked: dict[str, Any] = {"messages": messages}
        elif (name := text_input(route)) and len(self.messages) == 1 and self.messages[0].role == "user":
            asked = {name: self.messages[0].text}
            places = {name: "messages.0.content"}
        else:
            raise BadRequest(
                f"Deployment {route.name!r} serves the task {route.task.spec.name!r}, which takes one text: "
                "send one message by 'user'."
            )
        return requests_of(self, route, [asked], [places])


class CompletionRequest(TextRequest):
    """A text, or several, to continue."""

    prompt: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        min_length=1,
        max_length=MAX_PROMPTS,
        description="A text or several.",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    )
    echo: Literal[False] | None = Field(None, description="Only false.")
    best_of: Literal[1] | None = Field(None, description="Only 1.")
    logprobs: Unset = None
    suffix: Unset = None

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return a request of the route's task for each answer, those to one prompt together."""
        name = text_input(route)
        several = len(self.prompt) > 1
        places = [{name: f"prompt.{number}" if several else "prompt"} for number in range(len(self.prompt))]
        return requests_of(self, route, [{name: text} for text in self.prompt], places)


def text_input(route: Route) -> str:
    """Return the field of the task's request that takes its one text.

    Raises:
        Conflict: the task generates no text, or takes another input.
    """
    fields = route.task.request.model_fields
    needed = [name for name, field in fields.items() if field.is_required()]
    if route.task.spec.head is HeadKind.GENERATE:
        if "prompt" in fields:
            return "prompt"
        if len(needed) == 1:
            return needed[0]
    raise Conflict(
        f"Deployment {route.name!r} serves the task {route.task.spec.name!r}, which writes no text. "
        f"Use /v1/deployments/{route.name}/predict."
    )


def requests_of(
    body: TextRequest,
    route: Route,
    inputs: Sequence[Mapping[str, Any]],
    places: Sequence[Mapping[str, str]],
) -> list[BaseModel | HubError]:
    """Return `n` requests for each input; `places` has where the body has the fields of each.

    Raises:
        BadRequest: a value does not fit the task.
    """
    settings = body.settings(route)
    return [
        parse_fields({**one, **settings, **body.numbered(number)}, route.task.request, {**_PLACES, **where})
        for one, where in zip(inputs, places, strict=True)
        for number in range(body.n or 1)
    ]
