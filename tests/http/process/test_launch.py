"""Only one server runs on a home."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.errors import Conflict
from hub.http.process.launch import home_lock

HOLD = """
import sys, time
from pathlib import Path
from hub.errors import Conflict
from hub.http.process.launch import home_lock
try:
    with home_lock(Path(sys.argv[1])):
        print("runs", flush=True)
        sys.stdin.readline()
except Conflict:
    print("refused", flush=True)
"""


def start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_of_servers_that_start_at_the_same_instant_one_runs(tmp_path) -> None:
    started = [start(tmp_path / "home") for _ in range(4)]
    message = [process.stdout.readline().strip() for process in started]
    for process in started:
        process.communicate("\n")
    assert sorted(message) == ["refused", "refused", "refused", "runs"]


def test_a_server_that_was_killed_holds_nothing(tmp_path) -> None:
    holder = start(tmp_path)
    assert holder.stdout.readline() == "runs\n"
    with pytest.raises(Conflict, match="already running or starting"), home_lock(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with home_lock(tmp_path):
        pass
