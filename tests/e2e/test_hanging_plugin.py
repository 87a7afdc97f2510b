"""A plugin that hangs costs its own calls, and neither other deployments nor the end of the server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.environment import install_into
from tests.support.homes import FakeHome
from tests.support.tiny import tiny_encoder

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plugins"
EXPLAIN = "/v1/deployments/hanging/explain"
PATHS = {name: f"/v1/deployments/{name}/predict" for name in ("mood", "hanging")}
CALLS = 20  # more than a task has threads


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A workspace with the deployments `mood` and `hanging`, and plugins on the path of its processes."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ("acme-tickets", "hanging-tickets"):
        install_into(site, FIXTURES / name)
    monkeypatch.setenv("PYTHONPATH", str(site))
    tiny_encoder(tmp_path / "tiny")
    home = FakeHome(tmp_path / "hub-home", tmp_path / "tiny")
    for name, task in (("mood", "sentiment"), ("hanging", "hanging")):
        home.store.deploy(name, Deploy(version=home.add(name, task=task).ref, by="tester"))
    return Hub(tmp_path / "hub-home")


def ask(client: httpx.Client, name: str, text: str) -> tuple[int, str]:
    reply = client.post(PATHS[name], json={"text": text})
    error = reply.json().get("error", {})
    return reply.status_code, error.get("code", "")


def explain(client: httpx.Client, text: str) -> tuple[int, str]:
    reply = client.post(EXPLAIN, json={"request": {"text": text}})
    return reply.status_code, reply.json().get("error", {}).get("code", "")


def test_other_deployments_answer_while_one_hangs_and_status_names_the_plugin(hub, monkeypatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__PLUGIN_TIMEOUT_S", "0.5")
    with hub.serving("--engine", "fake") as client, ThreadPoolExecutor(CALLS) as threads:
        assert ask(client, "hanging", "fine") == (200, "")
        calls = [threads.submit(ask, client, "hanging", "hang in validation") for _ in range(CALLS)]
        while not all(call.done() for call in calls):
            assert ask(client, "mood", "a fine film") == (200, "")
            assert client.get("/readyz").status_code == 200
            time.sleep(0.02)
        answers = {call.result() for call in calls}
        assert (504, "plugin_timeout") in answers
        assert answers <= {(504, "plugin_timeout"), (503, "plugin_suspended")}
        assert ask(client, "hanging", "fine") == (503, "plugin_suspended")
        assert ask(client, "mood", "a fine film") == (200, "")
        assert "suspended plugin hanging" in hub.run("status")
        (found,) = hub.json("status")["hanging"]
        assert (found["task"], found["plugin"], found["suspended"]) == ("hanging", "hanging", True)
        (finding,) = [one for one in hub.json_of(1, "doctor")["findings"] if one["code"] == "plugin_hangs"]
        assert "plugin hanging" in finding["what"]
        metrics = client.get("/metrics").text.splitlines()
        assert [line.split()[-1] for line in metrics if line.startswith("hub_suspended_tasks{")] == ["1.0"]
    log = (hub.home.parent / "server.log").read_text()
    assert "validation" in log and "hangs at" in log and "hanging_tickets.py" in log


def test_explanations_that_hang_count_towards_suspension(hub, monkeypatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__PLUGIN_TIMEOUT_S", "0.5")
    monkeypatch.setenv("HUB_SERVE__EXPLAIN", "true")
    with hub.serving("--engine", "fake") as client, ThreadPoolExecutor(CALLS) as threads:
        calls = [threads.submit(explain, client, "hang in encode") for _ in range(CALLS)]
        assert {call.result() for call in calls} <= {(504, "plugin_timeout"), (503, "plugin_suspended")}
        assert ask(client, "hanging", "fine") == (503, "plugin_suspended")
        assert ask(client, "mood", "a fine film") == (200, "")


def test_an_exit_in_a_plugin_is_its_error_and_ends_nothing(hub) -> None:
    with hub.serving("--engine", "fake") as client:
        for _ in range(CALLS):
            for step in ("decode", "validation"):
                assert ask(client, "hanging", f"exit in {step}") == (500, "plugin_failed")
        assert ask(client, "hanging", "fine") == (200, "")
        assert ask(client, "mood", "a fine film") == (200, "")
        assert ask(client, "hanging", "print in encode") == (200, "")
        metrics = client.get("/metrics").text
    kinds = {("decode", "raised"): CALLS, ("validation", "raised"): CALLS, ("encode", "printed"): 1}
    for (step, fault), count in kinds.items():
        labels = f'fault="{fault}",step="{step}",task="hanging"'
        assert f"hub_plugin_faults_total{{{labels}}} {count}.0" in metrics
    log = (hub.home.parent / "server.log").read_text()
    assert "encode prints to standard output, at " in log and "secret" not in log


def test_a_server_ends_although_calls_hang(hub, monkeypatch) -> None:
    monkeypatch.setenv("HUB_LIMITS__PLUGIN_TIMEOUT_S", "600")
    monkeypatch.setenv("HUB_LIMITS__TIMEOUT_S", "600")
    monkeypatch.setenv("HUB_SERVE__EXPLAIN", "true")
    with ThreadPoolExecutor(3) as threads:
        with hub.serving("--engine", "fake") as client:
            caller = httpx.Client(base_url=client.base_url, timeout=60)  # stays open while the server ends
            calls = [
                threads.submit(ask, caller, "hanging", f"hang in {step}") for step in ("encode", "decode")
            ]
            calls.append(threads.submit(explain, caller, "hang in encode"))
            assert ask(client, "mood", "a fine film") == (200, "")
        ends = {(504, "plugin_timeout"), (503, "plugin_suspended"), (503, "not_ready")}
        assert {call.result() for call in calls} <= ends
        caller.close()
