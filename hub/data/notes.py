"""The data report: counts for the manifest, and notes on single rows, which quote no text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DataReport", "Note", "write_notes"]


@dataclass(frozen=True, slots=True)
class Note:
    """One change to a row, or one finding in it.

    `what` is one of: changed, filtered, duplicate, near duplicate, conflict, leaked, near leak, pii.
    """

    source: str
    line: int
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DataReport:
    """Counts of rows, except `pii`, which counts findings by kind.

    `changed` is by key of `data.clean` (`pii` there means masked), `filtered` by reason: rules of the recipe,
    marks of the format, label quality. `conflicts` counts training rows with the request of a row that has
    other labels, `rare` those with a label of too few rows; `filtered` has the ones that were removed.
    `near_duplicates` and `near_leaked` were removed only if `near` is "drop".
    """

    read: int = 0
    invalid: int = 0
    changed: Mapping[str, int] = field(default_factory=dict)
    filtered: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    near: str = "keep"
    near_duplicates: int = 0
    conflicts: int = 0
    rare: int = 0
    rare_labels: tuple[str, ...] = ()
    leaked: int = 0
    near_leaked: int = 0
    pii: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def lines(self) -> list[str]:
        """Return the counts that are not 0 as short sentences."""
        left = "left in" if self.near == "report" else "dropped"
        parts = [
            _list("Cleaned", self.changed),
            _list("Filtered", self.filtered),
            _some(self.near_duplicates, f"near duplicates, {left}"),
            _some(self.near_leaked, f"held-out rows nearly the same as a training row, {left}"),
            _some(self.conflicts, "rows that another one with different labels contradicts"),
            _some(self.rare, f"rows with a rare label ({', '.join(self.rare_labels[:5])})"),
            _list("Personal data", self.pii),
        ]
        return [part for part in parts if part]


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}" if count else ""


def _list(title: str, counts: Mapping[str, int]) -> str:
    said = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    return f"{title}: {said}" if said else ""


def counted(values: Iterable[str]) -> dict[str, int]:
    """Count values; the result is sorted by value."""
    return dict(sorted(Counter(values).items()))


def write_notes(notes: Iterable[Note], path: Path) -> None:
    """Write one JSON object per line: source, line, what, detail."""
    with path.open("w", encoding="utf-8") as file:
        for note in notes:
            file.write(json.dumps(asdict(note), ensure_ascii=False) + "\n")
