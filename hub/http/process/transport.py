"""A transport that closes in two steps, so that unread input does not turn the close into a reset."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

__all__ = ["LINGER_S", "LingeringTransport"]

LINGER_S = 1.0  # during which input is discarded after the last byte was sent


class LingeringTransport(asyncio.Transport):
    """Wraps a socket's transport.

    The kernel sends a reset when a socket with unread input is closed, and a reset discards a response that
    the client has not read yet. `close` therefore closes the sending side first; the connection ends when the
    client closes its side, or after LINGER_S. TLS cannot close one side alone; its own close reads on, too.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        with suppress(OSError, RuntimeError):  # the client has disconnected
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
            self._transport.resume_reading()
        self._timer = self._loop.call_later(LINGER_S, self._transport.abort)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def lost(self) -> None:
        """Cancel the timer of `close`; called when the connection has ended."""
        self._closing = True
        if self._timer:
            self._timer.cancel()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
