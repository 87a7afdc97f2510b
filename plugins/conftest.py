"""Fixtures shared by the tests of the plugins in this repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.profiles import load_profile

load_profile()

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


def unchanged(tokenizer: Any) -> Iterator[Any]:
    """Yield a tokenizer that tests share, and check that no task has set state in it."""
    yield tokenizer
    backend = tokenizer.backend_tokenizer
    assert backend.truncation is None and backend.padding is None, "a task has set state in the tokenizer"


@pytest.fixture(scope="session")
def word_tokenizer() -> Iterator[Any]:
    """The word-piece tokenizer of a tiny encoder; shared, so no test may leave a trace in it."""
    from hub.testing.tiny_tokenizers import BERT, tiny_tokenizer

    yield from unchanged(tiny_tokenizer(BERT, 64))


@pytest.fixture(scope="session")
def byte_tokenizer() -> Iterator[Any]:
    """The byte tokenizer of a tiny decoder, which has a chat template."""
    from hub.testing.tiny_tokenizers import LLAMA, tiny_tokenizer

    yield from unchanged(tiny_tokenizer(LLAMA))
