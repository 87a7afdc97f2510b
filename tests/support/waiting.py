"""Waiting for what another thread or process is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from hub.client import server_file

__all__ = ["ready_server", "until", "until_fixture"]


def until(holds: Callable[[], bool], seconds: float = 30) -> bool:
    """Return whether a condition became true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def ready_server(home: Path) -> str | None:
    """Return the address of the server of a home once it is ready."""
    found = server_file.read(home)
    try:
        if found and httpx.get(f"{found.url}/readyz", timeout=5, verify=found.verify()).is_success:
            return found.url
    except httpx.HTTPError:
        pass
    return None


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., bool]:
    return until
