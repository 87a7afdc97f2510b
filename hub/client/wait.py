"""Waits until a move is served: by all replicas, or by more than half of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub.errors import NotReady, NotServed

__all__ = ["Need", "Rollout", "wait_until_served"]

Need = Literal["all", "quorum"]
Json = dict[str, Any]

_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a move has come: the replicas that serve it, and why each of the others does not."""

    serving: Sequence[str]
    missing: Sequence[str]

    def is_enough(self, need: Need) -> bool:
        """Tell whether as many replicas as needed serve it; never true where there is none."""
        total = len(self.serving) + len(self.missing)
        wanted = total if need == "all" else total // 2 + 1
        return total > 0 and len(self.serving) >= wanted

    @classmethod
    def of(cls, replicas: Sequence[Json], deployment: str, generation: int) -> Rollout:
        """Read how far replicas, described as the admin routes do, have come with one move."""
        serving, missing = [], []
        for replica in replicas:
            if reason := _missing(replica, deployment, generation):
                missing.append(f"{_name(replica)}: {reason}")
            else:
                serving.append(_name(replica))
        return cls(serving, missing)


def wait_until_served(
    ask: Callable[[], Json], deployment: str, generation: int, need: Need, timeout_s: float
) -> Rollout:
    """Ask for the live replicas (`Client.replicas`) until enough of them serve a deployment's move.

    A replica that comes up or goes away meanwhile counts from then on, or no more.

    Raises:
        NotServed: not within `timeout_s`; names the replicas that do not serve it, and why.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            rollout = Rollout.of(ask()["replicas"], deployment, generation)
        except NotReady as error:
            reason = f"and who serves it cannot be told: {error}"
        else:
            if rollout.is_enough(need):
                return rollout
            reason = _explain(rollout, need, timeout_s)
        if time.monotonic() > deadline:
            moved = f"The move of {deployment!r} to generation {generation} is in the catalog and stays there"
            raise NotServed(f"{moved}, {reason}")
        time.sleep(_EVERY_S)


def _missing(replica: Json, deployment: str, generation: int) -> str:
    """Return why a replica does not serve a move, "" if it does."""
    if replica["generation"] < generation:
        silent = replica["silent_s"]
        return f"it serves generation {replica['generation']}, and was last heard of {silent:.0f} s ago"
    return str(replica["failures"].get(deployment, ""))


def _name(replica: Json) -> str:
    where = f" ({replica['url']})" if replica["url"] else ""
    return f"{replica['id'][:12]} on {replica['host']}, process {replica['pid']}{where}"


def _explain(rollout: Rollout, need: Need, timeout_s: float) -> str:
    if not rollout.serving and not rollout.missing:
        return "but no replica is running to serve it. Start one with `hub serve`."
    total = len(rollout.serving) + len(rollout.missing)
    wanted = "all" if need == "all" else "more than half"
    served = f"{len(rollout.serving)} of {total} replicas serve it after {timeout_s:g} s, not {wanted}"
    return f"but {served}. Not serving: {'; '.join(rollout.missing)}"
