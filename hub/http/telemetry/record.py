"""What is known of one call: its deployment and version, its times and its result; never its text."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, MutableMapping
from typing import Any

from hub.errors import HubError
from hub.serving.call_times import CallTimes
from hub.serving.observation import Track
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Resolve, Route, Routes

__all__ = ["CODE", "PROBES", "RECORDS", "TRACE", "CallRecord", "code_of"]

CODE = "hub.code"  # scope key: the code of the error that answers the request
TRACE = "hub.trace"  # scope key: the span context of the request, if it is traced
RECORDS = "hub.calls"  # scope key: the records of the request's calls, which the access log reads

PROBES = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})  # asked all the time: not logged or traced


class CallRecord:
    """The record of a call from its arrival on; metrics and the access log read it at the end.

    `code` is an error's code, or "ok". `began` is a time.perf_counter; `seconds` is set by `end`.
    """

    __slots__ = (
        "admitted_at",
        "answers",
        "began",
        "code",
        "ended_at",
        "route",
        "seconds",
        "times",
        "track",
        "version",
    )

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        scope.setdefault(RECORDS, []).append(self)
        self.began = time.perf_counter()
        self.admitted_at = self.ended_at = self.seconds = 0.0
        self.times: CallTimes | None = None
        self.code = "internal"
        self.route: Route | None = None  # known even if its version could not be loaded
        self.track = Track.STABLE
        self.version = ""
        self.answers: CallAnswers | None = None

    @property
    def task(self) -> str:
        return self.route.task.spec.name if self.route else ""

    @property
    def deployment(self) -> str:
        return self.route.name if self.route else ""

    def resolving(self, resolve: Resolve) -> Resolve:
        """Return `resolve`, which now records the route that it returns."""

        def recorded(routes: Routes) -> Route:
            self.route = resolve(routes)
            return self.route

        return recorded

    def admitted(self, admission: Admission) -> None:
        """Record the version that answers."""
        self.route, self.track, self.version = admission.route, admission.track, str(admission.version.ref)
        self.admitted_at, self.times = time.perf_counter(), admission.times

    def end(self, code: str, answers: CallAnswers | None = None) -> None:
        """Record the result."""
        self.ended_at = time.perf_counter()
        self.seconds = self.ended_at - self.began
        self.code, self.answers = code, answers

    def failed(self, error: BaseException) -> None:
        """Record the error that ended the call; answers that were made before it stay."""
        self.end(code_of(error), self.answers)

    def item_errors(self) -> Mapping[str, int]:
        """Count the requests that failed in a call that was answered, by code."""
        items = self.answers.items if self.answers and self.code == "ok" else ()
        return Counter(item.code for item in items if isinstance(item, HubError))


def code_of(error: BaseException) -> str:
    """Return the code under which a call that ended with an error is counted."""
    if isinstance(error, HubError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal"
