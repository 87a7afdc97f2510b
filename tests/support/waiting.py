"""Waiting for what another thread or process is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hub.testing.fixtures import ready_server

__all__ = ["ready_server", "until", "until_fixture"]


def until(holds: Callable[[], bool], seconds: float = 30) -> bool:
    """Return whether a condition became true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., bool]:
    return until
