"""Prompts and answers as token ids, and the tokens of a chat that the assistant wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.api import BadData, BadRecipe, BadRequest, InvalidText, Tokenizer
from hub.task_tools import control_token

__all__ = ["IGNORED", "chat_prompt", "text_answer", "text_prompt", "train_chat"]

IGNORED = -100  # by the loss
MAX_REASON = 200  # characters of a chat template's own message

Turn = Mapping[str, str]
"""A message: `role` and `content`."""


def text_prompt(text: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a text to continue."""
    return list(tokenizer(text, verbose=False)["input_ids"])


def text_answer(text: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a text that continues a prompt, and the end token."""
    return [*tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], _end_token(tokenizer)]


def chat_prompt(messages: Sequence[Turn], tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a chat up to the place where the assistant answers.

    Raises:
        BadRequest: the tokenizer has no chat template, or the template rejects the messages.
        InvalidText: a message contains a control token, which the model would obey.
    """
    return list(_encoded(_rendered_prompt(messages, tokenizer), tokenizer)["input_ids"])


def train_chat(messages: Sequence[Turn], answer: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return input ids and labels of a chat and its last answer, both [T].

    The prompt is tokenized as by `chat_prompt`. The labels are the ids of the assistant's messages, each with
    the token that ends it, and IGNORED elsewhere.

    Raises:
        BadData: the template changes earlier messages, so that the answers cannot be located.
        BadRequest, InvalidText: as `chat_prompt`.
    """
    prompt = _rendered_prompt(messages, tokenizer)
    encoded = _encoded(prompt, tokenizer)
    ids = list(encoded["input_ids"])
    labels = [IGNORED] * len(ids)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(_shared_start(messages[:index], prompt, tokenizer))
            for place in _answer_tokens(encoded, prompt, start, message["content"], tokenizer):
                labels[place] = ids[place]
    tail = _last_answer(messages, prompt, answer, tokenizer)
    return ids + tail, labels + tail


def _last_answer(messages: Sequence[Turn], prompt: str, answer: str, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of the answer after the prompt, with the token that ends it."""
    _check_content(answer, tokenizer)
    whole = _rendered([*messages, {"role": "assistant", "content": answer}], tokenizer, prompt=False)
    if not whole.startswith(prompt):
        raise BadData("The chat template of the base changes earlier messages after an answer.")
    tail = whole[len(prompt) :]
    encoded = _encoded(tail, tokenizer)
    ids = [encoded["input_ids"][place] for place in _answer_tokens(encoded, tail, 0, answer, tokenizer)]
    return ids if ids and ids[-1] in _special_ids(tokenizer) else [*ids, _end_token(tokenizer)]


def _shared_start(messages: Sequence[Turn], prompt: str, tokenizer: Tokenizer) -> str:
    start = _rendered(messages, tokenizer, prompt=True)
    if not prompt.startswith(start):
        raise BadData("The chat template of the base changes earlier messages after an answer.")
    return start


def _answer_tokens(encoded: Any, text: str, start: int, content: str, tokenizer: Tokenizer) -> range:
    """Return the places of the tokens from `start` to the special token that follows `content`.

    Without such a token, the last place is the end of `content`.
    """
    found = text.find(content.strip(), start)
    if found < 0:
        raise BadData("The chat template of the base changes or omits the text of an assistant's message.")
    end = found + len(content.strip())
    offsets, special = encoded["offset_mapping"], _special_ids(tokenizer)  # offsets: [T, 2], in characters
    first = next((place for place, (begin, _) in enumerate(offsets) if begin >= start), len(offsets))
    after = next((place for place, (begin, _) in enumerate(offsets) if begin >= end), len(offsets))
    for place in range(after, len(offsets)):
        if encoded["input_ids"][place] in special:
            return range(first, place + 1)
    return range(first, after)


def _rendered_prompt(messages: Sequence[Turn], tokenizer: Tokenizer) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise BadRequest(
            "The tokenizer of this base has no chat template, so it cannot read messages. Send a `prompt` to "
            "an adapter with `prompt_as: text`, or use an instruction-tuned base."
        )
    for message in messages:
        _check_content(message["content"], tokenizer)
    return _rendered(messages, tokenizer, prompt=True)


def _rendered(messages: Sequence[Turn], tokenizer: Tokenizer, *, prompt: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
        )
    except TemplateError as error:
        raise BadRequest(
            f"The chat template of the base rejects the messages: {str(error)[:MAX_REASON]}"
        ) from None


def _encoded(text: str, tokenizer: Tokenizer) -> Any:
    """Tokenize a rendered chat: its special tokens are in the text."""
    return tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)


def _check_content(text: str, tokenizer: Tokenizer) -> None:
    if token := control_token(text, tokenizer):
        raise InvalidText(f"A message contains {token!r}, a control token of the model. Remove it.")


def _special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(getattr(tokenizer, "all_special_ids", ())) | {
        number for number, token in added.items() if token.special
    }


def _end_token(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise BadRecipe("The base's tokenizer has no end token, so the model could not stop.")
    return tokenizer.eos_token_id
