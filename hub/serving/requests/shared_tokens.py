"""Tokenizers that several calls of one request share: no text is tokenized twice in the same way."""

from __future__ import annotations

import copy
import threading
from collections.abc import MutableMapping, Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from hub.api import Tokenizer

__all__ = ["SharedTokens"]


class SharedTokens:
    """The results of tokenizers, by base and by the arguments of their calls; thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.results: dict[bytes, Any] = {}

    def tokenizer(self, base: str, tokenizer: Tokenizer) -> Tokenizer:
        """Return a tokenizer of the base with this fingerprint that shares its results."""
        return _SharingTokenizer(base, tokenizer, self)


class _SharingTokenizer:
    """A tokenizer that returns a copy of a shared result.

    Offsets are always computed, which costs nothing, so that tasks with and without them share.
    """

    def __init__(self, base: str, tokenizer: Tokenizer, shared: SharedTokens) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._shared = shared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *texts: Any, **options: Any) -> Any:
        while texts and texts[-1] is None:  # a pair without a second text
            texts = texts[:-1]
        asked = bool(options.pop("return_offsets_mapping", False))
        if self._tokenizer.is_fast:
            options["return_offsets_mapping"] = True
        found = self._result(self._tokenizer, "", texts, options)
        if not asked and isinstance(found, MutableMapping):
            found.pop("offset_mapping", None)
        return found

    def apply_chat_template(self, *messages: Any, **options: Any) -> Any:
        return self._result(self._tokenizer.apply_chat_template, "chat", messages, options)

    def _result(self, call: Any, kind: str, values: Sequence[Any], options: dict[str, Any]) -> Any:
        try:
            key = to_json([self._base, kind, values, sorted(options.items())])
        except (PydanticSerializationError, ValueError):  # an argument without JSON: not shared
            return call(*values, **options)
        with self._shared.lock:
            if key not in self._shared.results:
                self._shared.results[key] = call(*values, **options)
            return _own_copy(self._shared.results[key])


def _own_copy(result: Any) -> Any:
    """Copy a result with its lists; the encodings behind it are shared."""
    if not isinstance(result, MutableMapping):
        return _copied(result)
    own = copy.copy(result)
    for key, value in own.items():
        own[key] = _copied(value)
    return own


def _copied(value: Any) -> Any:
    return [_copied(one) for one in value] if isinstance(value, list) else value
