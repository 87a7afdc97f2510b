"""The section `plugins`."""

from __future__ import annotations

from pydantic import Field

from hub.api import Model


class PluginSettings(Model):
    """The plugin host."""

    disabled: tuple[str, ...] = Field((), description="Plugins that are never imported.")
