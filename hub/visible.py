"""Escapes control characters in untrusted text that is shown on a terminal."""

from __future__ import annotations

import logging
import re

__all__ = ["VisibleFilter", "keep_logs_visible", "masked", "visible", "visible_json"]

# C0 but tab and newline, DEL, C1 (ESC and CSI among them), line and paragraph separators, bidirectional
# controls (CVE-2021-42574), and lone surrogates, which no terminal can encode.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Write each control character as its escape, such as `\\x1b`."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def masked(text: str) -> str:
    """Replace each control character by one harmless character, so that offsets stay."""
    return _ACTING.sub("\N{REPLACEMENT CHARACTER}", text)


def visible_json(text: str) -> str:
    """Escape the control characters in a JSON document without changing its value."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def keep_logs_visible() -> None:
    """Escape control characters in all log records of this process."""
    for name in logging.root.manager.loggerDict:
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(VisibleFilter())
    for handler in logging.root.handlers:
        handler.addFilter(VisibleFilter())


class VisibleFilter(logging.Filter):
    """A logging filter that escapes control characters in messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if (shown := visible(message)) != message:
            record.msg, record.args = shown, None
        return True
