"""What all kinds share: a spec that names a class, and the class that is built from a plugin's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

SettingsT = TypeVar("SettingsT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ExtensionSpec:
    """What a plugin adds: a name as in `check_name`, one sentence, and the class as "package.module:Name".

    The class is imported when it is first used.
    """

    name: str
    summary: str
    factory: str


class Extension(Generic[SettingsT]):
    """Base of the classes that specs name; one instance serves all calls, which may come from any thread.

    `settings` is the plugin's settings model, filled from hub.toml and the environment; an empty one for a
    plugin without settings.
    """

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    def unload(self) -> None:
        """Release what it holds, such as files and connections; once, when a server ends."""
