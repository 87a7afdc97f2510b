"""Clears vacated slots, so that no weights of removed versions stay in memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hub.engine.protocol import Engine
from hub.engine.slots.table import SlotTable

__all__ = ["SlotCleaner"]

log = logging.getLogger(__name__)


class SlotCleaner:
    """Clears one engine's slots in its own thread, during forwards; `cleared` is called after each.

    The table gives a slot either to the cleaner or to a load, never to both.
    """

    def __init__(
        self, engine: Engine, capacity: int, *, spare: int = 0, name: str, cleared: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._name = name
        self._cleared = cleared
        self._wake = threading.Event()
        self._closed = False
        self.slots = SlotTable(capacity, spare=spare, on_vacated=self._wake.set)
        self._thread = threading.Thread(target=self._loop, name=f"cleaner-{name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; slots that are not cleared yet stay as they are."""
        self._closed = True
        self._wake.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            while not self._closed and (slot := self.slots.to_clear()) is not None:
                self._clear(slot)

    def _clear(self, slot: int) -> None:
        try:
            self._engine.clear(slot)
        except Exception:  # the next load overwrites the whole slot
            log.exception("Slot %d of %s could not be cleared.", slot, self._name)
        finally:
            self.slots.cleared(slot)
        self._cleared()
