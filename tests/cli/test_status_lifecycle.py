"""`hub status` shows running and failed loads, and versions that left their slots."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hub.cli import status
from hub.cli.main import app
from hub.config import find_home


def test_it_shows_running_loads_and_evictions(capsys: pytest.CaptureFixture[str]) -> None:
    gone = [
        {"version": f"mood@{n}", "state": state, "at": "2026-01-02T03:04:05.6+00:00", "reason": "[why]"}
        for n, state in enumerate(["failed", *["evicted"] * 5, "drained"])
    ]
    loads = [
        {"version": "a@1", "state": "loading", "seconds": 1.25, "waiting": 3},
        {"version": "b@1", "state": "failed", "retry_in_s": 29.6, "reason": "its file is short [x]"},
    ]
    status._show_lifecycle({"loads": loads, "engines": [{"slots": {"gone": gone}}]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "loading a@1 for 1.2 s, 3 waiting"
    assert lines[1] == "failed b@1 cannot be loaded, retry in 30 s: its file is short [x]"
    assert lines[2] == "evicted mood@1 at 2026-01-02T03:04:05: [why]"
    assert len(lines) == 7, "one failure, and the latest five of the others"


def test_a_home_that_is_not_there_is_not_made() -> None:
    home = find_home()
    for words in (["status"], ["status", "--json"], ["deployments"]):
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert not home.exists()
