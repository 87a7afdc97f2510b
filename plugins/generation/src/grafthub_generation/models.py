"""The request, the response and the options of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from hub.api import MAX_TEXT, BadRequest, FinishReason, Model, SamplingFields, Text, TooLarge

__all__ = ["GenerationOptions", "GenerationRequest", "GenerationResponse", "Message"]

MAX_MESSAGES = 512
MAX_NEW_TOKENS = 32_768


class Message(Model):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant"] = Field(description="Author of the message.")
    content: Text = Field(description="Text of the message.")


def _check_count(messages: Any) -> Any:
    if isinstance(messages, list | tuple) and len(messages) > MAX_MESSAGES:
        raise TooLarge(f"The chat has {len(messages):,} messages; the limit is {MAX_MESSAGES}.")
    return messages


def _check_turns(messages: Sequence[Message]) -> Sequence[Message]:
    """Accept an optional system message, then user and assistant in turns, ending with the user."""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    for number, message in enumerate(turns):
        expected = "assistant" if number % 2 else "user"
        if message.role != expected:
            place = number + len(messages) - len(turns)
            raise BadRequest(
                f"messages.{place} is by {message.role!r}; {expected!r} is expected. A chat has an optional "
                "system message, then messages by 'user' and 'assistant' in turns."
            )
    if len(turns) % 2 == 0:
        raise BadRequest("The last of `messages` must be by 'user'.")
    if (size := sum(len(message.content) for message in messages)) > MAX_TEXT:
        raise TooLarge(f"The messages have {size:,} characters in total; the limit is {MAX_TEXT:,}.")
    return messages


Messages = Annotated[tuple[Message, ...], BeforeValidator(_check_count), AfterValidator(_check_turns)]


class GenerationRequest(SamplingFields):
    """A text to continue, or a chat to answer; exactly one of `prompt` and `messages`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "The capital of France is", "max_new_tokens": 16},
                {"messages": [{"role": "user", "content": "Name a river."}], "temperature": 0.7, "seed": 1},
            ]
        }
    )

    prompt: Text | None = Field(
        None, description="The text to continue, or with `prompt_as: chat` the user's message."
    )
    messages: Messages | None = Field(
        None,
        description="The chat so far, ending with a message by the user.",
        json_schema_extra={"maxItems": MAX_MESSAGES},
    )
    system: Text | None = Field(
        None, description="With a `prompt` of an adapter with `prompt_as: chat`: the system message."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, le=MAX_NEW_TOKENS, description="Maximum length of the answer; default: the adapter's."
    )

    @model_validator(mode="after")
    def _one_input(self) -> GenerationRequest:
        if (self.prompt is None) == (self.messages is None):
            raise BadRequest("Send exactly one of `prompt` and `messages`.")
        if self.system is not None and self.messages is not None:
            raise BadRequest("Send the system message as the first of `messages`, not as `system`.")
        return self


class GenerationResponse(Model):
    """The generated text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": " Paris.", "finish_reason": "stop", "prompt_tokens": 5, "completion_tokens": 3}
            ]
        }
    )

    text: str = Field(description="The generated text, without the prompt.")
    finish_reason: FinishReason | None = Field(
        None, description="`stop`: an end token or a stop string; `length`: `max_new_tokens` or the context."
    )
    prompt_tokens: int = Field(description="Number of tokens of the prompt.")
    completion_tokens: int = Field(description="Number of generated tokens, including an end token.")


class GenerationOptions(Model):
    """Options of a recipe for `generation`."""

    prompt_as: Literal["text", "chat"] = Field(
        "text",
        description="How the model reads a `prompt`: as text to continue, or as a user's message in the "
        "chat template of the base.",
    )
    system_prompt: Text | None = Field(None, description="System message of chats that have none.")
    max_new_tokens: int = Field(
        256, ge=1, le=MAX_NEW_TOKENS, description="Default length limit of an answer, in tokens."
    )
