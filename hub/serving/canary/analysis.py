"""How a canary is judged by its guard: pure arithmetic on what was counted.

A canary is looked at again and again, so an ordinary 95 % bound would be crossed by luck sooner or later.
A rate counts as broken once a bet against it has grown a hundredfold (a beta-binomial mixture
likelihood ratio; by Ville's inequality a canary that keeps to the limit is ever rolled back with a
probability of at most 1 %: Robbins, Ann. Math. Statist. 41, 1970). Shares of right answers are compared by
Newcombe's interval (Statistics in Medicine 17, 1998) from Wilson's, at three standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hub.store.catalog.counters import TrialCounts
from hub.store.guard import Guard

__all__ = ["CanaryAnalysis", "Rated", "analyze", "wilson"]

_ALPHA = 0.01
_Z_GUARD = 3.0
_Z_SHOWN = 1.96


class Rated(NamedTuple):
    """Labelled answers of a version, and how many of them were right."""

    labelled: int = 0
    correct: int = 0


UNRATED = Rated()


class CanaryAnalysis(StrEnum):
    """What is to become of a canary."""

    WAIT = "wait"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class _State(StrEnum):
    OPEN = "open"
    KEPT = "kept"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class _Finding:
    state: _State
    said: str


def analyze(
    guard: Guard, canary: TrialCounts, minutes: float, rated: Rated = UNRATED, stable: Rated = UNRATED
) -> tuple[CanaryAnalysis, str]:
    """Return what is to become of a canary after so long, and why.

    Rolled back: it is surely beyond a limit. Promoted: for `guard.minutes` it has been within every limit
    that is set, each of them measured.
    """
    if canary.requests < guard.requests:
        return CanaryAnalysis.WAIT, f"{canary.requests} of {guard.requests} requests"
    found = list(_findings(guard, canary, rated, stable))
    if broken := [finding.said for finding in found if finding.state is _State.BROKEN]:
        return CanaryAnalysis.ROLLBACK, "; ".join(broken)
    if waiting := [finding.said for finding in found if finding.state is _State.OPEN]:
        return CanaryAnalysis.WAIT, "; ".join(waiting)
    if minutes < guard.minutes:
        return CanaryAnalysis.WAIT, f"{minutes:.1f} of {guard.minutes:g} minutes"
    if not guard.promote:
        return CanaryAnalysis.WAIT, "within every limit; promotion is left to people"
    return CanaryAnalysis.PROMOTE, "; ".join(finding.said for finding in found)


def wilson(correct: int, of: int, z: float = _Z_SHOWN) -> tuple[float, float]:
    """Return Wilson's interval for a share, at 95 % unless `z` says otherwise; (0, 1) of nothing."""
    if not of:
        return 0.0, 1.0
    share, square = correct / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))  # but for rounding


def _findings(guard: Guard, canary: TrialCounts, rated: Rated, stable: Rated) -> Iterator[_Finding]:
    if (most := guard.error_rate) is not None:
        share = canary.errors / canary.requests
        state = _state(canary.errors, canary.requests, most)
        yield _said(state, "error rate", f"{share:.2g}", "above", f"{most:g}", f"{canary.requests} requests")
    if guard.p99_ms is not None:
        yield _latency(guard.p99_ms, guard.requests, canary)
    if guard.agreement is not None:
        yield _agreement(guard.agreement, guard.requests, canary)
    if guard.accuracy is not None:
        yield _accuracy(guard.accuracy, guard.labels, rated, stable)


def _latency(limit_ms: float, least: int, canary: TrialCounts) -> _Finding:
    if canary.answered < least:
        return _Finding(_State.OPEN, f"{canary.answered} of {least} answers to tell the p99 by")
    slower = canary.slower_than(limit_ms / 1000)
    state = _state(int(slower), canary.answered, 0.01)
    p99 = 1000 * canary.quantile(0.99)
    if state is not _State.BROKEN:
        state = _State.KEPT if p99 <= limit_ms else _State.OPEN
    return _said(state, "p99", f"{p99:.3g} ms", "above", f"{limit_ms:g} ms", f"{canary.answered} answers")


def _agreement(limit: float, least: int, canary: TrialCounts) -> _Finding:
    if not canary.compared and canary.answered >= least:
        return _Finding(
            _State.OPEN,
            f"agreement is unknown: none of {canary.answered} answers could be compared with those of the "
            "stable version",
        )
    if canary.compared < least:
        return _Finding(_State.OPEN, f"{canary.compared} of {least} answers compared")
    state = _state(canary.compared - canary.agreed, canary.compared, 1 - limit)
    share = canary.agreed / canary.compared
    return _said(state, "agreement", f"{share:.3g}", "under", f"{limit:g}", f"{canary.compared} requests")


def _accuracy(below: float, least: int, rated: Rated, stable: Rated) -> _Finding:
    fewest = min(rated.labelled, stable.labelled)
    if fewest < least:
        which = "the canary" if rated.labelled <= stable.labelled else "the stable version"
        return _Finding(_State.OPEN, f"{fewest} of {least} labels on answers of {which}")
    mine, others = rated.correct / rated.labelled, stable.correct / stable.labelled
    at_best = wilson(rated.correct, rated.labelled, _Z_GUARD)[1] - mine
    at_worst = others - wilson(stable.correct, stable.labelled, _Z_GUARD)[0]
    if mine - others + math.hypot(at_best, at_worst) < -below:
        state = _State.BROKEN
    else:
        state = _State.KEPT if mine >= others - below else _State.OPEN
    limit = f"{others:.3g} of the stable version" + (f" less {below:g}" if below else "")
    labels = f"{rated.labelled} and {stable.labelled} labels"
    return _said(state, "accuracy", f"{mine:.3g}", "under", limit, labels)


def _said(state: _State, what: str, measured: str, beyond: str, limit: str, over: str) -> _Finding:
    within = {"above": "within", "under": "at or over"}[beyond]
    how = {_State.BROKEN: beyond, _State.KEPT: within, _State.OPEN: f"perhaps {beyond}"}[state]
    return _Finding(state, f"{what} {measured} {how} {limit} over {over}")


def _state(count: int, of: int, limit: float) -> _State:
    if count <= limit * of + 1e-9:
        return _State.KEPT
    return _State.BROKEN if _log_evidence(count, of, limit) >= -math.log(_ALPHA) else _State.OPEN


def _log_evidence(count: int, of: int, limit: float) -> float:
    """Return the log of the mixture likelihood ratio, under Beta(1/2, 1/2), against a rate of `limit`."""
    if limit <= 0:
        return math.inf
    mixed = _log_beta(count + 0.5, of - count + 0.5) - _log_beta(0.5, 0.5)
    return mixed - count * math.log(limit) - (of - count) * math.log1p(-limit)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
