"""Counts which texts are tokenized."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hub.serving.batching.base_workers import Tokenizers

__all__ = ["tokenized"]


def tokenized(patch: pytest.MonkeyPatch) -> Counter[str]:
    """Count from now on how often each text is given to a tokenizer of any base."""
    calls: Counter[str] = Counter()
    take = Tokenizers.take

    class Counting:
        def __init__(self, tokenizer: Any) -> None:
            self._tokenizer = tokenizer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tokenizer, name)

        def __call__(self, *texts: str, **options: Any) -> Any:
            calls[texts[0]] += 1
            return self._tokenizer(*texts, **options)

    patch.setattr(Tokenizers, "take", lambda self: Counting(take(self)))
    patch.setattr(Tokenizers, "give_back", lambda self, one: self._free.put(one._tokenizer))
    return calls
