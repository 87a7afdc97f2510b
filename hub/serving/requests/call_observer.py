"""Reports calls to observers of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import BaseModel

from hub.errors import DeadlineExceeded, HubError
from hub.serving.observation import Observation, Observer
from hub.serving.requests.codec import Request
from hub.serving.routing.router import Admission
from hub.store.records import Version

__all__ = ["CallObserver", "observing"]


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
