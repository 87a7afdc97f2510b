# ruff: noqa: TID253 - reads the settings of transformers
"""Libraries are silent while a block runs in any thread, and as before when the last one has ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from transformers.utils import logging

from hub.engine.quiet import quiet


def settings() -> tuple[int, bool]:
    return logging.get_verbosity(), logging.is_progress_bar_enabled()


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
