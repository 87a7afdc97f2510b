"""The HTTP/1.1 protocol of a connection, with limits on all input before a route reads it.

Extends uvicorn's protocol for httptools, which limits neither headers nor time. h11 limits the size of
headers but costs about a third more processor time per request (docs/operations.md). Relies on private parts
of uvicorn 0.54, which tests/http/process/test_protocol.py checks with attacks over sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from hub.config import LimitSettings
from hub.errors import BadRequest, HeadersTooLarge, HubError, NotReady, RequestTimeout
from hub.http.headers import safe_headers
from hub.http.process.transport import LingeringTransport
from hub.http.wire import error_response

__all__ = ["Connections", "HubProtocol"]

log = logging.getLogger(__name__)

MAX_PIPELINED = 16  # requests of one connection that wait for an earlier answer
GRACE_S = 0.5  # for a request that was sent just before SIGTERM
SEND_S = 30.0  # after which a client that reads nothing is disconnected
BODY_MARGIN_S = 1.0  # `read_body` times out first; this limits bodies that no route reads


@dataclass(slots=True)
class Connections:
    """The limits of this process, and its idle connections, oldest first.

    `on_refused` is called with the code of each error that closes a connection. Once `stopping`, idle
    connections are closed after `grace_s`; if the process is `leaving`, others may complete their request.
    """

    limits: LimitSettings
    max_open: int
    on_refused: Callable[[str], None]
    idle: dict[HubProtocol, None] = field(default_factory=dict)
    stopping: bool = False
    leaving: bool = False
    grace_s: float = GRACE_S


class _Part(Enum):
    """The part of a request that the parser is in."""

    NONE = auto()
    HEADERS = auto()
    BODY = auto()


_HEADERS = _Part.HEADERS  # a global is faster than an enum's attribute, which matters for each header


class HubProtocol(HttpToolsProtocol):
    """The protocol of one connection."""

    transport: LingeringTransport

    def __init__(self, *, of: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._of = of
        self._limits = of.limits
        self._part = _Part.NONE
        self._unread = 0  # bytes since the parser last reported progress
        self._field_bytes = 0
        self._fields = 0
        self._deadline: float | None = None
        self._send_deadline: float | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        lingering = LingeringTransport(transport, self.loop)
        super().connection_made(lingering)
        self._deadline = self.loop.time() + self._limits.header_s
        if len(self.connections) > self._of.max_open and not self._make_room():
            self._refuse(NotReady("This server has no free connection. Try again shortly."))
            return
        self._of.idle[self] = None
        if self._of.stopping:
            self.shutdown()

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest, if any; return whether one was closed."""
        for longest in self._of.idle:
            longest.transport.abort()  # frees its descriptor at once
            del self._of.idle[longest]
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._of.idle.pop(self, None)
        self._unset_keepalive_if_required()
        self.transport.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._unread += len(data)
        try:
            self.parser.feed_data(data)
            if self._unread > self._limits.header_bytes:
                raise self._too_large()
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(cause := error.__context__, HubError):  # a callback raised it
                self._refuse(cause)
            else:
                self._refuse(BadRequest("These bytes are not an HTTP/1.1 request."))
        except HubError as error:
            self._refuse(error)
        else:
            if self._deadline is None and (self._part is not _Part.NONE or self._is_idle()):
                limit = (
                    self._limits.body_s + BODY_MARGIN_S if self._part is _Part.BODY else self._limits.header_s
                )
                self._deadline = self.loop.time() + limit

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = _Part.HEADERS
        self._field_bytes = self._fields = 0

    def on_url(self, url: bytes) -> None:
        self._field_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._fields > self._limits.headers:
            raise HeadersTooLarge(f"A request may have {self._limits.headers} headers (limits.headers).")
        if self._field_bytes > self._limits.header_bytes:
            raise self._too_large()
        if self._part is _HEADERS:  # trailers of a chunked body are dropped
            super().on_header(name, value)

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            f"Request line and headers may have {self._limits.header_bytes:,} bytes (limits.header_bytes)."
        )

    def on_headers_complete(self) -> None:
        if self._field_bytes > self._limits.header_bytes:  # a long URL
            raise self._too_large()
        self._unread = 0
        self._part = _Part.BODY
        self._deadline = None
        if self.parser.should_upgrade():
            self._check_upgrade()
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadRequest(f"At most {MAX_PIPELINED} requests may wait for an earlier answer.")
        super().on_headers_complete()
        self._of.idle.pop(self, None)
        if self._of.stopping:
            self.cycle.keep_alive = False

    def _check_upgrade(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise BadRequest("This server is not a proxy.")
        if self._get_upgrade() == b"websocket":
            raise BadRequest("This server has no WebSocket endpoint. Send plain HTTP; see GET /docs.")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its offer of another protocol, such as HTTP/2 by Java's client.

        httptools treats everything after such headers as the other protocol, which would lose the body.
        """
        fields = [one for one in self.headers if one[0] not in (b"connection", b"upgrade")]
        if b"close" in dict(self.headers)[b"connection"].lower():
            fields.append((b"connection", b"close"))
        version = self.parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as HttpToolsProtocol does
        self.data_received(head + b"".join(b"%b: %b\r\n" % one for one in fields) + b"\r\n" + rest)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():  # it is parsed again
            return
        self._part = _Part.NONE
        self._deadline = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_idle() and not self.transport.is_closing():
            self._of.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_deadline = self.loop.time() + SEND_S

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_deadline = None

    def check_time(self, now: float) -> None:
        """Close the connection if a deadline has passed; the server calls this once per second."""
        if self._send_deadline is not None and now > self._send_deadline:
            self.transport.abort()
        elif self._deadline is None or now < self._deadline:
            return
        elif self._part is _Part.NONE:  # no byte of a request has arrived
            self.transport.close()
        else:
            waited = self._limits.body_s if self._part is _Part.BODY else self._limits.header_s
            setting = f"limits.{self._part.name.lower().removesuffix('s')}_s"
            self._refuse(RequestTimeout(f"The request was not complete within {waited:g} s ({setting})."))

    def shutdown(self) -> None:
        """Answer pending requests, then close; the server calls this when it stops."""
        if self._is_idle():
            self.loop.call_later(self._of.grace_s, self._end_if_idle)
        else:
            self.cycle.keep_alive = False

    def _end_if_idle(self) -> None:
        if not self._is_idle() or self.transport.is_closing():
            return
        if self._part is _Part.NONE:
            self.transport.close()
        elif not self._of.leaving:  # `check_time` limits it
            self._refuse(NotReady("The server is stopping."))

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, error: HubError) -> None:
        """Answer with an error and close, after the answer to an earlier request."""
        self._refused = True
        self._deadline = None
        self._of.on_refused(error.code)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or not cycle.more_body:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(self._error(error))
        self.transport.close()

    def _error(self, error: HubError) -> bytes:
        response = error_response(error)
        response.headers["connection"] = "close"
        safe = safe_headers(tls=self.scheme == "https")
        fields = [*self.server_state.default_headers, *response.raw_headers, *safe]
        head = b"".join(b"%b: %b\r\n" % one for one in fields)
        return STATUS_LINE[error.status] + head + b"\r\n" + bytes(response.body)
