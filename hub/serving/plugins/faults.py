"""The faults of one task's plugin: counted, and what it prints discarded."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, Literal, TextIO, cast

from hub.serving.meter import Meter

__all__ = ["Fault", "PluginFaults"]

log = logging.getLogger(__name__)

Fault = Literal["raised", "wrong_return", "timeout", "memory", "changed_tokenizer", "printed"]


class PluginFaults:
    """Counts the faults of a task by the step in which they happen; thread-safe."""

    def __init__(self, task: str, plugin: str, meter: Meter) -> None:
        self.task = task
        self.plugin = plugin
        self._meter = meter
        self._prints = False

    def count(self, step: str, fault: Fault) -> None:
        """Count a fault; `step` may have more words than the name of the step."""
        self._meter.plugin_fault(self.task, step.partition(" ")[0], fault)

    def stdout(self, step: str) -> TextIO:
        """Return the standard output of plugin code in `step`."""
        return cast(TextIO, _Discarded(self, step))

    def printed(self, step: str, where: str) -> None:
        """Count a text that was printed; logged once, without the text, which may be a caller's."""
        self.count(step, "printed")
        if not self._prints:
            self._prints = True
            log.warning(
                "Task %s, plugin %s: %s prints to standard output, at %s. The text is discarded.",
                *(self.task, self.plugin, step, where),
            )


class _Discarded(io.TextIOBase):
    """Takes text and bytes, and keeps none."""

    def __init__(self, faults: PluginFaults, step: str) -> None:
        self._faults = faults
        self._step = step

    @property
    def buffer(self) -> _Discarded:
        return self

    def writable(self) -> bool:
        return True

    def write(self, text: Any) -> int:
        if text.strip():
            caller = sys._getframe(1)
            self._faults.printed(self._step, f"{caller.f_code.co_filename}:{caller.f_lineno}")
        return len(text)
