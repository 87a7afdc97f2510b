"""kill -9 of the process that serves, at each step of a change it was asked for; its start writes nothing."""

from __future__ import annotations

import pytest

from tests.faults.killed import RUNTIME


@pytest.mark.parametrize("words", [("deploy", "mood", "mood@3"), ("rollback", "mood")], ids=" ".join)
def test_a_runtime(broken, words) -> None:
    broken.sweep(RUNTIME, *words)
