# ruff: noqa: TID253 - imported when a model is loaded, and by nothing else
"""Context managers that silence notes of libraries on the terminal and in the server's log."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from transformers.utils import logging

__all__ = ["known_warnings", "peft_quiet", "quiet"]


class _Silence:
    """Silences the libraries until the last of the blocks that run, in any thread, has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = (logging.WARNING, True)  # verbosity, progress bars

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._before = logging.get_verbosity(), logging.is_progress_bar_enabled()
                logging.set_verbosity_error()
                logging.disable_progress_bar()
            self._blocks += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                verbosity, bars = self._before
                logging.set_verbosity(verbosity)
                if bars:
                    logging.enable_progress_bar()


_SILENCE = _Silence()


def quiet() -> AbstractContextManager[None]:
    """Hide progress bars, and notes about unused weights and new head weights, in all threads."""
    return _SILENCE


@contextmanager
def known_warnings() -> Iterator[None]:
    """Hide PEFT's warnings about correct adapters, such as excluded layers that are not found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _ignore_deprecations()
        yield


@contextmanager
def peft_quiet() -> Iterator[None]:
    """Hide notes of transformers and PEFT during training, except warnings about the user's settings."""
    with quiet(), warnings.catch_warnings():
        _ignore_deprecations()
        yield


def _ignore_deprecations() -> None:
    # PEFT 0.21 reads an attribute that transformers 5.23 deprecates.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
