"""Waiting until enough replicas serve a move."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hub.client.wait import wait_until_served
from hub.errors import NotReady, NotServed


def replica(id: str, generation: int, **failures: str) -> dict[str, Any]:
    return {
        "id": id, "host": "h", "pid": 1, "url": "", "generation": generation, "silent_s": 1.0,
        "failures": failures,
    }  # fmt: skip


def wait(*states: Any, need: str = "all", timeout_s: float = 0.3):
    """Wait for generation 5 of `mood`; the catalog shows each state once, and the last for ever."""
    left = list(states)

    def ask() -> dict[str, Any]:
        state = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(state, Exception):
            raise state
        return {"replicas": state}

    return wait_until_served(ask, "mood", 5, need, timeout_s)


def test_all_have_to_serve_it() -> None:
    rollout = wait([replica("a", 5), replica("b", 4)], [replica("a", 5), replica("b", 6)])
    assert len(rollout.serving) == 2
    assert rollout.missing == []


def test_a_quorum_is_more_than_half_and_the_others_are_named() -> None:
    rollout = wait([replica("a", 5), replica("b", 5), replica("c", 4)], need="quorum")
    assert len(rollout.serving) == 2
    (missing,) = rollout.missing
    assert "c on h" in missing and "generation 4" in missing
    with pytest.raises(NotServed, match=r"1 of 2 replicas serve it after 0\.3 s, not more than half"):
        wait([replica("a", 5), replica("b", 4)], need="quorum")


def test_those_that_do_not_serve_it_in_time_are_named_with_the_reason() -> None:
    with pytest.raises(NotServed) as raised:
        wait([replica("a", 5), replica("b", 4), replica("c", 5, mood="no such base")])
    told = str(raised.value)
    assert "'mood' to generation 5 is in the catalog and stays there" in told
    assert "b on h, process 1: it serves generation 4" in told
    assert "c on h, process 1: no such base" in told
    assert "a on h" not in told


def test_a_failure_of_another_deployment_does_not_matter() -> None:
    assert wait([replica("a", 5, taste="no such base")]).serving


def test_a_failure_that_is_mended_in_time_is_waited_for() -> None:
    assert wait([replica("a", 5, mood="not yet")], [replica("a", 5)]).serving


def test_one_that_goes_away_is_not_waited_for_and_one_that_comes_is() -> None:
    assert len(wait([replica("a", 5), replica("b", 4)], [replica("a", 5)]).serving) == 1
    with pytest.raises(NotServed, match="b on h"):
        wait([], [replica("a", 5), replica("b", 3)])


@pytest.mark.parametrize("need", ["all", "quorum"])
def test_without_a_replica_nothing_is_served(need) -> None:
    with pytest.raises(NotServed, match="no replica is running"):
        wait([], need=need)


def test_a_catalog_that_is_gone_for_a_moment_is_asked_again() -> None:
    assert wait(NotReady("gone"), [replica("a", 5)]).serving
    with pytest.raises(NotServed, match="who serves it cannot be told: gone"):
        wait(NotReady("gone"))


def test_it_waits_no_longer_than_told() -> None:
    began = time.monotonic()
    with pytest.raises(NotServed):
        wait([replica("a", 1)], timeout_s=0.2)
    assert 0.2 <= time.monotonic() - began < 30
