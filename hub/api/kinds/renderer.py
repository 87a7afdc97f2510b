"""Renderers: how the console shows the answers of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT


@dataclass(frozen=True, slots=True)
class RendererSpec(ExtensionSpec):
    """A renderer of the answers of these `tasks`; without any, of all that have no renderer of their own."""

    tasks: tuple[str, ...] = ()


class Renderer(Extension[SettingsT], ABC):
    """Turns an answer into a part of a page."""

    @abstractmethod
    def render(self, request: Mapping[str, Any], response: Mapping[str, Any]) -> str:
        """Return HTML for an answer, without scripts; texts of the request and the answer must be escaped."""
