# ruff: noqa: TID253 - imported only if traces are exported, in a process that has BentoML
"""OpenTelemetry traces, exported as BentoML's settings say; imported only if they name an exporter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.propagators import (
    TraceResponsePropagator,
    set_global_response_propagator,
)
from opentelemetry.trace import Span, Status, StatusCode
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.http.gate import NUMBER, TEMPLATE
from hub.http.telemetry.record import PROBES, TRACE, CallRecord

__all__ = ["Tracing"]

# What the middleware takes from the URL, which a caller may fill with any text.
_OF_URL = frozenset({"http.url", "http.target", "url.full", "url.path", "url.query"})


class Tracing:
    """The spans of requests and of the stages of their calls; without texts, paths and queries."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("hub")
        # The caller learns the id of the trace.
        set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call]

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application with a span for each request, within that of its `traceparent` header."""
        traced = OpenTelemetryMiddleware(
            app,
            excluded_urls=BentoMLContainer.tracing_excluded_urls.get(),
            server_request_hook=_describe,
            tracer_provider=self._provider,
            exclude_spans=["receive", "send"],
        )

        async def route(scope: Scope, receive: Receive, send: Send) -> None:
            await (app if scope.get(TEMPLATE) in PROBES else traced)(scope, receive, send)

        return route

    def ended(self, call: CallRecord) -> None:
        """Add the spans of a call that has ended to that of its request."""
        request = trace.get_current_span()
        if not request.is_recording():
            return
        attributes: dict[str, str | int] = {
            "hub.deployment": call.deployment,
            "hub.version": call.version,
            "hub.task": call.task,
            "hub.track": str(call.track),
            "hub.rows": call.answers.rows if call.answers else 0,
            "hub.tokens": call.answers.tokens if call.answers else 0,
        }
        request.set_attributes({**attributes, "hub.code": call.code})
        if call.code != "ok":
            request.set_status(Status(StatusCode.ERROR, call.code))
        to_epoch = time.time_ns() - time.perf_counter_ns()
        for name, began, ended in _stages(call):
            start = int(began * 1e9) + to_epoch
            span = self._tracer.start_span(name, start_time=start, attributes=attributes)
            span.end(int((ended or call.ended_at) * 1e9) + to_epoch)

    def close(self) -> None:
        """Export what is left; blocks."""
        self._provider.shutdown()


def _describe(span: Span, scope: Scope) -> None:
    """Name a span after its route, and put the route where the URL was."""
    template = scope.get(TEMPLATE, "")
    scope[TRACE] = span.get_span_context()
    span.update_name(f"{scope['method']} {template}")
    span.set_attribute("http.route", template)
    span.set_attribute("hub.request_id", scope.get(NUMBER, ""))
    for name in _OF_URL & getattr(span, "attributes", {}).keys():
        span.set_attribute(name, "" if name == "url.query" else template)


def _stages(call: CallRecord) -> Iterator[tuple[str, float, float]]:
    """Yield name, begin and end of the stages that have begun; the end is 0.0 if they had not ended."""
    yield "admission", call.began, call.admitted_at
    times = call.times
    if times is None:
        return
    if times.encode_began:
        yield "encode", times.encode_began, times.encode_ended
    if times.rows and (job := times.rows.job):
        yield "queue", job.queued_at, job.started_at
        if job.started_at:
            yield "engine", job.started_at, job.started_at + job.engine_s if job.engine_s else 0.0
    if times.decode_began:
        yield "decode", times.decode_began, times.decode_ended
