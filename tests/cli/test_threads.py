"""Training threads spin only on idle cores."""

from __future__ import annotations

import os

import psutil
import pytest

from hub.cli.threads import SPIN, beside_others, for_training, wait_asleep
from tests.support.preloaded import READ_AT_IMPORT


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a test sets be gone after it."""
    for name in ("GOMP_SPINCOUNT", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.setenv(name, "x")  # so that the name is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.mark.parametrize(("busy", "spin"), [(2.0, SPIN), (50.0, "0")])
def test_threads_spin_on_an_idle_machine(monkeypatch: pytest.MonkeyPatch, busy: float, spin: str) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: busy)
    for_training()
    assert os.environ["GOMP_SPINCOUNT"] == spin


def test_threads_sleep_where_a_server_is_begun_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: 0.0)
    beside_others()
    for_training()
    assert os.environ["GOMP_SPINCOUNT"] == "0"


def test_another_policy_of_waiting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: 0.0)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    for_training()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_what_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: 0.0)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "9")
    for_training()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "9"


def test_a_command_that_trains_here_changes_nothing_that_forks_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of what the fixture of this file takes away

    def read_at_import() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)}

    before = read_at_import()
    for call in (wait_asleep, for_training, beside_others):
        call()
    assert read_at_import() == before
