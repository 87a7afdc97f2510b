"""The table and the figures of finished cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

from benchmarks.defaults.cells import Cell, Result

__all__ = ["HEADERS", "Measured", "figures", "rows"]

HEADERS = (
    "SET",
    "ROWS",
    "WAY",
    "SEEDS",
    "ACCURACY",
    "FULL",
    "FULL, GUIDE'S RATE",
    "GAP",
    "TIME OF PADDED FULL",
)
Measured = Mapping[Cell, Result]
FULL = "full"  # ways of full fine-tuning are "full RATE"


@dataclass(frozen=True, slots=True)
class _Group:
    """One way on one set and size, beside full fine-tuning on the same rows with the same seeds."""

    set: str
    rows: int
    way: str
    seeds: int
    accuracy: float
    best: float  # full fine-tuning at the rate that is best by the rows to choose by
    guide: float  # and at the guide's rate
    speedup: float | None

    @property
    def gap(self) -> float:
        """Accuracy that full fine-tuning has and the way has not."""
        return self.best - self.accuracy


def rows(measured: Measured, guide: str, padded_seconds: Mapping[int, float]) -> list[tuple[object, ...]]:
    """Return the rows of the table; `padded_seconds` are by number of rows."""
    return [
        (
            one.set,
            one.rows,
            one.way,
            one.seeds,
            f"{one.accuracy:.4f}",
            f"{one.best:.4f}",
            f"{one.guide:.4f}",
            f"{one.gap:+.4f}",
            "" if one.speedup is None else f"{one.speedup:.1f}",
        )
        for one in _groups(measured, guide, padded_seconds)
    ]


def figures(measured: Measured, guide: str, padded_seconds: Mapping[int, float]) -> dict[str, float]:
    """Return the mean gap over the sets, that of the worst set, and the speedups, by way.

    A set's gap is the mean over its sizes.
    """
    found: dict[str, float] = {}
    groups = _groups(measured, guide, padded_seconds)
    for way in dict.fromkeys(one.way for one in groups):
        mine = [one for one in groups if one.way == way]
        suffix = "" if way == "default" else f"_{way}"
        gaps = [mean(one.gap for one in mine if one.set == name) for name in {one.set for one in mine}]
        found |= {f"gap_to_full{suffix}": mean(gaps), f"worst_gap_to_full{suffix}": max(gaps)}
        for size in sorted({one.rows for one in mine}):
            found[f"gap_to_full_{size}{suffix}"] = mean(one.gap for one in mine if one.rows == size)
            speedups = [one.speedup for one in mine if one.rows == size and one.speedup is not None]
            if speedups:
                found[f"speedup_{size}{suffix}"] = min(speedups)
    return found


def _groups(measured: Measured, guide: str, padded_seconds: Mapping[int, float]) -> list[_Group]:
    places = dict.fromkeys((cell.set, cell.rows) for cell in measured)
    groups = []
    for name, size in places:
        here = {cell: result for cell, result in measured.items() if (cell.set, cell.rows) == (name, size)}
        for way in dict.fromkeys(cell.way for cell in here if not cell.way.startswith(FULL)):
            group = _group(here, way, guide, padded_seconds.get(size))
            if group:
                groups.append(group)
    return groups


def _group(here: Measured, way: str, guide: str, padded_seconds: float | None) -> _Group | None:
    """Return the group of the seeds that every way has; None if there are none."""
    ways = {cell.way for cell in here if cell.way == way or cell.way.startswith(FULL)}
    seeds = set.intersection(*({cell.seed for cell in here if cell.way == one} for one in ways))
    by_way = {
        one: [result for cell, result in here.items() if cell.way == one and cell.seed in seeds]
        for one in ways
    }
    rates = [one for one in ways if one.startswith(FULL)]
    if not seeds or not rates:
        return None
    best = max(sorted(rates), key=lambda rate: mean(result.choose for result in by_way[rate]))
    cell = next(cell for cell in here if cell.way == way)
    seconds = mean(result.seconds for result in by_way[way])
    return _Group(
        set=cell.set,
        rows=cell.rows,
        way=way,
        seeds=len(seeds),
        accuracy=_test(by_way[way]),
        best=_test(by_way[best]),
        guide=_test(by_way.get(guide, by_way[best])),
        speedup=padded_seconds / seconds if padded_seconds else None,
    )


def _test(results: Iterable[Result]) -> float:
    return mean(result.test for result in results)
