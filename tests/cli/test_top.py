"""`hub top` without a server, with a server that comes and goes, and on a narrow screen."""

from __future__ import annotations

import io
import signal
import threading
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hub.cli import top
from hub.cli.main import app
from hub.client.metrics import Scrape, figures, read
from hub.errors import NotReady

METRICS = """\
hub_generation 3
hub_calls_total{{task="sentiment",code="ok"}} {calls}
hub_waiting_rows{{base="tiny"}} 4
hub_deployment_resident{{deployment="mood",track="stable"}} 1
hub_deployment_calls_total{{deployment="mood",track="stable",code="ok"}} {calls}
hub_deployment_version_info{{deployment="mood",track="stable",version="mood@1",sha256="f"}} 1
"""


def reading(at: float, calls: int) -> Scrape:
    return read(METRICS.format(calls=calls), now=at)


def found() -> dict[str, Any]:
    return {"server": "http://127.0.0.1:3000", **figures(reading(0, 0), reading(2, 50))}


def shown(width: int, **options: Any) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(top._view(**options))
    return stream.getvalue().splitlines()


def test_without_a_server_it_says_so() -> None:
    done = CliRunner().invoke(app, ["top", "--once"])
    assert isinstance(done.exception, NotReady)
    assert "No server is running" in str(done.exception)


def test_nothing_is_cut_where_the_output_is_no_terminal(monkeypatch) -> None:
    monkeypatch.setattr(top, "_read", lambda *given: ("http://127.0.0.1:3000", reading(0, 0)))
    monkeypatch.setattr(top, "_figures", lambda *given: found())
    monkeypatch.setenv("COLUMNS", "40")
    done = CliRunner().invoke(app, ["top", "--once", "--interval", "1"])
    assert done.exception is None
    assert "TOKENS/S" in done.stdout and "\u2026" not in done.stdout


@pytest.mark.parametrize("width", [40, 80, 200])
def test_each_row_is_one_line_on_any_screen(width) -> None:
    lines = shown(width, found=found(), rows=10)
    blank = max(number for number, line in enumerate(lines) if not line.strip())
    last_table = lines[blank + 1 :]
    assert len(last_table) == 2, "its header, and a deployment"
    assert all(len(line) <= width for line in lines)


def test_the_deployments_that_do_not_fit_are_counted() -> None:
    many = found()
    many["deployments"] = [{**many["deployments"][0], "deployment": f"d{n}"} for n in range(30)]
    lines = shown(120, found=many, rows=6)
    assert lines[-1] == "and 25 more with fewer calls"
    assert len([line for line in lines if "stable" in line]) == 5


def test_texts_of_the_server_are_not_taken_for_markup() -> None:
    strange = found()
    strange["deployments"][0]["version"] = "[red]mood@1[/]"
    assert any("[red]mood@1[/]" in line for line in shown(150, found=strange, rows=5))


def test_a_server_that_goes_and_comes_back_is_shown_again(monkeypatch) -> None:
    answers = [
        reading(0, 0),
        reading(2, 50),
        NotReady("It is gone."),
        NotReady("It is gone."),
        reading(8, 10),
    ]
    views: list[str] = []

    def read_next(*given: Any) -> tuple[str, Scrape]:
        answer = answers.pop(0)
        if isinstance(answer, NotReady):
            raise answer
        return "http://here", answer

    class Screen:
        def __init__(self, **options: Any) -> None:
            assert options["screen"] and not options["auto_refresh"], "no flicker"

        def __enter__(self) -> Screen:
            return self

        def __exit__(self, *error: object) -> None:
            return

        def update(self, view: Any, refresh: bool) -> None:
            stream = io.StringIO()
            Console(file=stream, width=120).print(view)
            views.append(stream.getvalue())

    class Wait(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if not answers:
                signal.raise_signal(signal.SIGINT)  # Ctrl-C
            return self.is_set()

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(top, "_read", read_next)
    monkeypatch.setattr("rich.live.Live", Screen)
    monkeypatch.setattr(top.threading, "Event", Wait)
    top._watch(None, None, 2.0, Console(file=io.StringIO(), width=120, height=40))  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is before
    assert "Reading" in views[0]
    assert "25.0 calls/s" in views[1]
    assert "It is gone." in views[2] and "25.0 calls/s" in views[2], "the last figures stay"
    assert "It is gone." not in views[-1] and "1.7 calls/s" in views[-1], "its counters began again"


def test_it_is_a_command_of_a_remote_server_with_a_key(monkeypatch) -> None:
    seen = []

    @contextmanager
    def connect(settings: Any, server: str | None = None):
        from hub.client.http import ServerClient

        seen.append(server)
        client = ServerClient("http://far.example:3000", "a-key-of-the-server")
        monkeypatch.setattr(client, "metrics", lambda: METRICS.format(calls=len(seen)))
        with client:
            yield client

    monkeypatch.setattr("hub.client.connect.connect", connect)
    monkeypatch.setattr(top.time, "sleep", lambda seconds: None)
    done = CliRunner().invoke(app, ["top", "--json", "--server", "http://far.example:3000"])
    assert done.exit_code == 0, done.output
    assert seen == ["http://far.example:3000"] * 2
    assert '"server": "http://far.example:3000"' in done.stdout
