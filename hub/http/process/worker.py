"""A serving process: `python -m hub.http.process.worker`, started by the supervisor, configured on stdin."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.http.process.channel import SupervisorChannel
from hub.http.process.shutdown import end_with
from hub.registry.stdout import unwrap_stdout
from hub.visible import keep_logs_visible

if TYPE_CHECKING:
    from hub.http.process.server import HubServer

__all__ = ["configure_logging", "main"]


def main() -> None:
    """Serve until SIGTERM, or until another worker takes over."""
    channel = SupervisorChannel(_take_stdin())
    config = channel.read_config()
    if config is None:
        return
    end_with(config.supervisor)

    from hub.http.process.server import HubServer
    from hub.http.process.tls import ServerTls
    from hub.http.service import svc

    configure_logging()
    svc.start_in(config, channel)
    try:
        app = svc.to_asgi()
    except HubError as error:
        channel.report_failure(error)
        raise
    server = HubServer(
        app,
        config.settings.limits,
        is_ready=lambda: svc.hub.runtime.ready,
        on_ready=channel.report_ready,
        on_refused=svc.refused,
        tls=ServerTls.of(config.settings.serve),
    )
    listener = socket.socket(fileno=config.listener)
    listener.set_inheritable(False)  # a child process of a plugin must not keep the port
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(server, listener, channel, config.settings.serve.reload_timeout_s))


def configure_logging() -> None:
    """Log as BentoML does, without silencing loggers of modules that are imported already."""
    from bentoml._internal.log import SERVER_LOGGING_CONFIG, configure_server_logging

    unwrap_stdout()
    SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
    configure_server_logging()
    keep_logs_visible()


async def _serve(
    server: HubServer, listener: socket.socket, channel: SupervisorChannel, drain_s: float
) -> None:
    loop = asyncio.get_running_loop()
    channel.listen(lambda: loop.call_soon_threadsafe(server.leave, drain_s))
    await server.serve(sockets=[listener])
    logging.shutdown()
    with suppress(OSError):  # a pipe without a reader
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # the engines are closed; a thread that hangs in plugin code would keep the process


def _take_stdin() -> socket.socket:
    """Return the supervisor's channel, and replace standard input by an empty one."""
    channel = socket.socket(fileno=os.dup(0))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return channel


if __name__ == "__main__":
    main()
