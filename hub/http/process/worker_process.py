"""A worker as its supervisor has it: a process, and the lines that it sends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hub.http.process.worker_config import READY, WorkerConfig

__all__ = ["WorkerProcess"]

log = logging.getLogger(__name__)

MAX_LINE = 1 << 24  # bytes; the names of what a worker cannot serve may be many
Json = dict[str, Any]
Answer = Callable[[Json], Json]


class WorkerProcess:
    """A running worker. `failure` is the error that it reported instead of becoming ready, as JSON."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Answer,
    ) -> None:
        self.process = process
        self.failure: Json | None = None
        self._reader = reader
        self._writer = writer
        self._ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._replaced = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(answer))

    @classmethod
    async def start(
        cls, command: Sequence[str], config: WorkerConfig, environment: Mapping[str, str], answer: Answer
    ) -> WorkerProcess:
        """Start a worker and send its configuration; `answer` answers what it asks.

        Raises:
            OSError: the process cannot be started.
        """
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=theirs.fileno(),
                pass_fds=(config.listener,),
                env=environment,
                process_group=0,  # Ctrl-C reaches only the supervisor, which stops the workers in order
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        writer.write(config.to_line())
        return cls(process, reader, writer, answer)

    @property
    def is_ready(self) -> bool:
        """Whether it has answered requests."""
        return self._ready.done() and self._ready.result()

    @property
    def runs(self) -> bool:
        return self.process.returncode is None

    async def became_ready(self) -> bool:
        """Return True when it answers requests, or False if it ends or is replaced before."""
        return await asyncio.shield(self._ready)

    async def over(self) -> int | None:
        """Return its exit status once it has ended, or None as soon as another worker replaces it."""
        waiting = [asyncio.create_task(self.process.wait()), asyncio.create_task(self._replaced.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return None if self._replaced.is_set() else self.process.returncode

    def leave(self) -> None:
        """Let it end its requests and exit, because another worker has taken its place."""
        self._replaced.set()
        self._settle(False)
        self._send({"leave": True})

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def ended(self) -> int:
        """Return its exit status once it has ended and all its lines were read."""
        status = await self.process.wait()
        await asyncio.wait([self._listening], timeout=1.0)  # a child of the worker may hold the socket
        self._listening.cancel()
        self._writer.close()
        return status

    async def _listen(self, answer: Answer) -> None:
        try:
            while line := await self._reader.readline():
                if line == READY:
                    self._settle(True)
                else:
                    self._take(line, answer)
        except (OSError, ValueError) as error:  # ValueError: a line is longer than MAX_LINE
            log.error("Process %d cannot be heard: %s", self.process.pid, type(error).__name__)
        finally:
            self._settle(False)

    def _take(self, line: bytes, answer: Answer) -> None:
        try:
            message = json.loads(line)
            if failed := message.get("failed"):
                self.failure = {"code": str(failed["code"]), "message": str(failed["message"])}
            else:
                self._send({"answer": answer(message["ask"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("Process %d sent what is no message: %s", self.process.pid, type(error).__name__)

    def _send(self, message: Json) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    def _settle(self, ready: bool) -> None:
        if not self._ready.done():
            self._ready.set_result(ready)
