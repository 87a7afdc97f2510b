"""The data report: counts for the manifest, and notes on single rows, which quote no text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DataReport", "Note", "first_of", "write_notes", "write_rows"]


@dataclass(frozen=True, slots=True)
class Note:
    """One change to a row, or one finding about it.

    `what` is one of: changed, filtered, duplicate, near duplicate, conflict, leaked, near leak, pii.
    """

    source: str
    line: int
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DataReport:
    """Counts of rows, except `pii`, which counts findings by kind.

    `changed` counts by key of `data.clean` ("pii": masked), `filtered` by reason. `conflicts` counts training
    rows whose request also occurs with other labels, `rare` those with a label of too few rows; `filtered`
    includes the ones that were removed. `near_duplicates` and `near_leaked` were removed if `near` is "drop".
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
            _some(self.conflicts, "rows with contradicting labels"),
            _some(self.rare, f"rows with a rare label ({', '.join(self.rare_labels[:5])})"),
            _list("Personal data", self.pii),
        ]
        return [part for part in parts if part]


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}" if count else ""


def _list(title: str, counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    return f"{title}: {listed}" if listed else ""


def first_of(texts: Sequence[str], limit: int, separator: str = ", ") -> str:
    """Join at most `limit` texts, followed by the number of the others."""
    more = [f"and {len(texts) - limit} more"] if len(texts) > limit else []
    return separator.join([*texts[:limit], *more])


def write_rows(rows: Iterable[Any], path: Path) -> None:
    """Write JSON objects, one per line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_notes(notes: Iterable[Note], path: Path) -> None:
    """Write one JSON object per line: source, line, what, detail."""
    write_rows(map(asdict, notes), path)
