"""The worker's end of the socket pair to its supervisor: lines of JSON, both ways."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from hub.errors import HubError, NotReady
from hub.http.process.worker_config import READY, WorkerConfig

__all__ = ["SupervisorChannel"]

log = logging.getLogger(__name__)

Json = dict[str, Any]


class SupervisorChannel:
    """Reports to the supervisor and asks it. Thread-safe."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lines = channel.makefile("rb")
        self._asking = threading.Lock()
        self._sending = threading.Lock()
        self._answers: SimpleQueue[Json | None] = SimpleQueue()

    def read_config(self) -> WorkerConfig | None:
        """Return the first line; None if the supervisor ended before it sent one."""
        line = self._lines.readline()
        return WorkerConfig.from_line(line) if line else None

    def listen(self, on_leave: Callable[[], object]) -> None:
        """Read answers in a thread; `on_leave` is called there when another worker has taken over."""
        threading.Thread(target=self._listen, args=(on_leave,), name="supervisor", daemon=True).start()

    def report_ready(self) -> None:
        """Report that this worker answers requests."""
        self._send(READY)

    def report_failure(self, error: HubError) -> None:
        """Report why this worker will not become ready; it ends afterwards."""
        self._send(_line({"failed": {"code": error.code, "message": str(error)}}))

    def ask(self, **question: Any) -> Json:
        """Return the supervisor's answer; blocks shortly.

        Raises:
            NotReady: it has ended.
        """
        with self._asking:
            self._send(_line({"ask": question}))
            answer = self._answers.get()
            if answer is None:
                self._answers.put(None)  # for the next question
                raise NotReady("The supervisor of this server has ended, and the server stops.")
            return answer

    def _listen(self, on_leave: Callable[[], object]) -> None:
        with suppress(OSError):
            for line in self._lines:
                message = json.loads(line)
                if message.get("leave"):
                    on_leave()
                else:
                    self._answers.put(message["answer"])
        self._answers.put(None)

    def _send(self, line: bytes) -> None:
        with self._sending, suppress(OSError):  # it was killed; `end_with` stops this process
            self._channel.sendall(line)


def _line(message: Json) -> bytes:
    return json.dumps(message).encode() + b"\n"
