"""The renderer that is built in."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from hub.api import NoOptions, Renderer

__all__ = ["JsonRenderer"]


class JsonRenderer(Renderer[NoOptions]):
    """Shows an answer as JSON."""

    def render(self, request: Mapping[str, Any], response: Mapping[str, Any]) -> str:
        text = json.dumps(response, ensure_ascii=False, indent=2)
        return f"<pre>{html.escape(text)}</pre>"
