"""Sources of bases: where `hub base pull` gets a model from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT


@dataclass(frozen=True, slots=True)
class BaseSourceSpec(ExtensionSpec):
    """A source of bases; `schemes` are beginnings of what it pulls, such as "models" for models:bert@3."""

    schemes: tuple[str, ...] = ()


class PullProgress(Protocol):
    """Takes what is being done, how much of it is done, and how much there is."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


class BaseSource(Extension[SettingsT], ABC):
    """Fetches bases."""

    @abstractmethod
    def base_name(self, location: str) -> str:
        """Return the default name of the base at a location, which begins with one of the schemes."""

    def complete(self, location: str) -> str:
        """Return the location in full, as a base records it: with its default version, for example."""
        return location

    @abstractmethod
    def fetch(self, location: str, folder: Path, progress: PullProgress) -> None:
        """Write config, tokenizer and safetensors weights to the empty `folder`; the hub checks them.

        Raises:
            BadRequest, NotFound, SourceUnavailable: the location is not valid, or has no base, or cannot be
                reached.
        """
