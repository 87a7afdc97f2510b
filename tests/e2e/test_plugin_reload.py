"""A running server takes a plugin in, its upgrade, and its end: no request fails, no answer is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from hub.registry.host import Registry
from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.environment import fresh_environment
from tests.support.homes import FakeHome
from tests.support.plugins import installing
from tests.support.tiny import tiny_encoder
from tests.support.waiting import until
from tests.support.wheels import write_wheel

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.installs]

FIXTURE = Path(__file__).parents[1] / "fixtures" / "plugins" / "acme-tickets" / "acme_tickets"
POINTS = "[hub.tasks.v1]\ntickets = acme_tickets.spec\n"
TEXT = "the lift has stopped again"
PAUSE_S = 0.03  # without it, the clients take the processor from the commands; test_replicas.py has none


def wheel(folder: Path, version: str) -> str:
    """Write a release of the plugin whose answers name it."""
    modules = {f"acme_tickets/{path.name}": path.read_text() for path in FIXTURE.glob("*.py")}
    tasks = modules["acme_tickets/tasks.py"]
    answer = "return Response(label="
    modules["acme_tickets/tasks.py"] = tasks.replace(answer, f"{answer}'{version} ' + ")
    return str(write_wheel(folder, "acme-tickets", version, modules=modules, entry_points=POINTS))


@dataclass
class Client:
    """Asks one deployment again and again; `answers` have the time of each request, its status and label."""

    url: str
    name: str
    keeps: bool
    answers: list[tuple[float, int, str]] = field(default_factory=list)

    def ask(self, stop: threading.Event) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if self.keeps else 0)
        with httpx.Client(base_url=self.url, limits=limits, timeout=60) as client:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    reply = client.post(f"/v1/deployments/{self.name}/predict", json={"text": TEXT})
                    self.answers.append(
                        (began, reply.status_code, str(reply.json().get("label", reply.text)))
                    )
                except httpx.HTTPError as error:
                    self.answers.append((began, 0, repr(error)))
                stop.wait(PAUSE_S)


@contextmanager
def asking(*clients: Client) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=client.ask, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def labels(client: Client, since: float = 0.0) -> set[tuple[int, str]]:
    return {(status, label) for began, status, label in client.answers if began >= since}


@pytest.fixture
def home(tmp_path: Path) -> FakeHome:
    """`mood`, live, and `desk`, an adapter of a task that comes with the plugin."""
    tiny_encoder(tmp_path / "tiny")
    home = FakeHome(tmp_path / "hub-home", tmp_path / "tiny")
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="tester"))
    with installing(tmp_path / "site") as install:
        install("acme-tickets")
        made_with = Registry.load().plugin_of("ticket-urgency").model_copy(update={"version": "0.1"})
    home.add("desk", seed=2, task="ticket-urgency", labels=("calm", "urgent"), plugin=made_with)
    return home


@pytest.fixture
def hub(home: FakeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return Hub(home.path, str(fresh_environment(tmp_path / "env")))


def tickets(hub: Hub, url: str) -> tuple[str, str, list[str], str]:
    """What the server says of the plugin: installed, its state, running, what a reload changes."""
    key = {"authorization": f"Bearer {(hub.home / 'admin.key').read_text().strip()}"}
    plugins = httpx.get(f"{url}/admin/plugins", headers=key, timeout=60).json()["plugins"]
    (found,) = [one for one in plugins if one["distribution"] == "acme-tickets"]
    return found["version"], found["state"], [one["version"] for one in found["running"]], found["change"]


def test_plugins_come_change_and_go_while_clients_ask(hub: Hub, tmp_path: Path) -> None:
    with hub.serving("--engine", "fake") as server:
        url = str(server.base_url)
        moods = [Client(url, "mood", keeps) for keeps in (True, False)]
        with asking(*moods):
            tickets_come_and_go(hub, url, tmp_path)
        for client in moods:
            assert len(client.answers) > 100
            assert {status for status, _ in labels(client)} == {200}
            assert len(labels(client)) == 1, "the same answer all the time"


def tickets_come_and_go(hub: Hub, url: str, folder: Path) -> None:
    said = hub.run("plugins", "install", wheel(folder, "0.1"))
    assert f"The server at {url}" in said and "hub plugins reload" in said
    assert tickets(hub, url) == ("0.1", "ok", [], "installed 0.1, not running")
    assert "1 serving process runs what is installed" in hub.run("plugins", "reload")
    assert tickets(hub, url) == ("0.1", "ok", ["0.1"], "")
    hub.run("deploy", "desk@1")

    desk = Client(url, "desk", keeps=True)
    with asking(desk):
        hub.run("plugins", "install", wheel(folder, "0.2"))
        assert tickets(hub, url) == ("0.2", "ok", ["0.1"], "installed 0.2, running 0.1")
        assert {label.split()[0] for _, label in labels(desk)} == {"0.1"}
        hub.run("plugins", "reload")
        upgraded = time.monotonic()
        assert until(lambda: len([one for one in desk.answers if one[0] > upgraded]) > 20)

    assert {status for status, _ in labels(desk)} == {200}
    assert {label.split()[0] for _, label in labels(desk, upgraded)} == {"0.2"}
    assert len({label.split()[1] for _, label in labels(desk)}) == 1, "the same label by both releases"

    hub.run("plugins", "disable", "tickets")
    assert tickets(hub, url)[1:] == ("disabled", ["0.2"], "disabled, running 0.2")
    hub.run("plugins", "reload", "--force")  # a live deployment is lost
    assert tickets(hub, url)[3] == ""
    gone = httpx.post(f"{url}/v1/deployments/desk/predict", json={"text": TEXT}, timeout=60)
    assert gone.status_code == 503 and "ticket-urgency" in gone.text
