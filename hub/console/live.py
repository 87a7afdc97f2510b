"""What a server did in the last minutes: figures between readings of its metrics, while a page shows them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hub.client.metrics import Scrape, figures, read
from hub.errors import log_fault

__all__ = ["LiveFigures", "LiveReading"]

log = logging.getLogger(__name__)

EVERY_S = 2.0
LATE_S = 10.0  # after which pages look at what does not come from readings
KEPT = 150  # readings
IDLE_S = 120.0  # without a page, after which reading stops
_NAMES = ("hub_", "vllm:lora_requests_info", "# TYPE hub_", "# TYPE vllm:lora_requests_info")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveReading:
    """The figures of the seconds before a moment (seconds since the epoch), as `hub top --json` has them."""

    at: float
    figures: Json

    def deployment(self, name: str) -> list[Json]:
        """Return the figures of a deployment, one for each track."""
        return [one for one in self.figures["deployments"] if one["deployment"] == name]


class LiveFigures:
    """Reads the metrics every EVERY_S seconds, as long as somebody watches; `text` may block."""

    def __init__(self, text: Callable[[], bytes]) -> None:
        self._text = text
        self._readings: deque[LiveReading] = deque(maxlen=KEPT)
        self._before: Scrape | None = None
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._wanted = 0.0  # monotonic time of the last page

    @property
    def readings(self) -> list[LiveReading]:
        """The readings since somebody watches, oldest first."""
        return list(self._readings)

    def want(self) -> None:
        """Begin to read, or go on; call on the event loop."""
        self._wanted = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._read_on())

    async def watch(self) -> AsyncGenerator[None]:
        """Yield at once, and then whenever there is a new reading, or when it is late."""
        yield None
        while True:
            self.want()
            async with self._changed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LATE_S):
                        await self._changed.wait()
            yield None

    async def close(self) -> None:
        """Stop reading."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _read_on(self) -> None:
        while time.monotonic() - self._wanted < IDLE_S:
            try:
                await self._read()
            except Exception as error:  # pages go on to show the rest
                log_fault(log, "The figures of the console cannot be read", error)
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(EVERY_S)
        self._before = None  # a gap would be shown as one long interval
        self._readings.clear()  # the next page would show them as those of now

    async def _read(self) -> None:
        now = await asyncio.to_thread(self._scrape)
        if self._before:
            self._readings.append(LiveReading(now.at, figures(self._before, now)))
        self._before = now

    def _scrape(self) -> Scrape:
        lines = self._text().decode().splitlines()
        ours = "\n".join(line for line in lines if line.startswith(_NAMES))
        return read(f"{ours}\n", time.time())
