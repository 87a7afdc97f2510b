"""The observer that is built in: writes changes of adapters to the log."""

from __future__ import annotations

import logging

from hub.api import AdapterEvent, EventObserver, NoOptions

__all__ = ["EventLog"]

log = logging.getLogger(__name__)


class EventLog(EventObserver[NoOptions]):
    """Logs loads and evictions, which change no answer, at the level DEBUG."""

    def adapter(self, event: AdapterEvent) -> None:
        if event.change == "loaded":
            log.debug("Loaded %s in %.0f ms.", event.version, event.seconds * 1000)
        elif event.change == "evicted":
            log.debug("%s lost its slot.", event.version)
