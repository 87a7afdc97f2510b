"""uvicorn's server with our protocol, and a shutdown that answers the requests that were sent before it."""

from __future__ import annotations

import asyncio
import math
import resource
import socket
from collections.abc import Callable
from functools import partial
from typing import cast

import psutil
import uvicorn
from starlette.types import ASGIApp

from hub.config import LimitSettings
from hub.http.process.protocol import Connections, HubProtocol

__all__ = ["HubServer"]

CHECK_EVERY_S = 1.0
SPARE_DESCRIPTORS = 64  # for files, the catalog, and connections that are being refused
DRAIN_MARGIN_S = 5  # beyond limits.timeout_s


class HubServer(uvicorn.Server):
    """Serves one application; `on_ready` is called once, as soon as `is_ready`.

    `on_refused` is called with the error code of each request that is refused before the application has it.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: LimitSettings,
        is_ready: Callable[[], bool],
        on_ready: Callable[[], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._is_ready = is_ready
        self._on_ready = on_ready
        self._told_ready = False
        self._connections = Connections(limits, most_connections(limits.connections), on_refused)
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
        await super().startup(sockets)
        self._checker = asyncio.create_task(self._check_connections())

    async def on_tick(self, counter: int) -> bool:
        if not self._told_ready and self._is_ready():
            self._told_ready = True
            self._on_ready()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer requests under way, and those of connections that the kernel has queued, then stop."""
        self._connections.stopping = True
        queues = [listener.dup() for listener in sockets or []]  # closing a server closes its own
        for server in self.servers:
            server.close()
        for queue in queues:
            await self._take_queued(queue)
            queue.close()
        await super().shutdown(sockets)
        self._checker.cancel()
        self._captured_signals.clear()  # uvicorn would raise them again, for an exit status other than 0

    async def _take_queued(self, listener: socket.socket) -> None:
        """Accept what is queued: closing the socket would reset it, although requests may have been sent."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # none is left
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

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
            for connection in list(self.server_state.connections):
                if isinstance(connection, HubProtocol):
                    connection.check_time(loop.time())


def most_connections(wanted: int) -> int:
    """Return how many connections to hold open: `wanted`, or as many as there are file descriptors for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds() + SPARE_DESCRIPTORS
    enough = wanted + used
    if soft < enough and soft != resource.RLIM_INFINITY:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - used))
