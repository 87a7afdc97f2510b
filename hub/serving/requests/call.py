"""A call on its way through the pipeline: the version that answers it, and the one that runs beside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from hub.api import FinishReason, Output, Tokenizer
from hub.engine.protocol import EngineRow
from hub.errors import HubError
from hub.serving.batching.fair_queue import Job
from hub.serving.observation import Observation, Observer
from hub.serving.plugins.threads import Stage, TaskThreads
from hub.serving.requests.codec import Answered, Encoded, Outcome, Request, decode, encode
from hub.serving.routing.router import Admission, Held
from hub.store.records import Version

__all__ = ["Call", "CallAnswers", "CallObserver", "Side", "Usage", "usage_of"]


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a call that generated text, and why the text ended (None where a row failed)."""

    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None


@dataclass(frozen=True, slots=True)
class CallAnswers:
    """What became of each request, in order, and where the time went.

    `bodies` has the JSON of each answer, and b"" for an error.
    """

    items: Sequence[Outcome]
    bodies: Sequence[bytes]
    queue_s: float = 0.0
    engine_s: float = 0.0
    usage: Usage | None = None  # of text that was generated

    @property
    def any_answered(self) -> bool:
        """True unless every request became an error."""
        return any(isinstance(item, BaseModel) for item in self.items)

    def only(self) -> bytes:
        """Return the answer of a call that held one request as JSON, or raise its error."""
        (item,), (body,) = self.items, self.bodies
        if isinstance(item, HubError):
            raise item
        return body


def usage_of(outcomes: Sequence[Output | HubError | None]) -> Usage | None:
    """Add up the generated tokens of a call; None if it generated none."""
    outputs = [outcome for outcome in outcomes if isinstance(outcome, Output) and outcome.tokens]
    if not outputs:
        return None
    reasons = [output.finish_reason for output in outputs]
    return Usage(
        sum(len(output.row.input_ids) for output in outputs),
        sum(output.tokens for output in outputs),
        FinishReason.LENGTH if FinishReason.LENGTH in reasons else reasons[0],
    )


class Side:
    """A version at work on a call: its rows, and the job that runs them."""

    __slots__ = ("call", "done", "encoded", "held", "job", "tokenizer")

    def __init__(self, call: Call, held: Held) -> None:
        self.call = call
        self.held = held
        self.encoded: Sequence[Encoded] = ()
        self.job: Job | None = None
        self.done = False
        self.tokenizer: Tokenizer | None = None

    def encode(self, *, optional: bool = False) -> Stage:
        """Return the stage that encodes: the rows of all requests; none if the call was cancelled before."""
        return Stage("encode", self._rows, optional, prepare=self._take_tokenizer)

    def _take_tokenizer(self) -> None:
        self.tokenizer = self.held.base_worker.tokenizers.take()

    def _rows(self) -> list[EngineRow]:
        call, tokenizer = self.call, self.tokenizer
        assert tokenizer is not None, "the stage was prepared"
        try:
            if call.cancelled:
                return []
            self.encoded = encode(call.task, call.threads.plugin, self.held, call.requests, tokenizer)
        finally:
            self.held.base_worker.tokenizers.give_back(tokenizer)
        return [row for item in self.encoded if not isinstance(item, HubError) for row in item]

    def items(self) -> list[Answered]:
        """Decode what became of the rows."""
        call = self.call
        outcomes = self.job.outcomes if self.job else ()
        return decode(call.task, call.threads.plugin, self.held, call.requests, self.encoded, outcomes)

    def cancel(self) -> None:
        if self.job:
            self.held.base_worker.batcher.cancel(self.job)


class Call:
    """A call on its way; what a stage adds, the next one reads.

    `beside` is not changed any more once a row of the call is queued. A `trial` is let in while its task is
    suspended.
    """

    __slots__ = (
        "answers",
        "beside",
        "call_observer",
        "cancelled",
        "main",
        "on_text",
        "requests",
        "task",
        "threads",
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
        trial: bool = False,
    ) -> None:
        main, beside = admission.take()
        self.task = admission.route.task
        self.threads = threads
        self.trial = trial
        self.requests = requests
        self.waiter = waiter
        self.call_observer = call_observer
        self.on_text: Callable[[str], None] | None = None
        self.main = Side(self, main)
        self.beside = Side(self, beside) if beside else None
        self.answers: CallAnswers | HubError | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Give the call up, whatever stage it is in."""
        self.cancelled = True
        self.main.cancel()
        if beside := self.beside:
            beside.cancel()

    def go_alone(self) -> None:
        """Run nothing beside."""
        beside, self.beside = self.beside, None
        if beside:
            beside.held.lease.release()


class CallObserver:
    """Follows one call on the event loop. What is told a second time is not passed on."""

    __slots__ = ("_admission", "_observer", "_request_id", "_requests", "_seconds", "_told")

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
        self._told = False

    def ended(self) -> None:
        """Note that the call has its answer now, whenever that is told."""
        self._seconds = time.perf_counter() - self._admission.began

    def answered(
        self,
        items: Sequence[BaseModel | HubError],
        beside: Version | None = None,
        agreed: Sequence[bool | None] = (),
    ) -> None:
        """Tell of a call whose requests became `items`, and whether what ran beside agreed on each."""
        self._tell(
            ["" if isinstance(item, BaseModel) else item.code for item in items], items, beside, agreed
        )

    def failed(self, code: str) -> None:
        """Tell of a call that failed as a whole."""
        self.ended()
        self._tell([code] * len(self._requests))

    def _tell(
        self,
        codes: Sequence[str],
        items: Sequence[BaseModel | HubError] = (),
        beside: Version | None = None,
        agreed: Sequence[bool | None] = (),
    ) -> None:
        if self._told:
            return
        self._told = True
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
