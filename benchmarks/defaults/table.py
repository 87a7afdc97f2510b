"""The table and the figures of finished cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    best: float | None  # full fine-tuning at the rate that is best by the rows to choose by
    guide: float | None  # and at the guide's rate
    speedup: float | None

    @property
    def gap(self) -> float | None:
        """Accuracy that full fine-tuning has and the way has not; None without full fine-tuning."""
        return None if self.best is None else self.best - self.accuracy


def rows(measured: Measured, guide: str, padded_seconds: Mapping[int, float]) -> list[tuple[object, ...]]:
    """Return the rows of the table; `padded_seconds` are by number of rows."""
    return [
        (
            one.set,
            one.rows,
            one.way,
            one.seeds,
            f"{one.accuracy:.4f}",
            _shown(one.best, ".4f"),
            _shown(one.guide, ".4f"),
            _shown(one.gap, "+.4f"),
            _shown(one.speedup, ".1f"),
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
        found |= {f"{name}{suffix}": value for name, value in _of_way(mine).items()}
    return found


def _of_way(groups: Sequence[_Group]) -> dict[str, float]:
    found: dict[str, float] = {}
    by_set, by_size = defaultdict(list), defaultdict(list)
    for one in groups:
        if one.gap is not None:
            by_set[one.set].append(one.gap)
            by_size[one.rows].append(one.gap)
    if by_set:
        gaps = [mean(gaps) for gaps in by_set.values()]
        found |= {"gap_to_full": mean(gaps), "worst_gap_to_full": max(gaps)}
        found |= {f"gap_to_full_{size}": mean(gaps) for size, gaps in sorted(by_size.items())}
    for size in sorted({one.rows for one in groups}):
        speedups = [one.speedup for one in groups if one.rows == size and one.speedup is not None]
        found |= {f"speedup_{size}": min(speedups)} if speedups else {}
    return found


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


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
    if not seeds:
        return None
    best = max(sorted(rates), key=lambda rate: mean(result.choose for result in by_way[rate]), default=None)
    cell = next(cell for cell in here if cell.way == way)
    seconds = mean(result.seconds for result in by_way[way])
    return _Group(
        set=cell.set,
        rows=cell.rows,
        way=way,
        seeds=len(seeds),
        accuracy=_accuracy(by_way[way]),
        best=_accuracy(by_way[best]) if best else None,
        guide=_accuracy(by_way[guide]) if guide in by_way else None,
        speedup=padded_seconds / seconds if padded_seconds else None,
    )


def _accuracy(results: Iterable[Result]) -> float:
    return mean(result.accuracy for result in results)
