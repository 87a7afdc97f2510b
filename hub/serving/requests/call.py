"""A call in the pipeline: the version that answers it, and the one that runs beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from hub.api import AnswerStream, Tokenizer
from hub.engine.protocol import EngineRow
from hub.engine.shares import Flow
from hub.errors import HubError
from hub.serving.batching.fair_queue import Job
from hub.serving.plugins.own_copies import own_info
from hub.serving.plugins.stages import Stage
from hub.serving.plugins.threads import TaskThreads
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.call_observer import CallObserver
from hub.serving.requests.codec import (
    Answered,
    Encoded,
    Request,
    decode,
    encode,
    open_stream,
    own_requests,
)
from hub.serving.requests.shared_tokens import SharedTokens
from hub.serving.routing.router import Admission, Held

__all__ = ["Call", "Side"]


class Side:
    """A version that processes a call: its rows, and the job that runs them.

    `requests` and `info` are those that the plugin is given, from encoding on.
    """

    __slots__ = ("call", "done", "encoded", "held", "info", "job", "requests", "tokenizer")

    def __init__(self, call: Call, held: Held) -> None:
        self.call = call
        self.held = held
        self.info = held.target.info
        self.requests: Sequence[Request] = ()
        self.encoded: Sequence[Encoded] = ()
        self.job: Job | None = None
        self.done = False
        self.tokenizer: Tokenizer | None = None

    def encode(self, *, optional: bool = False) -> Stage:
        """Return the encode stage; its result is the rows of all requests, none if the call is cancelled."""
        return Stage("encode", self._rows, optional, prepare=self._take_tokenizer)

    def _take_tokenizer(self) -> None:
        self.tokenizer = self.held.base_worker.tokenizers.take()

    def _rows(self) -> list[EngineRow]:
        if self is not self.call.main:
            return self._encoded_rows()
        times = self.call.times
        times.encode_began = time.perf_counter()
        try:
            return self._encoded_rows()
        finally:
            times.encode_ended = time.perf_counter()

    def _encoded_rows(self) -> list[EngineRow]:
        call, tokenizer = self.call, self.tokenizer
        assert tokenizer is not None, "the stage was prepared"
        used = tokenizer
        if call.tokens:
            used = call.tokens.tokenizer(self.held.base_worker.base.fingerprint, tokenizer)
        try:
            if call.cancelled:
                return []
            faults = call.threads.faults
            self.info = own_info(self.info)
            self.requests = own_requests(call.task, faults, call.requests)
            self.encoded = encode(call.task, faults, self.held, self.requests, used, self.info)
        finally:
            if not self.held.base_worker.tokenizers.give_back(tokenizer):
                call.threads.faults.count("encode", "changed_tokenizer")
        if call.on_text and self is call.main:
            self._open_stream()
        return [row for item in self.encoded if not isinstance(item, HubError) for row in item]

    def _open_stream(self) -> None:
        call = self.call
        (request,), (encoded,) = self.requests, self.encoded
        stream = open_stream(call.task, call.threads.faults, self.info, request, encoded)
        if isinstance(stream, HubError):
            self.encoded = [stream]
        else:
            call.stream = stream

    def items(self) -> list[Answered]:
        """Decode the outcomes of the rows."""
        call = self.call
        if self is call.main:
            call.times.decode_began = time.perf_counter()
        outcomes = self.job.outcomes if self.job else ()
        answered = decode(call.task, call.threads.faults, self.info, self.requests, self.encoded, outcomes)
        if self is call.main:
            call.times.decode_ended = time.perf_counter()
        return answered

    def cancel(self) -> None:
        if self.job:
            self.held.base_worker.batcher.cancel(self.job)


class Call:
    """The state of a call, which its stages pass on.

    `beside` does not change once a row of the call is queued. A `trial` is admitted while its task is
    suspended.
    """

    __slots__ = (
        "account",
        "answers",
        "beside",
        "call_observer",
        "cancelled",
        "flow",
        "main",
        "on_text",
        "requests",
        "stream",
        "task",
        "threads",
        "times",
        "tokens",
        "trial",
        "waiter",
    )

    def __init__(
        self,
        admission: Admission,
        requests: Sequence[Request],
        waiter: asyncio.Future[CallAnswers],
        call_observer: CallObserver | None,
        threads: TaskThreads,
        flow: Flow,
        trial: bool = False,
    ) -> None:
        main, beside = admission.take()
        self.task = admission.route.task
        self.account = admission.account
        self.times = admission.times
        self.flow = flow
        self.threads = threads
        self.trial = trial
        self.requests = requests
        self.waiter = waiter
        self.call_observer = call_observer
        self.on_text: Callable[[str], None] | None = None  # for a streamed call, which has one request
        self.stream: AnswerStream | None = None
        self.tokens: SharedTokens | None = None  # of a call that answers a request together with others
        self.main = self.times.rows = Side(self, main)
        self.beside = Side(self, beside) if beside else None
        self.answers: CallAnswers | HubError | None = None
        self.cancelled = False

    def wake(self) -> None:
        """Give the answers to the caller; runs on the event loop."""
        if self.waiter.done():
            return
        if self.call_observer:
            self.call_observer.ended()
        if isinstance(self.answers, HubError):
            self.waiter.set_exception(self.answers)
        elif self.answers is not None:
            self.waiter.set_result(self.answers)

    def cancel(self) -> None:
        """Cancel the call in any stage."""
        self.cancelled = True
        self.main.cancel()
        if beside := self.beside:
            beside.cancel()

    def drop_beside(self) -> None:
        """Do not run the second version."""
        beside, self.beside = self.beside, None
        if beside:
            beside.held.lease.release()
