"""The bodies that Ollama's clients send."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from hub.api import Text
from hub.errors import BadRequest, HubError
from hub.http.openai.requests import (
    NOT_READ,
    ChatMessage,
    ChatRequest,
    TextRequest,
    as_list,
    requests_of,
    text_input,
)
from hub.names import VERSION_PATTERN
from hub.serving.routing.routes import Route

__all__ = [
    "GenerateRequest",
    "ModelRequest",
    "OllamaChatRequest",
    "OllamaOptions",
    "OllamaRequest",
    "OneModel",
    "deployment_of",
]

TAG = ":latest"
_MODEL_PATTERN = VERSION_PATTERN[:-1] + f"({TAG})?$"
_STOP: JsonDict = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]
}


def deployment_of(model: str) -> str:
    """Return the deployment that a model name means: `mood:latest` is `mood`."""
    return model.removesuffix(TAG)


def _check_bool(value: Any) -> Any:
    """A Literal of a bool would take a number."""
    if not isinstance(value, bool):
        raise ValueError("Input should be a valid boolean")
    return value


_False = Annotated[Literal[False], BeforeValidator(_check_bool)]
_True = Annotated[Literal[True], BeforeValidator(_check_bool)]
_Zero = Annotated[float, Field(ge=0, le=0)]  # a Literal of 0 would take false, and none of 0.0
_One = Annotated[float, Field(ge=1, le=1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class OllamaOptions(_Body):
    """Settings of a text; those from `num_ctx` on change how Ollama runs a model, not its answer."""

    num_predict: int | None = Field(
        None, ge=-2, lt=2**53, description="Maximum tokens of an answer; below 1: the adapter's limit."
    )
    temperature: float | None = Field(
        None, ge=0, le=5, description="Default 0: always the most likely token."
    )
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="As in `generation`.")
    top_p: float | None = Field(None, gt=0, le=1, description="As in `generation`.")
    min_p: float | None = Field(None, ge=0, le=1, description="As in `generation`.")
    seed: int | None = Field(
        None, ge=-1, lt=2**53, description="The same seed gives the same text; -1: none."
    )
    stop: Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(as_list)] | None = Field(
        None,
        description="A string or several; the text ends before the first.",
        json_schema_extra=_STOP,
    )
    repeat_penalty: float | None = Field(
        None, ge=0.01, le=10, description="`repetition_penalty` of `generation`, over the whole text."
    )
    repeat_last_n: int | None = Field(None, ge=-1, le=-1, description="Only -1: the whole text.")
    presence_penalty: _Zero | None = Field(None, description="Only 0; see `repeat_penalty`.")
    frequency_penalty: _Zero | None = Field(None, description="Only 0; see `repeat_penalty`.")
    mirostat: _Zero | None = Field(None, description="Only 0.")
    mirostat_eta: float | None = Field(None, description=NOT_READ)
    mirostat_tau: float | None = Field(None, description=NOT_READ)
    tfs_z: _One | None = Field(None, description="Only 1.")
    typical_p: _One | None = Field(None, description="Only 1.")
    penalize_newline: _True | None = Field(None, description="Only true.")
    num_ctx: int | None = Field(None, description=NOT_READ)
    num_keep: int | None = Field(None, description=NOT_READ)
    num_batch: int | None = Field(None, description=NOT_READ)
    num_gpu: int | None = Field(None, description=NOT_READ)
    num_thread: int | None = Field(None, description=NOT_READ)
    main_gpu: int | None = Field(None, description=NOT_READ)
    low_vram: bool | None = Field(None, description=NOT_READ)
    numa: bool | None = Field(None, description=NOT_READ)
    use_mmap: bool | None = Field(None, description=NOT_READ)
    use_mlock: bool | None = Field(None, description=NOT_READ)


class OneModel(_Body):
    """A request for a model."""

    model: str = Field(
        description="The deployment, or `NAME@N`; `:latest` may follow.",
        examples=["assistant"],
        json_schema_extra={"pattern": _MODEL_PATTERN},
    )


class ModelRequest(OneModel):
    """The name of a model."""

    verbose: bool | None = Field(None, description=NOT_READ)


class OllamaRequest(OneModel):
    """What chats and texts have in common.

    Settings that would change the answer and are not followed here, such as images, are refused.
    """

    stream: bool | None = Field(None, description="Default true: answer line by line.")
    format: Literal["", "json"] | dict[str, Any] | None = Field(
        None, description="`json`, or a JSON schema of the answer."
    )
    options: OllamaOptions | None = None
    keep_alive: float | str | None = Field(
        None, description="Accepted and not read: the server itself decides what stays loaded."
    )
    think: _False | None = Field(None, description="Only false.")
    logprobs: _False | None = Field(None, description="Only false.")
    top_logprobs: _Zero | None = Field(None, description="Only 0.")

    @property
    def deployment(self) -> str:
        """The deployment that `model` means."""
        return deployment_of(self.model)

    @property
    def unloads(self) -> bool:
        """Whether a request without input asks to unload the model instead of loading it."""
        return self.keep_alive in (0, "0", "0s", "0m")

    def settings(self) -> dict[str, Any]:
        """Return the settings under the names of OpenAI's."""
        options = self.options or OllamaOptions.model_construct()
        limit, seed = options.num_predict, options.seed
        return {
            "model": self.deployment,
            "max_tokens": limit if limit and limit > 0 else None,
            "seed": None if seed == -1 else seed,
            "repetition_penalty": options.repeat_penalty,
            "response_format": self._response_format(),
            **{name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "min_p", "stop")},
        }

    def _response_format(self) -> dict[str, Any] | None:
        if isinstance(self.format, dict):
            return {"type": "json_schema", "json_schema": {"schema": self.format}}
        return {"type": "json_object"} if self.format else None


