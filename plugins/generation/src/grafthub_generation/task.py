"""The task `generation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import ValidationError

from grafthub_generation.chat import IGNORED, chat_prompt, text_answer, text_prompt, train_chat
from grafthub_generation.models import GenerationOptions, GenerationRequest, GenerationResponse
from hub.api import (
    AdapterInfo,
    BadData,
    BadRequest,
    Example,
    Features,
    Field,
    FieldKind,
    MetricKind,
    Output,
    Row,
    Task,
    Tokenizer,
    TooLarge,
    read_options,
)
from hub.task_tools import text_overlap

__all__ = ["GenerationTask"]

_QUESTIONS = ("instruction", "question", "query")  # names of columns


class GenerationTask(Task[GenerationRequest, GenerationResponse]):
    """Continue a text or answer a chat with a decoder."""

    fields: ClassVar[tuple[Field, ...]] = (
        Field("prompt", FieldKind.TEXT, "A prompt or an instruction.", required=False),
        Field("completion", FieldKind.TEXT, "The answer to `prompt` or `messages`.", required=False),
        Field("system", FieldKind.TEXT, "The system message of a prompt.", required=False),
        Field("messages", FieldKind.MESSAGES, "A chat, instead of a prompt.", required=False),
    )
    options: ClassVar[type[GenerationOptions]] = GenerationOptions
    metric: ClassVar[str] = "chrf"
    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType(
        {
            "chrf": MetricKind.CORPUS,
            "rouge_l": MetricKind.MEAN,
            "exact_match": MetricKind.MEAN,
        }
    )
    bare_base: ClassVar[bool] = True
    text_field: ClassVar[str] = "text"
    max_length: ClassVar[int] = 2048

    def suggest_options(self, columns: Mapping[str, str | int]) -> Mapping[str, Any]:
        """Return `prompt_as: chat` for instructions and questions, and for prompts with a system message."""
        asks = "system" in columns or columns.get("prompt") in _QUESTIONS
        return {"prompt_as": "chat"} if asks else {}

    def request(self, example: Example) -> GenerationRequest:
        messages = example.get("messages") or None
        if messages and example.get("completion") is None and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        try:
            return GenerationRequest(
                prompt=example.get("prompt"), messages=messages, system=example.get("system")
            )
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise BadData(f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}.") from None

    def encode(self, request: GenerationRequest, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        options = read_options(GenerationOptions, adapter)
        messages = _messages(request, options)
        prompt = (
            text_prompt(request.prompt or "", tokenizer)
            if messages is None
            else chat_prompt(messages, tokenizer)
        )
        limit = _limit(len(prompt), request.max_new_tokens, options.max_new_tokens, adapter.max_length)
        return [Row(input_ids=prompt, max_new_tokens=limit, sampling=request.sampling)]

    def decode(
        self, request: GenerationRequest, outputs: Sequence[Output], adapter: AdapterInfo
    ) -> GenerationResponse:
        (output,) = outputs
        return GenerationResponse(
            text=output.text,
            finish_reason=output.finish_reason,
            prompt_tokens=len(output.row.input_ids),
            completion_tokens=output.tokens,
        )

    def agrees(self, answer: GenerationResponse, other: GenerationResponse) -> bool:
        """Return whether two texts are equal apart from white space."""
        return answer.text.split() == other.text.split()

    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        try:
            request, answer = self.request(example), _answer(example)
            messages = _messages(request, read_options(GenerationOptions, adapter))
            if messages is None:
                prompt = text_prompt(request.prompt or "", tokenizer)
                target = text_answer(_joined(request.prompt or "", answer), tokenizer)
                ids, labels = prompt + target, [IGNORED] * len(prompt) + target
            else:
                ids, labels = train_chat(messages, answer, tokenizer)
        except BadRequest as error:
            raise BadData(str(error)) from None
        if len(ids) > adapter.max_length:
            raise BadData(
                f"The row has {len(ids):,} tokens with its answer; `max_length` is {adapter.max_length:,}."
            )
        return [{"input_ids": ids, "labels": labels}]

    def metrics(
        self, predictions: Sequence[GenerationResponse], references: Sequence[Example]
    ) -> dict[str, float]:
        """Return corpus chrF, mean ROUGE-L F1, and the share of texts equal apart from white space."""
        predicted = [answer.text.strip() for answer in predictions]
        true = [_answer(example).strip() for example in references]
        overlap = text_overlap(predicted, true)
        equal = sum(one.split() == other.split() for one, other in zip(predicted, true, strict=True))
        return {
            "chrf": overlap["chrf"],
            "rouge_l": overlap["rouge_l"],
            "exact_match": equal / max(1, len(true)),
        }


def _messages(request: GenerationRequest, options: GenerationOptions) -> list[dict[str, str]] | None:
    """Return the chat of a request; None if its prompt is a text to continue."""
    if request.messages is not None:
        chat = [message.model_dump() for message in request.messages]
        system = None if chat[0]["role"] == "system" else options.system_prompt
    elif request.prompt is None:
        raise BadRequest("Send exactly one of `prompt` and `messages`.")
    elif options.prompt_as == "text":
        if request.system is not None:
            raise BadRequest(
                "This adapter reads a `prompt` as text to continue, without a system message. Send "
                "`messages`, or train it with the option `prompt_as: chat`."
            )
        return None
    else:
        chat = [{"role": "user", "content": request.prompt}]
        system = options.system_prompt if request.system is None else request.system
    return chat if system is None else [{"role": "system", "content": system}, *chat]


def _joined(prompt: str, completion: str) -> str:
    """Return the completion, after a space if there is no white space between it and the prompt."""
    return completion if prompt[-1:].isspace() or completion[:1].isspace() else f" {completion}"


def _limit(prompt: int, asked: int | None, default: int, context: int) -> int:
    """Return the maximum number of new tokens; prompt and answer fit the context.

    Raises:
        TooLarge: the prompt leaves no room for the answer, or not for as many tokens as were asked for.
    """
    if prompt >= context:
        raise TooLarge(
            f"The prompt has {prompt:,} tokens and leaves no room for an answer: this adapter's limit is "
            f"{context:,} tokens for both."
        )
    if asked is not None and prompt + asked > context:
        raise TooLarge(
            f"The prompt has {prompt:,} tokens and max_new_tokens is {asked:,}: this adapter's limit is "
            f"{context:,} tokens for both."
        )
    return asked if asked is not None else min(default, context - prompt)


def _answer(example: Example) -> str:
    """Return the answer of a training row.

    Raises:
        BadData: it has none.
    """
    if (completion := example.get("completion")) is not None:
        return str(completion)
    messages = example.get("messages") or ()
    if messages and messages[-1]["role"] == "assistant":
        return str(messages[-1]["content"])
    raise BadData("The row has no answer: neither a completion nor a last message by 'assistant'.")
