"""Changing a deployment from its page: asked before, refused after another change, told in the history."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from hub.serving.control.reconciler import Reconciler
from hub.store.change import Deploy
from hub.store.records import Version
from tests.console.conftest import Browser
from tests.support.homes import FakeHome
from tests.support.waiting import until

CHANGE = "/console/deployments/desk/change"


@pytest.fixture
def desk(home: FakeHome, operator: Browser) -> Browser:
    """The deployment `desk`, whose stable version is desk@1, with desk@2 beside it in the store."""
    while len(home.store.versions("desk")) < 2:
        home.add("desk", seed=len(home.store.versions("desk")))
    home.store.deploy("desk", Deploy(version="desk@1", by="tester"))
    assert until(lambda: operator.get("/console/deployments/desk").status_code == 200, 10)
    return operator


def fields(browser: Browser, query: str) -> dict[str, str]:
    """Return what the form of a confirmation sends."""
    found = browser.json(f"{CHANGE}?{query}")
    return {key: str(found[key]) for key in ("kind", "how", "percent", "seen")} | {"version": found["after"]}


def test_the_question_names_both_versions(desk: Browser) -> None:
    page = desk.get(f"{CHANGE}?kind=deploy&version=desk@2&how=live").text
    assert "Deploy desk@2 in place of desk@1" in page


def test_a_version_is_deployed_and_rolled_back(desk: Browser) -> None:
    made = desk.send(CHANGE, reason="a try", **fields(desk, "kind=deploy&version=desk@2&how=live"))
    assert made.status_code == 303, made.text
    found = desk.json("/console/deployments/desk")
    assert found["deployment"]["version"] == "desk@2"
    assert (found["history"][0]["who"], found["history"][0]["reason"]) == ("admin (console)", "a try")
    assert desk.send(CHANGE, **fields(desk, "kind=rollback")).status_code == 303
    assert desk.json("/console/deployments/desk")["deployment"]["version"] == "desk@1"


def test_a_canary_is_tried_and_promoted(desk: Browser) -> None:
    asked = fields(desk, "kind=deploy&version=desk@2&how=canary&percent=25")
    tried = desk.send(CHANGE, **asked)
    assert tried.status_code == 303
    assert "Done: deploy desk@2 as a canary." in desk.get(tried.headers["location"]).text
    shown = desk.get("/console/deployments").text
    assert "75%" in shown
    assert "25%" in shown
    assert "The trial" in desk.get("/console/deployments/desk").text
    question = desk.get(f"{CHANGE}?kind=promote").text
    assert "Promote desk@2 in place of desk@1" in question
    assert desk.send(CHANGE, **fields(desk, "kind=promote")).status_code == 303
    assert desk.json("/console/deployments/desk")["deployment"]["version"] == "desk@2"


def test_what_was_changed_meanwhile_is_not_changed_again(desk: Browser, home: FakeHome) -> None:
    asked = fields(desk, "kind=deploy&version=desk@2&how=live")
    home.store.deploy("desk", Deploy(version="desk@2", by="somebody else"))
    refused = desk.send(CHANGE, **asked)
    assert refused.status_code == 409
    assert "changed meanwhile" in refused.text


def test_what_is_changed_while_the_version_loads_is_not_changed_again(
    desk: Browser, home: FakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add("desk", seed=7)
    asked = fields(desk, "kind=deploy&version=desk@2&how=live")
    load = Reconciler.prepared

    def slowly(self: Reconciler, version: Version) -> AbstractContextManager[Any]:
        home.store.deploy("desk", Deploy(version="desk@3", by="somebody else"))
        return load(self, version)

    monkeypatch.setattr(Reconciler, "prepared", slowly)
    refused = desk.send(CHANGE, **asked)
    assert (refused.status_code, "changed meanwhile" in refused.text) == (409, True)
    assert str(home.store.deployment("desk").stable.ref) == "desk@3"


@pytest.mark.parametrize("kind", ["deploy", "promote"])
@pytest.mark.parametrize("seen", ["", "-1", "9" * 19, "9" * 5000])
def test_what_is_no_generation_is_refused(desk: Browser, kind: str, seen: str) -> None:
    refused = desk.send(CHANGE, kind=kind, version="desk@2", seen=seen)
    assert refused.status_code == 400
    assert "seen: the generation" in refused.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("kind=explode", 400),
        ("kind=deploy&version=desk@99", 404),
        ("kind=deploy&version=no%20name", 400),
        ("kind=deploy&version=desk@2&how=sideways", 400),
    ],
)
def test_what_the_console_does_not_do_is_refused(desk: Browser, query: str, status: int) -> None:
    assert desk.get(f"{CHANGE}?{query}").status_code == status


def test_an_unknown_deployment_is_not_found(operator: Browser) -> None:
    assert operator.get("/console/deployments/nothing").status_code == 404
    assert operator.get("/console/deployments/nothing/try").status_code == 404
