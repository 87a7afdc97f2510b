"""Every page shows what the server has, without a script, and the same as JSON."""

from __future__ import annotations

import logging
import re

import pytest

from hub.errors import NotReady
from hub.http.telemetry.logs import FIELDS
from hub.serving.runtime import Runtime
from tests.console.conftest import ADMIN_KEY, Browser

PAGES = {  # and what their data has, at least
    "/console/deployments": "deployments",
    "/console/deployments/mood": "roles",
    "/console/deployments/mood/try": "fields",
    "/console/deployments/mood/change?kind=rollback": "after",
    "/console/versions": "versions",
    "/console/versions/mood@1": "manifest",
    "/console/compare?a=mood@1&b=mood@2": "sides",
    "/console/training": "jobs",
    "/console/plugins": "plugins",
    "/console/engine": "replicas",
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_html_and_json(operator: Browser, path: str) -> None:
    page = operator.get(path, accept="text/html")
    assert page.status_code == 200, page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    data = operator.json(path)
    assert data[PAGES[path]] or path == "/console/training"  # where no job was made


def test_the_table_shows_versions_and_tracks(operator: Browser) -> None:
    shown = operator.get("/console/deployments").text
    assert "mood@2" in shown
    assert "100%" in shown
    data = operator.json("/console/deployments")
    assert [one["name"] for one in data["deployments"]] == ["mood"]


def test_a_filter_works_by_reload(operator: Browser) -> None:
    assert operator.json("/console/deployments?q=MOOD")["deployments"]
    assert operator.json("/console/deployments?q=other")["deployments"] == []


def test_trying_draws_the_answer_and_shows_the_code(operator: Browser) -> None:
    page = operator.send("/console/deployments/mood/try", text="A warm film.")
    assert page.status_code == 200
    assert "<meter" in page.text
    assert "curl http://127.0.0.1:3000/v1/deployments/mood/predict" in page.text


def test_a_bad_request_is_shown_with_its_code(operator: Browser) -> None:
    page = operator.send("/console/deployments/mood/try", text=" ")
    assert "invalid_text" in page.text


def test_pages_are_in_no_document_of_the_interface(operator: Browser) -> None:
    assert not [path for path in operator.json("/openapi.json")["paths"] if "console" in path]


def test_metrics_and_logs_know_pages_by_their_template(
    operator: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-private-text"
    operator.send(f"/console/deployments/{secret}/try", text=secret)
    operator.send("/console/deployments/mood/try", text=secret)
    operator.get(f"/console/versions/{secret}@1")
    operator.get(f"/console/{secret}")
    operator.post("/console/sign-in", key=f"{secret}-key")
    ours = "".join(one.getMessage() for one in caplog.records if one.name.startswith("hub"))
    assert secret not in ours
    assert ADMIN_KEY not in ours
    templates = {getattr(one, FIELDS)["route"] for one in caplog.records if one.name == "hub.access"}
    assert "/console/deployments/{name}/try" in templates
    labels = re.findall(r'endpoint="(/console[^"]*)"', operator.get("/metrics").text)
    assert labels
    assert not [label for label in labels if secret in label or "mood" in label]


def test_a_page_of_a_server_that_loads_loads_itself_again(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(runtime: Runtime) -> None:
        raise NotReady("The server is still loading.")

    monkeypatch.setattr(Runtime, "_ready", loading)
    page = operator.get("/console/engine")
    assert page.status_code == 503
    assert page.headers["refresh"] == "2"
    assert "still loading" in page.text
    assert "Sign out" in page.text
    monkeypatch.undo()
    assert operator.get("/console/engine").status_code == 200
