"""The prompt and the target of a translation, as token ids."""

from __future__ import annotations

from grafthub_translation.languages import language_name
from hub.api import InvalidText, Tokenizer
from hub.task_tools import answer_ids, control_token, instruction_ids

__all__ = ["prompt_ids", "target_ids"]

_CHAT = "Translate from {source_language} to {target_language}:\n{text}"
_PLAIN = "{source_language}: {text}\n{target_language}:"


def prompt_ids(text: str, pair: tuple[str, str], tokenizer: Tokenizer, template: str | None) -> list[int]:
    """Return the prompt: a chat turn if the tokenizer has a chat template, else plain text.

    Raises:
        InvalidText: the text contains a control token, which the model would obey.
    """
    _check_control_tokens(text, tokenizer)
    usual = _CHAT if getattr(tokenizer, "chat_template", None) else _PLAIN
    instruction = (template or usual).format(
        text=text, source_language=language_name(pair[0]), target_language=language_name(pair[1])
    )
    return instruction_ids(instruction, tokenizer)


def target_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """Return the target after the prompt, without its end token."""
    _check_control_tokens(text, tokenizer)
    return answer_ids(text, tokenizer)


def _check_control_tokens(text: str, tokenizer: Tokenizer) -> None:
    if token := control_token(text, tokenizer):
        raise InvalidText(f"The text contains {token!r}, a control token of the model. Remove it.")
