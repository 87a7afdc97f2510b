"""The answer log: stores answers for feedback through a bounded queue and a background writer."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from hub.config import FeedbackSettings
from hub.errors import Conflict, NotFound, log_fault
from hub.serving.background import PeriodicTask
from hub.serving.canary.disagreements import Disagreements
from hub.serving.canary.grading import Label
from hub.serving.meter import Meter
from hub.serving.observation import Observation
from hub.store.catalog.feedback import Answers, LabelledAnswer, StoredAnswer
from hub.store.records import Version

__all__ = ["AnswerLog"]

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
MAX_WAITING_CHARACTERS = 32_000_000  # of requests in the queue
MAX_ID_CHARACTERS = 64
WRITE_S = 0.5
PRUNE_S = 60.0
_SUMS_PER_LIMIT = 20  # sums of all stored bytes while feedback.megabytes are written; each reads all answers

IsCorrect = Callable[[StoredAnswer, Label], Awaitable[bool]]


class _Replaced(Exception):
    """The answer was replaced after it was compared."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An answer in the queue; the writer makes its JSON."""

    request_id: str
    deployment: str
    version: Version
    when: datetime
    response: BaseModel
    request: BaseModel | None
    size: int

    def answer(self) -> StoredAnswer:
        return StoredAnswer(
            request_id=self.request_id,
            deployment=self.deployment,
            version=str(self.version.ref),
            sha256=self.version.sha256,
            when=self.when,
            response=self.response.model_dump_json(),
            request=self.request.model_dump_json() if self.request else None,
        )


