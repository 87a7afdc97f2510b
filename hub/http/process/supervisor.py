"""Starts workers on one listening socket, restarts workers that exit, and stops them in order.

There is no control endpoint; signals to this process are the only interface.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from hub.config import Settings
from hub.errors import HostFault
from hub.http.process.worker_config import READY, WorkerConfig

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

MAX_FAILED_STARTS = 5  # in a row, of one worker
MAX_BACKOFF_S = 10.0
STOP_MARGIN_S = 20.0  # beyond limits.timeout_s, for the worker to close its engines


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def became_ready(self) -> bool:
        """Return True when the worker answers requests, or False if it exits before."""
        with suppress(OSError):
            return await self.reader.readline() == READY
        return False

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Runs `serve.replicas` workers until SIGINT or SIGTERM, or until one repeatedly fails to start."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        address: str,
        environment: Mapping[str, str],
        on_ready: Callable[[str], None],
        command: tuple[str, ...] = (sys.executable, "-m", "hub.http.process.worker"),
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._address = address
        self._environment = environment
        self._on_ready = on_ready
        self._command = command
        self._workers: dict[int, _Worker] = {}
        self._announced = False
        self._stopping = asyncio.Event()
        self._failure: HostFault | None = None

    async def run(self) -> None:
        """Return when all workers have exited after a signal.

        Raises:
            HostFault: a worker exited MAX_FAILED_STARTS times in a row before it was ready.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        await asyncio.gather(
            *(self._keep_running(index + 1) for index in range(self._settings.serve.replicas))
        )
        if self._failure:
            raise self._failure

    async def _keep_running(self, index: int) -> None:
        """Keep one worker running until the supervisor stops."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                ready, status = await self._run_worker(index)
            except OSError as error:
                ready, how = False, f"could not be started: {error.strerror or error}"
            else:
                how = f"ended after {time.monotonic() - began:.1f} s with {_status(status)}"
            if self._stopping.is_set():
                return
            failures = 0 if ready else failures + 1
            if failures == MAX_FAILED_STARTS:
                self._fail(f"Serving process {index} {how}, for the {failures}th time before it was ready.")
                return
            log.error("Serving process %d %s; it is restarted.", index, how)
            if failures:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(2.0 ** (failures - 2), MAX_BACKOFF_S))

    async def _run_worker(self, index: int) -> tuple[bool, int]:
        """Start a worker and wait for its exit; return whether it became ready, and its exit status."""
        worker = self._workers[index] = await self._start(index)
        try:
            if self._stopping.is_set():  # the signal came during the start
                self._terminate(worker)
            ready = await worker.became_ready()
            if ready and not self._announced:
                self._announced = True
                self._on_ready(self._address)
            return ready, await worker.process.wait()
        finally:
            del self._workers[index]
            worker.writer.close()

    async def _start(self, index: int) -> _Worker:
        descriptor = self._listener.fileno()
        config = WorkerConfig(self._settings, self._address, descriptor, os.getpid(), index)
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=theirs.fileno(),
                pass_fds=(descriptor,),
                env=self._environment,
                process_group=0,  # Ctrl-C reaches only the supervisor, which stops the workers in order
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(config.to_line())
        return _Worker(process, reader, writer)

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # a second signal: running requests are cancelled
            for worker in self._workers.values():
                worker.signal(signal.SIGINT)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.listen(0)  # workers answer the queued connections; no others are queued
        for worker in self._workers.values():
            self._terminate(worker)
        self._listener.close()

    def _terminate(self, worker: _Worker) -> None:
        worker.signal(signal.SIGTERM)
        seconds = self._settings.limits.timeout_s + STOP_MARGIN_S
        asyncio.get_running_loop().call_later(seconds, self._kill, worker, seconds)

    def _kill(self, worker: _Worker, seconds: float) -> None:
        if worker.process.returncode is None:
            log.error(
                "Serving process %d did not exit within %g s after SIGTERM and is killed.",
                worker.process.pid,
                seconds,
            )
            worker.signal(signal.SIGKILL)

    def _fail(self, problem: str) -> None:
        log.error("%s The server stops.", problem)
        self._failure = HostFault(
            f"{problem} The server has stopped. The log above has the reason; if a plugin ends the process, "
            "disable it (plugins.disabled in hub.toml)."
        )
        if not self._stopping.is_set():
            self._stop()


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
