"""The format of a process's log: lines of text as they are, or a JSON object per line."""

from __future__ import annotations

import logging
import sys
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from hub.config import LogSettings

__all__ = ["FIELDS", "JsonLines", "configure_logs"]

FIELDS = "hub_fields"  # attribute of a log record: more fields of its JSON object
# What BentoML's filter adds to each record; its request_id is not ours.
_OF_BENTOML = ("levelname_bracketed", "trace_msg", "request_id", "service_name")


class JsonLines(JsonFormatter):
    """Writes a record as a JSON object on one line; `component` names the process, if BentoML does not."""

    def __init__(self, component: str = "") -> None:
        super().__init__(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            reserved_attrs=[*RESERVED_ATTRS, *_OF_BENTOML, FIELDS],
            static_fields={"component": component} if component else None,
            timestamp="time",
        )

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data |= getattr(record, FIELDS, {})
        if component := log_data.get("component"):
            log_data["component"] = component.strip("[]")
        if trace := sys.modules.get("opentelemetry.trace"):
            context = trace.get_current_span().get_span_context()
            if context.is_valid:
                log_data["trace_id"], log_data["span_id"] = (
                    f"{context.trace_id:032x}",
                    f"{context.span_id:016x}",
                )


def configure_logs(log: LogSettings, component: str = "") -> None:
    """Let every handler of this process write in the format of the settings; call it after their setup."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in loggers:
        logger.disabled = False  # BentoML's setup disables the loggers that exist before it
        if set(logger.handlers) & set(logging.root.handlers):
            logger.propagate = False  # it gives uvicorn's logger the handler that the root has
    if log.format == "json":
        for logger in (logging.root, *loggers):
            for handler in logger.handlers:
                handler.setFormatter(JsonLines(component))
