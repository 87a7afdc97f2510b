"""kill -9 of a real `hub serve`: of its worker in the middle of a deploy, then of all its processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.client import server_file
from hub.config import find_home
from hub.store.change import Deploy
from hub.store.store import Store
from tests.faults.conftest import ALL
from tests.support.homes import FakeHome
from tests.support.preloaded import Process, preloaded
from tests.support.waiting import ready_server, until

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
TEXT = "a film that ends well"
LIMIT_S = 120
TRAILS = {  # what the worker goes through before it is killed, and what is live then
    "the move is in the catalog": (["sql INSERT INTO deployment_events", "committed"], "mood@3"),
    "the move is not committed": (["sql INSERT INTO deployment_events", "commit"], "mood@2"),
}
Scores = Mapping[str, float]


@pytest.fixture
def home(tiny_base_folder: Path) -> FakeHome:
    """Three versions of `mood`; the first is live."""
    home = FakeHome(find_home(), tiny_base_folder)
    for seed in (1, 2, 3):
        home.add("mood", seed=seed)
    home.store.deploy("mood", Deploy(version="mood@1", by="test"))
    return home


def environment(home: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent / "worker")])
    return {
        **os.environ,
        "HUB_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": paths,
        "FAULT_GATE": str(home.parent / "gate"),
    }


def hub(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@contextmanager
def serving(home: Path, port: int) -> Iterator[tuple[Process, httpx.Client]]:
    """Run a server; it may be killed in the block."""
    serve = ("hub", "serve", "--port", str(port), "--engine", "fake")
    with (home.parent / "log").open("ab") as log:
        process = preloaded().start(*serve, env=environment(home), stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=wait_for(home), timeout=60) as client:
            yield process, client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(home: Path) -> str:
    """Return where the server answers, once it does."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if url := ready_server(home):
            return url
        time.sleep(0.05)
    raise AssertionError((home.parent / "log").read_text())


def ask(client: httpx.Client) -> tuple[str, Scores]:
    reply = client.post("/v1/deployments/mood/predict", json={"text": TEXT})
    reply.raise_for_status()
    return reply.headers["x-hub-version"], reply.json()["scores"]


def all_truths(home: Path, client: httpx.Client) -> dict[str, Scores]:
    """Return what each version answers; mood@2 is live in the end."""
    truth = {}
    for ref in ("mood@1", "mood@3", "mood@2"):
        move(home, client, ref).raise_for_status()
        version, truth[ref] = ask(client)
        assert version == ref
    return truth


def move(home: Path, client: httpx.Client, ref: str) -> httpx.Response:
    key = {"authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
    return client.put("/admin/deployments/mood", json={"version": ref}, headers=key)


def check_health() -> None:
    """The doctor has nothing to mend; what it notices is what a kill leaves."""
    noticed = {finding["code"] for finding in json.loads(hub("doctor", "--json"))["findings"]}
    # A worker that is dead and whose supervisor has not seen it yet looks alive, and silent.
    assert noticed <= {"leftover", "server_record_stale", "server_silent"}


def kill_all(process: Process) -> None:
    parent = psutil.Process(process.pid)
    for one in (parent, *parent.children(recursive=True)):
        one.kill()
    process.wait(30)


@pytest.mark.parametrize("when", list(TRAILS) if ALL else list(TRAILS)[:1])
def test_killed_in_a_deploy_then_altogether(home, when) -> None:
    trail, live = TRAILS[when]
    with serving(home.path, port=0) as (process, client):
        truth = all_truths(home.path, client)
        gate = home.path.parent / "gate"
        gate.write_text("\n".join(trail))
        assert until(gate.with_suffix(".armed").exists)
        if "half" in trail[0]:
            home.add("mood", seed=4)
        with pytest.raises(httpx.HTTPError):
            move(home.path, client, "mood@4" if "half" in trail[0] else "mood@3").raise_for_status()
        assert not gate.exists(), "the worker came to the end of the trail"
        check_health()

        url = wait_for(home.path)
        assert ask(client) == (live, truth[live])
        assert str(Store(home.path).deployment("mood").stable.ref) == live
        move(home.path, client, "mood@3").raise_for_status()
        assert ask(client) == ("mood@3", truth["mood@3"])

        kill_all(process)
        check_health()
        assert "No server runs" in hub("deploy", "mood@1")
    with serving(home.path, port=httpx.URL(url).port or 0) as (_, client):
        assert ask(client) == ("mood@1", truth["mood@1"])
    assert not (home.path / server_file.FILE).exists()
