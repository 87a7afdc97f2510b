# ruff: noqa: TID253 - reads the settings of transformers
"""Libraries are silent while a block runs in any thread, and as before when the last one has ended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from transformers.utils import logging

from hub.engine.quiet import quiet


def settings() -> tuple[int, bool]:
    return logging.get_verbosity(), logging.is_progress_bar_enabled()


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """Begin with other settings than those of a quiet block, whatever another test has left."""
    verbosity, bars = settings()
    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    yield
    logging.set_verbosity(verbosity)
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()


def test_settings_are_restored_when_the_last_of_overlapping_blocks_ends() -> None:
    before, first, second = settings(), quiet(), quiet()
    with ThreadPoolExecutor(1) as other:
        first.__enter__()
        other.submit(second.__enter__).result()
        silent = settings()
        first.__exit__(None, None, None)
        assert silent == settings() == (logging.ERROR, False) != before
        other.submit(second.__exit__, None, None, None).result()
    assert settings() == before
