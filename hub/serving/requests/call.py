"""A call in the pipeline: the version that answers it, and the one that runs beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import BaseModel

from hub.api import AnswerStream, FinishReason, Output, Tokenizer
from hub.engine.protocol import EngineRow
from hub.engine.shares import Flow
from hub.errors import DeadlineExceeded, HubError
from hub.serving.batching.fair_queue import Job
from hub.serving.observation import Observation, Observer
from hub.serving.plugins.own_copies import own_info
from hub.serving.plugins.threads import Stage, TaskThreads
from hub.serving.requests.codec import (
    Answered,
    Encoded,
    Outcome,
    Request,
    decode,
    encode,
    open_stream,
    own_requests,
)
from hub.serving.requests.shared_tokens import SharedTokens
from hub.serving.routing.router import Admission, Held
from hub.store.records import Version

__all__ = ["Call", "CallAnswers", "CallObserver", "Side", "Usage", "answers_of", "observing"]


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call that generated text, and why the text ended (None where a row failed).

    `cached_tokens` of the prompt were not computed again.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None


@dataclass(frozen=True, slots=True)
class CallAnswers:
    """The outcome of each request, in order, and the seconds spent.

    `bodies` has the JSON of each answer, and b"" for an error. `rows` and `tokens` are those of the model's
    input; `usage` that of generated text.
    """

    items: Sequence[Outcome]
    bodies: Sequence[bytes]
    queue_s: float = 0.0
    engine_s: float = 0.0
    usage: Usage | None = None
    rows: int = 0
    tokens: int = 0

    @property
    def any_answered(self) -> bool:
        """True unless every request failed."""
        return any(isinstance(item, BaseModel) for item in self.items)

    def only(self) -> bytes:
        """Return the JSON answer of a call with one request, or raise its error."""
        (item,), (body,) = self.items, self.bodies
        if isinstance(item, HubError):
            raise item
        return body


def answers_of(answered: Sequence[Answered], job: Job | None) -> CallAnswers:
    """Return the outcomes of a call with what its job cost; one without rows had no job."""
    items, bodies = [one.outcome for one in answered], [one.body for one in answered]
    if job is None:
        return CallAnswers(items, bodies)
    tokens = sum(len(row.row.input_ids) for row in job.rows)
    usage = _usage_of(job.outcomes)
    return CallAnswers(items, bodies, job.queue_s, job.engine_s, usage, len(job.rows), tokens)


def _usage_of(outcomes: Sequence[Output | HubError | None]) -> Usage | None:
    """Add up the generated tokens of a call; None if it generated none."""
    outputs = [outcome for outcome in outcomes if isinstance(outcome, Output) and outcome.tokens]
    if not outputs:
        return None
    reasons = [output.finish_reason for output in outputs]
    return Usage(
        sum(len(output.row.input_ids) for output in outputs),
        sum(output.cached_tokens for output in outputs),
        sum(output.tokens for output in outputs),
        FinishReason.LENGTH if FinishReason.LENGTH in reasons else reasons[0],
    )


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


class CallObserver:
    """Reports the requests of one call to an observer, once; runs on the event loop."""

    __slots__ = ("_admission", "_observer", "_reported", "_request_id", "_requests", "_seconds")

    def __init__(
        self,
        observer: Observer,
        admission: Admission,
        requests: Sequence[BaseModel | HubError],
        request_id: str,
    ) -> None:
        self._observer = observer
        self._admission = admission
        self._requests = requests
        self._request_id = request_id
        self._seconds = 0.0
        self._reported = False

    def ended(self) -> None:
        """Record that the call has its answer now; the report may come later."""
        self._seconds = time.perf_counter() - self._admission.began

    def answered(
        self,
        items: Sequence[BaseModel | HubError],
        beside: Version | None = None,
        agreed: Sequence[bool | None] = (),
    ) -> None:
        """Report the outcomes of a call, and whether the second version agreed on each."""
        self._report(
            ["" if isinstance(item, BaseModel) else item.code for item in items], items, beside, agreed
        )

    def failed(self, code: str) -> None:
        """Report a call that failed as a whole."""
        self.ended()
        self._report([code] * len(self._requests))

    def _report(
        self,
        codes: Sequence[str],
        items: Sequence[BaseModel | HubError] = (),
        beside: Version | None = None,
        agreed: Sequence[bool | None] = (),
    ) -> None:
        if self._reported:
            return
        self._reported = True
        admission = self._admission
        alone = len(codes) == 1 or not self._request_id
        for place, (code, request) in enumerate(zip(codes, self._requests, strict=True)):
            item = items[place] if items else None
            self._observer.observe(
                Observation(
                    deployment=admission.route.deployment,
                    track=admission.track,
                    version=admission.version,
                    request_id=self._request_id if alone else f"{self._request_id}.{place}",
                    seconds=self._seconds,
                    error=code,
                    request=request if isinstance(request, BaseModel) else None,
                    response=item if isinstance(item, BaseModel) else None,
                    beside=beside,
                    agreed=agreed[place] if agreed else None,
                )
            )


@contextmanager
def observing(
    observer: Observer | None,
    admission: Admission,
    requests: Sequence[Request],
    request_id: str,
    *,
    every: bool = False,
) -> Iterator[CallObserver | None]:
    """Report a call that fails in the block; yields what reports its answers, None if nobody wants them.

    A version that the caller chose is observed only with `every`: it would distort a trial.
    """
    wanted = every or admission.track.on_trial
    if observer is None or not wanted or not observer.wants(admission.route.deployment):
        yield None
        return
    call_observer = CallObserver(observer, admission, requests, request_id)
    try:
        yield call_observer
    except HubError as error:
        call_observer.failed(error.code)
        raise
    except asyncio.CancelledError as error:
        # `Deadline` passes the error to Task.cancel, which puts it into the args of CancelledError.
        late = any(isinstance(one, DeadlineExceeded) and not one.by_client for one in error.args)
        call_observer.failed(DeadlineExceeded.code if late else "cancelled")
        raise
