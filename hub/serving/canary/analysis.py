"""Canary analysis: compares the counts of a canary with the limits of its guard.

A canary is analysed repeatedly, so an ordinary 95 % bound would be crossed by chance sooner or later. A rate
exceeds its limit once the beta-binomial mixture likelihood ratio against the limit reaches 100: by Ville's
inequality, a canary within the limit is rolled back with a probability of at most 1 % (Robbins, Ann. Math.
Statist. 41, 1970). Accuracies are compared by Newcombe's interval (Statistics in Medicine 17, 1998) from
Wilson's, at three standard errors.
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
    """The numbers of labelled and of correct answers of a version."""

    labelled: int = 0
    correct: int = 0


UNRATED = Rated()


class CanaryAnalysis(StrEnum):
    """The decision about a canary."""

    WAIT = "wait"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class _State(StrEnum):
    UNDECIDED = "undecided"
    WITHIN = "within"
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True)
class _Finding:
    state: _State
    text: str


def analyze(
    guard: Guard, canary: TrialCounts, minutes: float, rated: Rated = UNRATED, stable: Rated = UNRATED
) -> tuple[CanaryAnalysis, str]:
    """Return the decision about a canary that has run for `minutes`, and the reason.

    ROLLBACK: a limit is exceeded with certainty. PROMOTE: it is within every limit, each with enough data,
    after `guard.minutes`.
    """
    if canary.requests < guard.requests:
        return CanaryAnalysis.WAIT, f"{canary.requests} of {guard.requests} requests"
    found = list(_findings(guard, canary, rated, stable))
    if exceeded := [finding.text for finding in found if finding.state is _State.EXCEEDED]:
        return CanaryAnalysis.ROLLBACK, "; ".join(exceeded)
    if undecided := [finding.text for finding in found if finding.state is _State.UNDECIDED]:
        return CanaryAnalysis.WAIT, "; ".join(undecided)
    if minutes < guard.minutes:
        return CanaryAnalysis.WAIT, f"{minutes:.1f} of {guard.minutes:g} minutes"
    if not guard.promote:
        return CanaryAnalysis.WAIT, "within every limit; promotion is manual"
    return CanaryAnalysis.PROMOTE, "; ".join(finding.text for finding in found)


def wilson(correct: int, of: int, z: float = _Z_SHOWN) -> tuple[float, float]:
    """Return Wilson's interval of a proportion, by default at 95 %; (0, 1) if `of` is 0.

    scipy.stats computes the same; its import takes 0.6 s of processor time (scipy 1.17).
    """
    if not of:
        return 0.0, 1.0
    share, square = correct / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))  # rounding


def _findings(guard: Guard, canary: TrialCounts, rated: Rated, stable: Rated) -> Iterator[_Finding]:
    if (limit := guard.error_rate) is not None:
        share = canary.errors / canary.requests
        state = _state(canary.errors, canary.requests, limit)
        over = f"{canary.requests} requests"
        yield _finding(state, "error rate", f"{share:.2g}", "above", f"{limit:g}", over)
    if guard.p99_ms is not None:
        yield _latency(guard.p99_ms, guard.requests, canary)
    if guard.agreement is not None:
        yield _agreement(guard.agreement, guard.requests, canary)
    if guard.accuracy is not None:
        yield _accuracy(guard.accuracy, guard.labels, rated, stable)


def _latency(limit_ms: float, min_answers: int, canary: TrialCounts) -> _Finding:
    if canary.answered < min_answers:
        return _Finding(_State.UNDECIDED, f"{canary.answered} of {min_answers} answers for the p99")
    slower = canary.slower_than(limit_ms / 1000)
    state = _state(int(slower), canary.answered, 0.01)
    p99 = 1000 * canary.quantile(0.99)
    if state is not _State.EXCEEDED:
        state = _State.WITHIN if p99 <= limit_ms else _State.UNDECIDED
    return _finding(state, "p99", f"{p99:.3g} ms", "above", f"{limit_ms:g} ms", f"{canary.answered} answers")


def _agreement(limit: float, min_answers: int, canary: TrialCounts) -> _Finding:
    if not canary.compared and canary.answered >= min_answers:
        return _Finding(
            _State.UNDECIDED,
            f"agreement is unknown: none of {canary.answered} answers could be compared with those of the "
            "stable version",
        )
    if canary.compared < min_answers:
        return _Finding(_State.UNDECIDED, f"{canary.compared} of {min_answers} answers compared")
    state = _state(canary.compared - canary.agreed, canary.compared, 1 - limit)
    share = canary.agreed / canary.compared
    return _finding(state, "agreement", f"{share:.3g}", "under", f"{limit:g}", f"{canary.compared} requests")


def _accuracy(max_drop: float, min_labels: int, rated: Rated, stable: Rated) -> _Finding:
    labelled = min(rated.labelled, stable.labelled)
    if labelled < min_labels:
        which = "the canary" if rated.labelled <= stable.labelled else "the stable version"
        return _Finding(_State.UNDECIDED, f"{labelled} of {min_labels} labels on answers of {which}")
    mine, others = rated.correct / rated.labelled, stable.correct / stable.labelled
    at_best = wilson(rated.correct, rated.labelled, _Z_GUARD)[1] - mine
    at_worst = others - wilson(stable.correct, stable.labelled, _Z_GUARD)[0]
    if mine - others + math.hypot(at_best, at_worst) < -max_drop:
        state = _State.EXCEEDED
    else:
        state = _State.WITHIN if mine >= others - max_drop else _State.UNDECIDED
    limit = f"{others:.3g} of the stable version" + (f" less {max_drop:g}" if max_drop else "")
    labels = f"{rated.labelled} and {stable.labelled} labels"
    return _finding(state, "accuracy", f"{mine:.3g}", "under", limit, labels)


def _finding(state: _State, what: str, measured: str, beyond: str, limit: str, over: str) -> _Finding:
    within = {"above": "within", "under": "at or over"}[beyond]
    how = {_State.EXCEEDED: beyond, _State.WITHIN: within, _State.UNDECIDED: f"perhaps {beyond}"}[state]
    return _Finding(state, f"{what} {measured} {how} {limit} over {over}")


def _state(count: int, of: int, limit: float) -> _State:
    if count <= limit * of + 1e-9:
        return _State.WITHIN
    return _State.EXCEEDED if _log_evidence(count, of, limit) >= -math.log(_ALPHA) else _State.UNDECIDED


def _log_evidence(count: int, of: int, limit: float) -> float:
    """Return the log of the mixture likelihood ratio, under Beta(1/2, 1/2), against a rate of `limit`."""
    if limit <= 0:
        return math.inf
    mixed = _log_beta(count + 0.5, of - count + 0.5) - _log_beta(0.5, 0.5)
    return mixed - count * math.log(limit) - (of - count) * math.log1p(-limit)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
