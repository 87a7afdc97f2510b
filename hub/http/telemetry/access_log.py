"""One log line for each request, with what is known of its calls; never its path, body or answer."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.http.auth import CALLER
from hub.http.gate import NUMBER, TEMPLATE
from hub.http.telemetry.logs import FIELDS
from hub.http.telemetry.record import CODE, PROBES, RECORDS, TRACE, CallRecord

__all__ = ["AccessLog", "log_refusal"]

CLIENT_LEFT = 499
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # others may be any text
NO_ROUTE = "-"

log = logging.getLogger("hub.access")


class AccessLog:
    """Wraps the application and its gate; logs requests, or with `errors_only` those that failed.

    The path is logged as the template of its route: a path may be any text.
    """

    def __init__(self, app: ASGIApp, *, errors_only: bool) -> None:
        self.app = app
        self._errors_only = errors_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), CLIENT_LEFT

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            status = 500 if status == CLIENT_LEFT else status
            raise
        finally:
            if scope.get(TEMPLATE) not in PROBES:
                self._ended(scope, status, time.perf_counter() - began)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        calls: list[CallRecord] = scope.get(RECORDS, [])
        code = next((call.code for call in calls if call.code != "ok"), scope.get(CODE))
        code = code or ("ok" if status < 400 else "error")
        if self._errors_only and code == "ok":
            return
        fields = {
            "request_id": scope[NUMBER],
            "method": scope["method"] if scope["method"] in METHODS else NO_ROUTE,
            "route": scope.get(TEMPLATE, NO_ROUTE),
            "status": status,
            "code": code,
            **_of_calls(calls),
            "total_ms": _ms(seconds),
        }
        if caller := scope.get(CALLER):
            fields["key"] = caller.id
        if trace := scope.get(TRACE):
            fields["trace_id"] = f"{trace.trace_id:032x}"
        shown = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _HEAD)
        message = f"{fields['method']} {fields['route']} {status} {shown}"
        log.info("%s", message, extra={FIELDS: fields})


_HEAD = frozenset({"method", "route", "status"})


def log_refusal(code: str) -> None:
    """Log a request that was refused before it was read."""
    log.info("refused code=%s", code, extra={FIELDS: {"code": code}})


def _of_calls(calls: list[CallRecord]) -> dict[str, Any]:
    """Describe the calls of a request; several of them, of one request, by their names in a row."""
    taken = [call for call in calls if call.route]
    if not taken:
        return {}
    answers = [call.answers for call in taken if call.answers]
    return {
        "deployment": ",".join(call.deployment for call in taken),
        "version": ",".join(call.version for call in taken),
        "track": ",".join(call.track for call in taken),
        "rows": sum(one.rows for one in answers),
        "queue_ms": _ms(max((one.queue_s for one in answers), default=0.0)),
        "engine_ms": _ms(max((one.engine_s for one in answers), default=0.0)),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
