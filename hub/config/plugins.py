"""The section `plugins`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from hub.api import Model

__all__ = ["PluginSettings", "section_name"]


class PluginSettings(Model):
    """The plugin host; each other key is a section with the settings of the plugin of that name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Any]]

    disabled: tuple[str, ...] = Field((), description="Plugins that are never imported.")
    third_party: bool = Field(
        True, description="Whether plugins are loaded that do not come with the hub; --no-plugins unsets it."
    )
    prefer: tuple[str, ...] = Field(
        (),
        description="Plugins whose readers, metrics and so on are used where another plugin, or the hub "
        "itself, provides the same name; the first that has it counts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _sections(cls, values: Any) -> Any:
        """Name sections alike in hub.toml and in variables; refuse what is neither a key nor a section."""
        if not isinstance(values, Mapping):
            return values
        named: dict[str, Any] = {}
        for key, value in values.items():
            if key in cls.model_fields:
                named[key] = value
            elif not isinstance(value, Mapping):
                raise ValueError(
                    f"{key} is not a setting; it has {', '.join(cls.model_fields)}, and a section "
                    "[plugins.NAME] for each plugin that has settings"
                )
            else:
                named[section_name(key)] = {**named.get(section_name(key), {}), **value}
        return named

    @property
    def sections(self) -> frozenset[str]:
        """The names of the sections, as `section_name` gives them."""
        return frozenset(self.__pydantic_extra__ or {})

    def of(self, name: str) -> dict[str, Any]:
        """Return the section of the plugin with this name; {} if there is none."""
        return dict((self.__pydantic_extra__ or {}).get(section_name(name), {}))


def section_name(name: str) -> str:
    """Return the name of a plugin's section: as in an environment variable, in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())
