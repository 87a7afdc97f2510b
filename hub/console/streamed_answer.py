"""An answer that the page shows while it is generated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic_core import from_json

from hub.console.events import html_event
from hub.console.render import render
from hub.errors import HubError
from hub.http.stream import EVENTS
from hub.serving.requests.call_answers import CallAnswers

__all__ = ["HtmlEvents"]

EVERY_S = 0.1  # each event has the whole text so far
_NOTHING = b":\n\n"


class HtmlEvents:
    """Writes the `Events` of a stream as HTML: the text so far, then the answer or the error as `shown`."""

    media_type: ClassVar[str] = EVENTS

    def __init__(self, shown: Callable[[Any, HubError | None], str]) -> None:
        self._shown = shown
        self._text = ""
        self._due = 0.0  # monotonic time of the next event

    def start(self) -> bytes:
        return _NOTHING

    def text(self, part: str) -> bytes:
        self._text += part
        now = time.monotonic()
        if now < self._due:
            return _NOTHING
        self._due = now + EVERY_S
        return html_event(render("partial_text.html", text=self._text))

    def end(self, answers: CallAnswers) -> bytes:
        return html_event(self._shown(from_json(answers.only()), None))

    def error(self, error: HubError) -> bytes:
        return html_event(self._shown(None, error))
