"""The section `log`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.api import Model


class LogSettings(Model):
    """Settings of a server's log."""

    format: Literal["text", "json"] = Field("text", description="Lines of text, or a JSON object per line.")
    access: Literal["off", "errors", "all"] = Field(
        "off", description="Log a line for each request that failed, or for each request; never their text."
    )
