"""A real server in a process of its own, and the command line as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from huggingface_hub import close_session
from typer.testing import CliRunner

from hub.bases.base import Base
from hub.cli.main import app
from tests.support.preloaded import Process, preloaded
from tests.support.waiting import ready_server

START_LIMIT_S = 120


@dataclass(frozen=True)
class Hub:
    """One workspace: its state folder, whose `hub` is used, and whether commands are forked."""

    home: Path
    python: str = sys.executable
    forked: bool = True

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "HUB_HOME": str(self.home), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

    def run(self, *args: str, status: int = 0, cwd: Path | None = None) -> str:
        """Run `hub ARGS`, insist on the exit status, return stdout."""
        if self.forked:
            done = preloaded(self.python).run("hub", *args, env=self.env, cwd=cwd)
        else:
            command = [self.python, "-m", "hub", *args]
            done = subprocess.run(command, check=False, env=self.env, cwd=cwd, capture_output=True, text=True)
        assert done.returncode == status, f"hub {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run_here(self, *args: str) -> str:
        """Run `hub ARGS` in this process, which is faster; return stdout."""
        done = CliRunner().invoke(app, list(args), env=self.env)
        assert done.exit_code == 0, f"hub {args}: {done.output}\n{done.exception!r}"
        return done.stdout

    def json(self, *args: str, cwd: Path | None = None) -> Any:
        return json.loads(self.run(*args, "--json", cwd=cwd))

    def json_here(self, *args: str) -> Any:
        return json.loads(self.run_here(*args, "--json"))

    def json_of(self, status: int, *args: str) -> Any:
        return json.loads(self.run(*args, "--json", status=status))

    def start(self, *args: str, out: IO[str]) -> Process:
        """Start `hub ARGS`, which prints to `out`."""
        if self.forked:
            return preloaded(self.python).start("hub", *args, env=self.env, stdout=out, stderr=out)
        return subprocess.Popen([self.python, "-m", "hub", *args], env=self.env, stdout=out, stderr=out)

    @contextmanager
    def serving(self, *args: str) -> Iterator[httpx.Client]:
        """Start `hub serve` on a free port; yield a client; stop it as an operator would."""
        log = self.home.parent / "server.log"
        with log.open("w") as out:
            process = self.start("serve", "--port", "0", *args, out=out)
        try:
            with httpx.Client(base_url=self._wait(process, log), timeout=60) as client:
                yield client
        finally:
            close_session()  # a server lingers a second where a client leaves its connection open
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"the server ignored SIGTERM:\n{log.read_text()}") from None

    def _wait(self, process: Process, log: Path) -> str:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            assert process.poll() is None, f"the server ended:\n{log.read_text()}"
            if url := ready_server(self.home):
                return url
            time.sleep(0.03)
        raise AssertionError(f"the server was not ready in {START_LIMIT_S} s:\n{log.read_text()}")


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "hub-home")


@pytest.fixture
def hub_with_minilm(hub: Hub, minilm: Base) -> Hub:
    """A fresh workspace that has the MiniLM base already."""
    return give_base(hub, minilm)


@pytest.fixture
def link_base() -> Callable[[Hub, Base], Hub]:
    return give_base


def give_base(hub: Hub, base: Base) -> Hub:
    """Give a workspace a base that was pulled before."""
    (hub.home / "bases").mkdir(parents=True, exist_ok=True)
    (hub.home / "bases" / base.name).symlink_to(base.path, target_is_directory=True)
    return hub
