"""What serving tells whoever counts; the HTTP layer hands in the one that feeds Prometheus."""

from __future__ import annotations

from typing import Literal, Protocol

__all__ = ["Meter", "NoMeter", "Outcome"]

Outcome = Literal["ok", "failed"]


class Meter(Protocol):
    """Counts events; called from several threads, so it must be quick and thread-safe."""

    def batch(self, base: str, rows: int, seconds: float, waiting: int) -> None:
        """A forward of `rows` rows took `seconds` and left `waiting` rows in the queue."""

    def retry(self, base: str) -> None:
        """A forward failed and its rows run again in halves."""

    def load(self, outcome: Outcome, seconds: float) -> None:
        """A version was put into a slot, or could not be."""

    def evicted(self, base: str) -> None:
        """A version lost its slot to another one."""

    def swap(self, outcome: Outcome) -> None:
        """A deployment's pointer moved, or could not."""

    def slots(self, base: str, resident: int, capacity: int) -> None:
        """`resident` of `capacity` slots hold a version."""

    def answers(self, outcome: Outcome, count: int) -> None:
        """So many answers were kept for feedback, or dropped."""

    def stuck(self, task: str, threads: int, suspended: bool) -> None:
        """`threads` threads hang in the plugin code of a task; its calls are refused if `suspended`."""


class NoMeter:
    """Counts nothing."""

    def batch(self, base: str, rows: int, seconds: float, waiting: int) -> None:
        return

    def retry(self, base: str) -> None:
        return

    def load(self, outcome: Outcome, seconds: float) -> None:
        return

    def evicted(self, base: str) -> None:
        return

    def swap(self, outcome: Outcome) -> None:
        return

    def slots(self, base: str, resident: int, capacity: int) -> None:
        return

    def answers(self, outcome: Outcome, count: int) -> None:
        return

    def stuck(self, task: str, threads: int, suspended: bool) -> None:
        return
