"""Engines: what runs rows on a base."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT


class BaseFiles(Protocol):
    """A pulled base: its name, its kind (encoder, decoder or encoder-decoder), and its folder.

    `source` is where it was pulled from, such as "hf:org/model@revision".
    """

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def kind(self) -> Any: ...
    @property
    def path(self) -> Path: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def model_type(self) -> str: ...


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The engine that a server needs: slots for adapters, settings of `serve`, and a folder for its files.

    `threads` is per forward, 0 meaning all cores; `generation` has the limits of generation.
    """

    base: BaseFiles
    slots: int
    device: str = "auto"
    threads: int = 0
    cache: Path | None = None
    generation: Any = None


@dataclass(frozen=True, slots=True)
class EngineSpec(ExtensionSpec):
    """An engine; its name is a value of the setting `serve.engine`.

    `bases` are patterns of sources of bases, such as "ngrams:*", that it runs whatever `serve.engine` says.
    """

    bases: tuple[str, ...] = ()


class EngineBuilder(Extension[SettingsT], ABC):
    """Builds one engine for each resident base."""

    @abstractmethod
    def build(self, request: EngineRequest) -> Any:
        """Return an object with the protocol `hub.engine.protocol.Engine`.

        Raises:
            BadConfig: it cannot run this base.
            EngineFailed: the base could not be loaded.
        """