class AnswerLog:
    """Stores answers as the setting `feedback` asks, and labels on them.

    Serving never waits for it: an answer that finds the queue full is dropped and counted. While the catalog
    is unavailable, answers wait in the queue. `alone` returns True if no other replica uses the catalog.
    """

    def __init__(
        self, answers: Answers, settings: FeedbackSettings, meter: Meter, alone: Callable[[], bool]
    ) -> None:
        self.disagreements = Disagreements()
        self._answers = answers
        self._settings = settings
        self._meter = meter
        self._alone = alone
        self._lock = threading.Lock()  # of the queue
        self._writing = threading.Lock()  # taken before `_lock`
        self._queue: deque[_Waiting] = deque()
        self._characters = 0
        self._kept = self._dropped = 0
        self._prune_at = 0.0  # monotonic
        self._max_bytes = settings.megabytes * 1_000_000
        self._unsummed = self._max_bytes  # bytes written since the last sum; unknown at first
        self._task = PeriodicTask("Answers are not kept for feedback", self._work, WRITE_S)

    @property
    def keeps(self) -> bool:
        """True if answers are stored."""
        return self._settings.keep != "nothing"

    def start(self) -> None:
        """Start writing answers, and removing old ones."""
        self._task.start()

    def stop(self) -> None:
        """Write the queue, if the catalog is available."""
        self._task.stop()

    def take(self, seen: Observation) -> None:
        """Queue an answer; quick enough for the event loop."""
        if not self.keeps or seen.response is None or not seen.request_id:
            return
        request = seen.request if self._settings.keep == "texts" else None
        self.disagreements.take(replace(seen, request=request))
        size = _characters(request)
        waiting = _Waiting(
            seen.request_id,
            seen.deployment.name,
            seen.version,
            datetime.now(UTC),
            seen.response,
            request,
            size,
        )
        with self._lock:
            full = len(self._queue) >= MAX_WAITING or self._characters + size > MAX_WAITING_CHARACTERS
            if not full and len(seen.request_id) <= MAX_ID_CHARACTERS:
                self._queue.append(waiting)
                self._characters += size
                return
        self._drop()

    def flush(self) -> None:
        """Write the queue; blocks."""
        with self._writing:
            while batch := self._batch():
                answers = [answer for waiting in batch if (answer := self._stored(waiting))]
                self._answers.keep(answers)
                self._unsummed += sum(_bytes(answer) for answer in answers)
                self._written(batch, len(answers))

    async def label(self, request_id: str, label: Label, is_correct: IsCorrect) -> LabelledAnswer:
        """Store a label on an answer; waits for an answer that another replica may not have written yet.

        `is_correct` compares the two outside of any transaction, because it may run plugin code.

        Raises:
            Conflict: no answers are stored here.
            NotFound: the answer was never stored, or is not stored any more.
        """
        if not self.keeps:
            raise Conflict(
                "No answers are kept here, so there is nothing to give feedback on. Set feedback.keep to "
                "'answers' or 'texts' and start the server again."
            )
        for attempt in range(3):  # at once; after writing the queue; after other replicas wrote theirs
            if attempt == 1:
                await asyncio.to_thread(self.flush)
            if attempt == 2 and not await asyncio.to_thread(self._alone):
                await asyncio.sleep(2 * WRITE_S)
            if answer := await asyncio.to_thread(self._answers.find, request_id):
                correct = await is_correct(answer, label)
                if labelled := await asyncio.to_thread(self._store_label, answer, label, correct):
                    return labelled
        raise self.unknown(request_id)

    def unknown(self, request_id: str) -> NotFound:
        """Return the error for a request id without a stored answer."""
        return NotFound(
            f"No answer with the request id {request_id!r} is kept. The newest {self._settings.rows:,} "
            f"answers of the last {self._settings.days:g} days are kept, at most "
            f"{self._settings.megabytes:,} MB of them, under the x-hub-request-id of their response; those "
            "of a call with several items under ID.0, ID.1, ..."
        )

    def describe(self) -> dict[str, Any]:
        """Describe the log as JSON values."""
        with self._lock:
            waiting, kept, dropped = len(self._queue), self._kept, self._dropped
        return {
            "keep": self._settings.keep,
            "kept": kept,
            "waiting": waiting,
            "dropped": dropped,
            "error": self._task.error,
        }

    def _store_label(self, answer: StoredAnswer, label: Label, correct: bool) -> LabelledAnswer | None:
        """Write a label; None if the answer was removed or replaced since it was read."""
        compared = json.loads(answer.response)

        def as_compared(response: dict[str, Any], _: Label) -> bool:
            if response != compared:
                raise _Replaced
            return correct

        try:
            return self._answers.label(answer.request_id, label, as_compared)
        except _Replaced:
            return None

    def _work(self) -> None:
        self.flush()
        if time.monotonic() >= self._prune_at:
            sum_up = self._unsummed > self._max_bytes / _SUMS_PER_LIMIT
            max_bytes = self._max_bytes if sum_up else None
            self._answers.prune(self._settings.days, self._settings.rows, max_bytes)
            self._unsummed = 0 if sum_up else self._unsummed
            self._prune_at = time.monotonic() + PRUNE_S

    def _batch(self) -> Sequence[_Waiting]:
        with self._lock:
            return [self._queue[place] for place in range(min(len(self._queue), 500))]

    def _stored(self, waiting: _Waiting) -> StoredAnswer | None:
        try:
            return waiting.answer()
        except Exception as error:  # a plugin's model that cannot be written as JSON
            log_fault(log, f"An answer of {waiting.deployment} cannot be kept", error)
            self._drop()
            return None

    def _drop(self) -> None:
        with self._lock:
            self._dropped += 1
        self._meter.answers("failed", 1)

    def _written(self, batch: Sequence[_Waiting], kept: int) -> None:
        with self._lock:
            for waiting in batch:
                self._queue.popleft()
                self._characters -= waiting.size
            self._kept += kept
        self._meter.answers("ok", kept)


def _bytes(answer: StoredAnswer) -> int:
    return len(answer.response.encode()) + len((answer.request or "").encode())


def _characters(request: BaseModel | None) -> int:
    return sum(len(value) for value in vars(request).values() if isinstance(value, str)) if request else 0
