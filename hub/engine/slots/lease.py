"""What a request holds while it uses a slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Lease:
    """A counted claim on a version's slot, which is not rewritten until `release`."""

    __slots__ = ("_release", "key", "released", "slot")

    def __init__(self, key: str, slot: int, release: Callable[[Lease], None]) -> None:
        self.key = key
        self.slot = slot
        self.released = False
        self._release = release

    def release(self) -> None:
        """Release the claim; further calls do nothing."""
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
