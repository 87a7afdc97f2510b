"""Commands of `hub`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT

if TYPE_CHECKING:
    from typer import Typer


@dataclass(frozen=True, slots=True)
class CommandSpec(ExtensionSpec):
    """A command; its name follows `hub`."""


class Command(Extension[SettingsT], ABC):
    """Adds a command, which is imported when it is called."""

    @abstractmethod
    def app(self) -> Typer:
        """Return the application: with one command it is `hub NAME`, with several `hub NAME COMMAND`.

        An error of `hub.api` that a command raises is printed as one line, with status 1.
        """
