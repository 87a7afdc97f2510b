"""The figures of a run; `pause` is explained in the benchmark's own docstring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.hot_swap.judge import Answer
from benchmarks.hot_swap.moves import Move
from benchmarks.hot_swap.run import Outcome, Period

__all__ = ["figures"]

DEPLOYS = ("deploy", "reimport", "create")
Windows = Sequence[tuple[float, float]]
Times = npt.NDArray[np.float64]


def figures(outcome: Outcome) -> dict[str, float]:
    """Work out the figures; those that nothing was measured for are left out."""
    verdicts, moves = outcome.verdicts, outcome.moves
    good = [answer for answer in outcome.answers if answer.status == 200]
    deploys = [_ms(move) for move in moves if move.kind in DEPLOYS and not move.problem]
    rollbacks = [_ms(move) for move in moves if move.kind == "rollback" and move.resident]
    found = {
        "requests": verdicts.requests,
        "failed": verdicts.failed.total() + sum(bool(move.problem) for move in moves),
        "wrong": verdicts.wrong.total(),
        "moves": len(moves),
        "reloads": outcome.reloads,
        "separation": outcome.separation,
    }
    found |= _quantiles("deploy_to_live", deploys) | _quantiles("rollback", rollbacks)
    with_moves, without = (_rate(good, outcome.periods, moves=moves) for moves in (True, False))
    if with_moves and without:
        found |= {"rps_without_swaps": without, "throughput_during_swaps": with_moves / without}
    return found | _pause(good, moves, outcome.periods)


def _ms(move: Move) -> float:
    return (move.returned - move.sent) * 1000


def _quantiles(name: str, times: Sequence[float]) -> dict[str, float]:
    if not times:
        return {}
    p50, p99 = np.percentile(times, [50, 99])
    return {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99}


def _rate(answers: Iterable[Answer], periods: Sequence[Period], *, moves: bool) -> float:
    """Return answers a second over all periods of a kind."""
    chosen = [(period.began, period.ended) for period in periods if period.moves is moves]
    answered = np.sort([answer.answered for answer in answers])
    count = sum(np.diff(np.searchsorted(answered, ends)).item() for ends in chosen)
    seconds = sum(ended - began for began, ended in chosen)
    return count / seconds if seconds else 0.0


def _pause(answers: Sequence[Answer], moves: Sequence[Move], periods: Sequence[Period]) -> dict[str, float]:
    swaps: list[tuple[float, float]] = []
    same: tuple[list[tuple[float, float]], ...] = ([], [])  # the like without moves, in turns
    for turn, (quiet, busy) in enumerate(zip(periods[::2], periods[1::2], strict=False)):
        earlier, length = busy.began - quiet.began, min(quiet.ended - quiet.began, busy.ended - busy.began)
        windows = [
            (move.sent, move.returned)
            for move in moves
            if busy.began <= move.sent and move.returned <= busy.began + length
        ]
        swaps += windows
        same[turn % 2].extend((sent - earlier, returned - earlier) for sent, returned in windows)
    beside, alone = _latencies(answers, swaps), _latencies(answers, [*same[0], *same[1]])
    halves = [_latencies(answers, half) for half in same]
    if not (beside.size and all(half.size for half in halves)):
        return {}
    p50, p99 = np.percentile(beside, [50, 99]) - np.percentile(alone, [50, 99])
    noise = abs(np.subtract(*(np.percentile(half, 99) for half in halves)))
    return {"pause_p50_ms": p50, "pause_p99_ms": p99, "pause_noise_ms": noise}


def _latencies(answers: Sequence[Answer], windows: Windows) -> Times:
    """Return the milliseconds of the answers that were under way at some time in a window."""
    asked = np.array([answer.asked for answer in answers])
    answered = np.array([answer.answered for answer in answers])
    under_way = np.zeros(len(answers), dtype=bool)
    for began, ended in windows:
        under_way |= (asked <= ended) & (began <= answered)
    return (answered - asked)[under_way] * 1000
