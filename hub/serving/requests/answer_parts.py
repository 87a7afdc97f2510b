"""The text of a streamed call on its way from the engine to the caller, through its plugin if need be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from hub.api import AnswerStream
from hub.errors import HubError
from hub.serving.plugins.returned import check_part
from hub.serving.plugins.stages import Stage, Work
from hub.serving.requests.call import Call
from hub.serving.requests.codec import fault

__all__ = ["AnswerParts", "UnchangedText"]


class UnchangedText:
    """Sends the pieces of the only row's text to the caller as they are."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send

    def write(self, row: int, text: str) -> None:
        self._send(text)

    def end(self, row: int) -> None:
        return


class AnswerParts:
    """Sends the parts that a task's `AnswerStream` makes of the texts of a call's rows.

    The stream is called in the threads of the task, one stage at a time. Text that arrives during a stage
    waits for the next one: a slow plugin does not delay the engine, and occupies one thread. `failed` gets
    the error of a failed stage and cancels the call, whose text is discarded from then on.
    """

    def __init__(
        self,
        call: Call,
        stream: AnswerStream,
        send: Callable[[str], None],
        failed: Callable[[HubError], None],
    ) -> None:
        self._call = call
        self._stream = stream
        self._send = send
        self._failed = failed
        self._lock = threading.Lock()
        self._texts: dict[int, list[str]] = {}  # not yet passed on; by row, in the order of their arrival
        self._ended: set[int] = set()  # rows whose end was not yet passed on
        self._running = False
        self._last: Work | None = None

    def write(self, row: int, text: str) -> None:
        self._add(row, text)

    def end(self, row: int) -> None:
        self._add(row, None)

    def finish(self, work: Work) -> None:
        """Run `work` in a thread of the task after all text has been passed on."""
        with self._lock:
            self._last = work
            if self._running:
                return
        self._call.threads.submit(work)

    def _add(self, row: int, text: str | None) -> None:
        with self._lock:
            texts = self._texts.setdefault(row, [])
            if text is None:
                self._ended.add(row)
            else:
                texts.append(text)
            if self._running:
                return
            self._running = True
        self._call.threads.submit(self._run())

    def _run(self) -> Work:
        """Pass on the text that waits in one stage; for more, queue again behind the work of other calls."""
        call = self._call
        try:
            if call.threads.suspended and not call.trial:
                raise call.threads.refusal()
            part: str = yield Stage("stream", self._next_part)
            if part and not call.cancelled:
                self._send(part)
        except HubError as error:
            self._failed(error)
        with self._lock:
            if call.cancelled:
                self._texts, self._ended = {}, set()
            more = self._running = bool(self._texts)
            last = self._last
        if more:
            call.threads.submit(self._run())
        elif last:
            yield from last

    def _next_part(self) -> str:
        with self._lock:
            texts, self._texts = self._texts, {}
            ended, self._ended = self._ended, set()
        if self._call.cancelled:
            return ""
        parts = (part for row, pieces in texts.items() for part in self._of(row, pieces, row in ended))
        try:
            return "".join(map(check_part, parts))
        except Exception as error:  # at this stage no error is the caller's
            raise fault(self._call.task, self._call.threads.faults, "stream", error) from None

    def _of(self, row: int, pieces: list[str], ended: bool) -> Iterator[object]:
        if text := "".join(pieces):
            yield self._stream.add(row, text)
        if ended:
            yield self._stream.end(row)
