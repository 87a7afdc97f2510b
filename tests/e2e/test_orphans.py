"""What is left of a server whose supervisor was killed: nothing."""

from __future__ import annotations

import json
import os
import signal
import time

import httpx
import pytest

from tests.e2e.conftest import Hub


def test_the_worker_of_a_killed_supervisor_ends_and_the_next_server_starts(hub: Hub) -> None:
    with hub.serving("--engine", "fake") as client:
        os.kill(json.loads((hub.home / "server.json").read_text())["pid"], signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            for _ in range(100):
                client.get("/livez")
                time.sleep(0.1)
    with hub.serving("--engine", "fake") as client:
        assert client.get("/livez").status_code == 200
