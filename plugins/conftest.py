"""Fixtures shared by the tests of the plugins in this repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Slowness says something of the machine only; CI draws the same examples every time.
settings.register_profile(
    "shared", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("shared")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The word-piece tokenizer of a tiny encoder; shared, so no test may leave a trace in it."""
    from hub.testing.tiny import tiny_encoder

    tokenizer = load_tokenizer(tiny_encoder(tmp_path_factory.mktemp("encoder")).path)
    yield tokenizer
    backend = tokenizer.backend_tokenizer
    assert backend.truncation is None and backend.padding is None, "a task has set state in the tokenizer"


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The byte tokenizer of a tiny decoder, which has a chat template."""
    from hub.testing.tiny import tiny_decoder

    tokenizer = load_tokenizer(tiny_decoder(tmp_path_factory.mktemp("decoder")).path)
    yield tokenizer
    backend = tokenizer.backend_tokenizer
    assert backend.truncation is None and backend.padding is None, "a task has set state in the tokenizer"
