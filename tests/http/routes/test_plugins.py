"""Plugins over HTTP: what is installed, what runs, and reloads, which the supervisor makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.http.conftest import serve
from tests.support.homes import FakeHome
from tests.support.waiting import until

STATE = {"id": 0, "state": "none", "replaced": 0, "replicas": 1, "started": "", "ended": "", "error": None}
PATH = "/admin/plugins/reload"


class Supervisor:
    """Answers as the supervisor's channel does."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.refuses = False

    def ask(self, **question: Any) -> dict[str, Any]:
        self.asked.append(question)
        if question["do"] == "reload" and self.refuses:
            return {"error": {"code": "reload_running", "message": "Reload 1 is starting."}}
        return {**STATE, **({"id": 1, "state": "starting"} if question["do"] == "reload" else {})}


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    with serve(FakeHome(tmp_path_factory.mktemp("plugins"), tiny_base_folder).path) as client:
        yield client


@pytest.fixture
def supervisor(service, client) -> Iterator[Supervisor]:
    asked = Supervisor()
    state = service._app().state
    before = state.hub
    state.hub = replace(before, supervisor=asked)
    yield asked
    state.hub = before


def test_a_reload_is_begun_with_what_this_worker_cannot_serve(client, supervisor, admin) -> None:
    begun = client.post(PATH, json={"force": True}, headers=admin)
    assert (begun.status_code, begun.json()["state"]) == (202, "starting")
    expected = {"do": "reload", "broken": [], "unreadable": [], "accept": False, "force": True}
    assert supervisor.asked == [expected]
    assert client.post(PATH, headers=admin).status_code == 202
    assert client.get(PATH, headers=admin).json() == STATE


def test_a_second_reload_is_refused_with_the_supervisors_error(client, supervisor, admin) -> None:
    supervisor.refuses = True
    refused = client.post(PATH, headers=admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "reload_running")


def test_it_needs_the_admin_key_and_a_known_body(client, supervisor, admin) -> None:
    for method, path in (("POST", PATH), ("GET", PATH), ("GET", "/admin/plugins")):
        assert client.request(method, path).status_code == 401
    assert client.post(PATH, json={"quick": True}, headers=admin).status_code == 400
    assert supervisor.asked == []


def test_without_our_supervisor_there_is_no_reload(client, admin) -> None:
    for method in ("POST", "GET"):
        refused = client.request(method, PATH, headers=admin)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert client.get("/admin/plugins", headers=admin).json()["reload"] is None


def test_plugins_are_listed_with_what_replicas_report(client, supervisor, admin) -> None:
    def sentiment() -> dict[str, Any]:
        plugins = client.get("/admin/plugins", headers=admin).json()["plugins"]
        return next(one for one in plugins if one["name"] == "sentiment")

    assert until(lambda: bool(sentiment()["running"])), "the replica reports soon after it is ready"
    found = sentiment()
    (running,) = found["running"]
    assert (running["version"], running["state"], running["replicas"]) == (found["version"], "ok", 1)
    assert found["change"] == ""
    assert client.get("/admin/plugins", headers=admin).json()["reload"] == STATE
