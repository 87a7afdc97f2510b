"""One log line for each request, with what is known of its calls; never its path, body or answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from hub.http.auth import CALLER
from hub.http.telemetry.logs import FIELDS
from hub.http.telemetry.record import RECORDS, CallRecord

__all__ = ["CODE", "STATUS", "AccessLog"]

CODE = "hub.code"  # scope key: the code of the error that answers the request
STATUS = "hub.status"  # scope key: the status of the response, once its head is sent
CLIENT_LEFT = 499
PROBES = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})  # asked all the time; not logged

log = logging.getLogger("hub.access")


class AccessLog:
    """Logs requests, or with `errors_only` those that failed.

    The path is logged as the template of its route: a path may be any text.
    """

    def __init__(self, *, errors_only: bool) -> None:
        self._errors_only = errors_only

    def ended(self, scope: Mapping[str, Any], request_id: str, template: str, began: float) -> None:
        """Log a request that has ended; `began` is a time.perf_counter."""
        if template in PROBES:
            return
        calls: list[CallRecord] = scope.get(RECORDS, [])
        status = scope.get(STATUS, CLIENT_LEFT)
        code = next((call.code for call in calls if call.code != "ok"), scope.get(CODE))
        code = code or ("ok" if status < 400 else "error")
        if self._errors_only and code == "ok":
            return
        fields = {
            "request_id": request_id,
            "method": scope["method"],
            "route": template,
            "status": status,
            "code": code,
            **_of_calls(calls),
            "total_ms": _ms(time.perf_counter() - began),
        }
        if caller := scope.get(CALLER):
            fields["key"] = caller.id
        shown = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _HEAD)
        message = f"{scope['method']} {template} {status} {shown}"
        log.info("%s", message, extra={FIELDS: fields})

    def refused(self, code: str) -> None:
        """Log a request that was refused before it was read."""
        log.info("refused code=%s", code, extra={FIELDS: {"code": code}})


_HEAD = frozenset({"method", "route", "status"})


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
