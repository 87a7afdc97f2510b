"""Deploys, rollbacks, re-imports, deletions and evictions under load: no failure, no wrong answer."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.fingerprinted import TOLERANCE, short_texts
from benchmarks.hot_swap.moves import KINDS
from benchmarks.hot_swap.run import Plan, run
from tests.support.preloaded import start_forked
from tests.support.tiny import tiny_decoder, tiny_encoder

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _forked_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    started = SimpleNamespace(Popen=start_forked, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr("benchmarks.server.subprocess", started)


def test_swaps_fail_no_request_and_give_no_wrong_answer(tmp_path: Path) -> None:
    """On the engine that is the fastest here; tests/benchmarks/test_hot_swap.py judges each of them."""
    plan = Plan(
        short_texts(random.Random(0), 6),
        seconds=3,
        period_s=1.5,
        clients=8,
        deployments=12,
        slots=5,
        rate=15,
        warm_s=0.5,
    )
    outcome = run(tiny_encoder(tmp_path / "tiny"), plan)
    verdicts = outcome.verdicts
    assert not verdicts.failed, verdicts.examples
    assert not verdicts.wrong, verdicts.examples
    assert [move.problem for move in outcome.moves if move.problem] == []
    assert verdicts.requests > 300
    assert outcome.separation > 2 * TOLERANCE  # so that a wrong answer would have shown
    assert set(KINDS) == {kind for kind, count in outcome.kinds.items() if count}
    assert verdicts.absent, "nobody asked for a deployment while it was away"
    assert outcome.reloads > plan.slots, "nothing was evicted"


def test_swaps_break_no_stream_and_mix_no_version_into_a_text(tmp_path: Path) -> None:
    plan = Plan(
        short_texts(random.Random(0), 2),
        seconds=3,
        period_s=1.5,
        clients=8,
        deployments=6,
        slots=4,
        rate=10,
        engine="torch",
        warm_s=0.5,
    )
    outcome = run(tiny_decoder(tmp_path / "tiny", "llama"), plan)
    verdicts = outcome.verdicts
    assert not verdicts.failed, verdicts.examples
    assert not verdicts.wrong, verdicts.examples
    assert [move.problem for move in outcome.moves if move.problem] == []
    assert outcome.separation == 1  # so that a wrong text would have shown
    assert verdicts.answered > 40
    assert len(outcome.moves) > 5
    assert outcome.reloads, "nothing was evicted"
