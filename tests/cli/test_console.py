"""`hub console` prints where the console is, and never a key."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hub.cli.main import app
from hub.config import find_home

URL = "http://127.0.0.1:3456"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.client.http.find_server", lambda settings: URL)


def test_it_prints_the_address_and_where_the_key_is(running: None) -> None:
    done = CliRunner().invoke(app, ["console"])
    assert done.exit_code == 0, done.output
    assert f"{URL}/console" in done.output
    assert str(find_home() / "admin.key") in done.output.replace("\n", "")


def test_it_shows_no_key(running: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", "a-secret-of-the-operator")
    done = CliRunner().invoke(app, ["console", "--json"])
    assert json.loads(done.stdout)["url"] == f"{URL}/console"
    assert "serve.admin_key" in done.stdout
    assert "a-secret" not in done.output


@pytest.mark.parametrize("found", [True, False])
def test_it_opens_the_browser(running: None, monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or found)
    done = CliRunner().invoke(app, ["console", "--open"])
    assert opened == [f"{URL}/console"]
    assert ("No browser" in done.output) is not found


def test_a_named_server_is_another_home_s(running: None) -> None:
    done = CliRunner().invoke(app, ["console", "--server", "https://hub.example/"])
    assert "https://hub.example/console" in done.output
    assert "admin.key" not in done.output


@pytest.mark.parametrize(
    ("variable", "code"), [(None, "not_ready"), ("HUB_SERVE__CONSOLE", "conflict")], ids=["no server", "off"]
)
def test_without_a_console_it_says_so(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, code: str
) -> None:
    url = URL if variable else None
    monkeypatch.setattr("hub.client.http.find_server", lambda settings: url)
    if variable:
        monkeypatch.setenv(variable, "false")
    done = CliRunner().invoke(app, ["console"])
    assert getattr(done.exception, "code", None) == code
