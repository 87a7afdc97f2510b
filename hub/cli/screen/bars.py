"""Progress bars for what reports (stage, done, total)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Bars"]

_MEGABYTE = 1_000_000


class Bars:
    """One bar for each stage; what counts in bytes, being large, is shown as megabytes."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total` (0: unknown), and a few words such as the loss."""
        scale, unit = (_MEGABYTE, ", MB") if total > _MEGABYTE else (1, "")
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None)
        self._bars.update(
            self._tasks[stage],
            description=f"{stage}{unit}{f'  {note}' if note else ''}",
            completed=round(done / scale),
            total=max(round(total / scale), 1) if total else None,
        )
