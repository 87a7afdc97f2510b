"""kill -9 of the process that serves, at each step of a deploy that it was asked for, and of its start."""

from __future__ import annotations

import pytest

from tests.faults.killed import RUNTIME


@pytest.mark.parametrize("words", [("deploy", "mood", "mood@3"), ("rollback", "mood"), ()], ids=" ".join)
def test_a_runtime(broken, words) -> None:
    broken.sweep(RUNTIME, *words)
