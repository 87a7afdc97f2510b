"""uvicorn's server with our protocol, and a shutdown that answers every request sent before it.

Relies on private parts of uvicorn 0.54: `_captured_signals` and what a started server has.
"""

from __future__ import annotations

import asyncio
import math
import resource
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import psutil
import uvicorn
from starlette.types import ASGIApp

from hub.config import LimitSettings
from hub.http.process.protocol import Connections, HubProtocol
from hub.http.process.tls import ServerTls
from hub.http.process.transport import LINGER_S

__all__ = ["HubServer"]

CHECK_EVERY_S = 1.0
SPARE_DESCRIPTORS = 64  # for files, the catalog, and refused connections
DRAIN_MARGIN_S = 5  # beyond limits.timeout_s
LEAVE_IDLE_S = 5.0  # after which a leaving worker closes a connection without a request
HANDSHAKE_S = 1.0


class HubServer(uvicorn.Server):
    """Serves one application; calls `on_ready` once when `is_ready` returns True.

    `on_refused` is called with the error code of each request that never reaches the application.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: LimitSettings,
        is_ready: Callable[[], bool],
        on_ready: Callable[[], None],
        on_refused: Callable[[str], None],
        tls: ServerTls | None = None,
    ) -> None:
        self._is_ready = is_ready
        self._tls = tls
        self._tls_options: dict[str, Any] = {}
        if tls:
            self._tls_options = {
                "ssl": tls.context,
                "ssl_handshake_timeout": limits.header_s,
                "ssl_shutdown_timeout": LINGER_S,
            }
        self._on_ready = on_ready
        self._reported_ready = False
        self._connections = Connections(limits, max_connections(limits.connections), on_refused)
        config = uvicorn.Config(
            app=cast("uvicorn._types.ASGIApplication", app),
            http=cast("type[asyncio.Protocol]", partial(HubProtocol, of=self._connections)),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing uses the client's address
            timeout_keep_alive=cast("int", limits.idle_s),
            timeout_graceful_shutdown=math.ceil(limits.timeout_s) + DRAIN_MARGIN_S,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # which knows no time limits of TLS
        loop = asyncio.get_running_loop()
        for listener in sockets or ():
            server = await loop.create_server(
                self._protocol, sock=listener, backlog=self.config.backlog, **self._tls_options
            )
            self.servers.append(server)
        self._checker = asyncio.create_task(self._check_connections())

    def leave(self, drain_s: float) -> None:
        """Accept no more connections, end the requests of the others within `drain_s`, and stop.

        Another worker accepts meanwhile. Connections are closed by the answer to their next request; a client
        whose request crosses the close of an idle connection would have to send it again, so that those are
        closed late.
        """
        self._connections.leaving = True
        self._connections.grace_s = LEAVE_IDLE_S
        self.config.timeout_graceful_shutdown = math.ceil(drain_s)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if not self._reported_ready and self._is_ready():
            self._reported_ready = True
            self._on_ready()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer running requests and those of connections in the kernel's queue, then stop."""
        self._connections.stopping = True
        queues = [listener.dup() for listener in sockets or []]  # closing a server closes its socket
        for server in self.servers:
            server.close()
        for queue in queues:
            if not self._connections.leaving:
                await self._take_queued(queue)
            queue.close()
        if self._connections.leaving and self._tls:
            await asyncio.sleep(HANDSHAKE_S)  # a connection is known once it is secured
        await super().shutdown(sockets)
        self._checker.cancel()
        self._captured_signals.clear()  # uvicorn would raise them again and exit with a status other than 0

    async def _take_queued(self, listener: socket.socket) -> None:
        """Accept queued connections, which may hold requests and which closing the socket would reset."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        taken = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the queue is empty
                break
            connection.setblocking(False)
            taken.append(loop.connect_accepted_socket(self._protocol, connection, **self._tls_options))
        await asyncio.gather(*taken, return_exceptions=True)  # handshakes may fail

    def _protocol(self) -> asyncio.Protocol:
        return HubProtocol(
            of=self._connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def _check_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            if self._tls:
                self._tls.refresh()
            for connection in list(self.server_state.connections):
                if isinstance(connection, HubProtocol):
                    connection.check_time(loop.time())


def max_connections(wanted: int) -> int:
    """Return `wanted`, or fewer if there are not enough file descriptors; raises the soft limit if needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds() + SPARE_DESCRIPTORS
    needed = wanted + used
    if soft < needed and soft != resource.RLIM_INFINITY:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - used))
