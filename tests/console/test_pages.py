"""Every page shows what the server has, without a script, and the same as JSON."""

from __future__ import annotations

import pytest

from tests.console.conftest import Browser

PAGES = (
    "/console/deployments",
    "/console/deployments/mood",
    "/console/deployments/mood/try",
    "/console/deployments/mood/change?kind=rollback",
    "/console/versions",
    "/console/versions/mood@1",
    "/console/compare?a=mood@1&b=mood@2",
    "/console/training",
    "/console/plugins",
    "/console/engine",
)


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
    assert isinstance(operator.json(path), dict)


def test_the_table_shows_versions_and_tracks(operator: Browser) -> None:
    shown = operator.get("/console/deployments").text
    assert "mood@2" in shown
    assert "100 %" in shown
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
