"""Starts workers on one listening socket, restarts workers that exit, and stops them in order.

There is no control endpoint; the interfaces are signals to this process, and what workers ask over their
socket pairs: `hub.http.process.reload`.
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

from hub.config import Settings, load_settings
from hub.errors import HostFault
from hub.http.process.reload import Reloads, describe_status
from hub.http.process.worker_config import Handover, WorkerConfig
from hub.http.process.worker_process import WorkerProcess

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

MAX_FAILED_STARTS = 5  # in a row, of one worker
MAX_BACKOFF_S = 10.0
STOP_MARGIN_S = 20.0  # beyond limits.timeout_s, for the worker to close its engines


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
        self.settings = settings
        self._listener = listener
        self._address = address
        self._environment = environment
        self._on_ready = on_ready
        self._command = command
        self._workers: dict[int, WorkerProcess] = {}  # those that are restarted when they exit
        self._alive: set[WorkerProcess] = set()  # also those that load, or leave
        self._reaping: set[asyncio.Task[None]] = set()
        self._reloads = Reloads(self)
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
            *(self._keep_running(index + 1) for index in range(self.settings.serve.replicas))
        )
        await self._reloads.wait()
        if self._reaping:
            await asyncio.wait(self._reaping)
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
                how = f"ended after {time.monotonic() - began:.1f} s with {describe_status(status)}"
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

    def take_settings(self) -> None:
        """Read the section `plugins` again, which a new plugin may need.

        Raises:
            BadConfig: hub.toml is invalid.
        """
        self.settings = self.settings.model_copy(update={"plugins": load_settings().plugins})

    async def start(self, index: int, handover: Handover | None = None) -> WorkerProcess:
        """Start a worker."""
        descriptor = self._listener.fileno()
        config = WorkerConfig(self.settings, self._address, descriptor, os.getpid(), index, handover)
        worker = await WorkerProcess.start(self._command, config, self._environment, self._reloads.answer)
        self._alive.add(worker)
        task = asyncio.create_task(self._reap(worker))
        self._reaping.add(task)
        task.add_done_callback(self._reaping.discard)
        if self._stopping.is_set():  # the signal came during the start
            self._terminate(worker)
        return worker

    def replace(self, index: int, worker: WorkerProcess) -> WorkerProcess | None:
        """Put a worker in the place of another, which ends its requests and leaves; return that one."""
        old = self._workers.get(index)
        self._workers[index] = worker
        if old:
            if old.is_ready:
                self._kill_after(old, self.settings.serve.reload_timeout_s + STOP_MARGIN_S)
            else:
                self._terminate(old)
            old.leave()
        return old

    async def _run_worker(self, index: int) -> tuple[bool, int]:
        """Start a worker and wait for its exit; return whether it became ready, and its exit status.

        If it is replaced, its successor is waited for.
        """
        worker = self._workers.get(index)
        if worker is None:
            started = await self.start(index)
            worker = self._workers.setdefault(index, started)
            if worker is not started:  # a reload was faster
                self._terminate(started)
        try:
            ready = await worker.became_ready()
            if ready and not self._announced:
                self._announced = True
                self._on_ready(self._address)
            while (status := await worker.over()) is None:
                ready, worker = True, self._workers[index]
            return ready, status
        finally:
            del self._workers[index]

    async def _reap(self, worker: WorkerProcess) -> None:
        await worker.ended()
        self._alive.discard(worker)

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # a second signal: running requests are cancelled
            for worker in self._alive:
                worker.signal(signal.SIGINT)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        self._reloads.stop()
        with suppress(OSError):
            self._listener.listen(0)  # workers answer the queued connections; no others are queued
        for worker in self._alive:
            self._terminate(worker)
        self._listener.close()

    def _terminate(self, worker: WorkerProcess) -> None:
        worker.signal(signal.SIGTERM)
        self._kill_after(worker, self.settings.limits.timeout_s + STOP_MARGIN_S)

    def _kill_after(self, worker: WorkerProcess, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._kill, worker, seconds)

    def _kill(self, worker: WorkerProcess, seconds: float) -> None:
        if worker.runs:
            log.error(
                "Serving process %d did not exit within %g s and is killed.", worker.process.pid, seconds
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