class GenerateRequest(OllamaRequest):
    """A text to continue; without one, the deployment is loaded."""

    prompt: str | None = Field(None, description="The text.")
    system: str | None = Field(None, description="The system message, where the task takes one.")
    raw: _False | None = Field(None, description="Only false.")
    suffix: Literal[""] | None = Field(None, description="Only empty.")
    template: Literal[""] | None = Field(None, description="Only empty.")
    context: Annotated[tuple[int, ...], Field(max_length=0)] | None = Field(None, description="Only empty.")
    images: Annotated[tuple[str, ...], Field(max_length=0)] | None = Field(None, description="Only empty.")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not self.prompt

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return the request of the route's task.

        Raises:
            BadRequest: a setting is invalid, or the task does not have it.
        """
        name = text_input(route)
        asked = {name: self.prompt}
        if self.system:
            if "system" not in route.task.request.model_fields:
                raise BadRequest(
                    f"The task {route.task.spec.name!r} of deployment {route.name!r} takes no `system`. "
                    "Leave it out."
                )
            asked["system"] = self.system
        return requests_of(TextRequest(**self.settings()), route, [asked], [{name: "prompt"}])


class OllamaMessage(_Body):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text
    images: Annotated[tuple[str, ...], Field(max_length=0)] | None = Field(None, description="Only empty.")
    thinking: str | None = Field(None, description=NOT_READ)
    tool_calls: Annotated[tuple[Any, ...], Field(max_length=0)] | None = Field(
        None, description="Only empty."
    )


class OllamaChatRequest(OllamaRequest):
    """A chat to answer; without messages, the deployment is loaded."""

    messages: tuple[OllamaMessage, ...] | None = Field(None, max_length=512)
    tools: Annotated[tuple[Any, ...], Field(max_length=0)] | None = Field(None, description="Only empty.")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer."""
        return not self.messages

    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return the request of the route's task.

        Raises:
            BadRequest: a setting is invalid, or the task does not have it.
        """
        messages = tuple(ChatMessage(role=one.role, content=one.content) for one in self.messages or ())
        return ChatRequest(messages=messages, **self.settings()).read(route)
