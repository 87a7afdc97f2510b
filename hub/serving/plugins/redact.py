"""Removes the text of a request from the message of a plugin's exception."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

__all__ = ["exception_text"]

MAX_LENGTH = 200  # characters of a message that are logged
MIN_OVERLAP = 4  # a word is removed if so many of its characters in a row occur in the request
MIN_OVERLAP_UNSPACED = 2  # for words that are not ASCII
MAX_DEPTH = 8
GAP = "…"

_WORD = re.compile(r"\w+")


def exception_text(error: BaseException, *private: object) -> str:
    """Return the message of `error` on one line; words that occur in `private` are replaced by "…".

    `private` are requests and their outputs, whose text may be the customer's. A word is also removed if a
    part of it occurs there, because messages quote parts of texts, and escape them.
    """
    message = " ".join(_message(error)[:MAX_LENGTH].split())
    text = "\n".join(_strings(private, MAX_DEPTH)).casefold()
    words = set(_WORD.findall(text))

    def replaced(match: re.Match[str]) -> str:
        return GAP if _occurs(match[0].casefold(), text, words) else match[0]

    redacted = _WORD.sub(replaced, message)
    return re.sub(rf"{GAP}(?:[^\w{GAP}]*{GAP})+", GAP, redacted)


def _message(error: BaseException) -> str:
    """Return the message; that of a ValidationError without the input, which it quotes."""
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or error.title}: {one['msg']}" for one in details)
    try:
        return str(error)
    except BaseException:  # __str__ is the plugin's
        return ""


def _occurs(word: str, text: str, words: Collection[str]) -> bool:
    if word in words or (len(word) > 2 and word in text):
        return True
    size = MIN_OVERLAP if word.isascii() else MIN_OVERLAP_UNSPACED
    return any(word[at : at + size] in text for at in range(len(word) - size + 1))


def _strings(value: object, depth: int) -> Iterator[str]:
    """Yield every text and number in a value of nested models, mappings and lists."""
    if isinstance(value, str | int | float):
        yield str(value)
    elif depth and isinstance(value, BaseModel):
        yield from _strings(vars(value), depth - 1)
    elif depth and isinstance(value, Mapping):
        yield from _each((*value.keys(), *value.values()), depth)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        yield from _each(value, depth)


def _each(values: Iterable[Any], depth: int) -> Iterator[str]:
    for value in values:
        yield from _strings(value, depth - 1)
