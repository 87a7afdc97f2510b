"""The section `plugins`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import ConfigDict, Field, field_validator, model_validator

from hub.api import Model

__all__ = ["AllowedPlugin", "PluginSettings", "section_name"]

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AllowedPlugin:
    """An entry of `plugins.allow`: the canonical name of a distribution, versions and hashes of wheels."""

    name: str
    versions: SpecifierSet = field(default_factory=SpecifierSet)
    sha256: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> AllowedPlugin:
        """Parse "name", "name==1.2" or "name==1.2 --hash=sha256:<hex>", as in a requirements file.

        Raises:
            ValueError: it is written in another way.
        """
        words = text.split()
        hashes = [_HASH.fullmatch(word) for word in words if word.startswith("--hash")]
        try:
            required = Requirement(" ".join(word for word in words if not word.startswith("--hash")))
        except InvalidRequirement:
            required = None
        if required is None or required.url or required.marker or required.extras or None in hashes:
            raise ValueError(
                f"{text[:120]!r} is not NAME, NAME==VERSION or NAME==VERSION --hash=sha256:<64 hex digits>"
            )
        found = frozenset(match[1] for match in hashes if match)
        return cls(canonicalize_name(required.name), required.specifier, found)


class PluginSettings(Model):
    """The plugin host; each other key is a section with the settings of the plugin of that name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Any]]

    disabled: tuple[str, ...] = Field((), description="Plugins that are never imported.")
    prefer: tuple[str, ...] = Field(
        (),
        description="Plugins whose readers, metrics and so on are used where another plugin, or the hub "
        "itself, provides the same name; the first that has it counts.",
    )
    policy: Literal["all", "allowlist", "none"] = Field(
        "all",
        description="Which third-party plugins are installed and loaded: all, those in allow, or none.",
    )
    allow: tuple[str, ...] = Field(
        (),
        description="Distributions of plugins that the policy allowlist permits: NAME, NAME==VERSION, or "
        "`NAME==VERSION --hash=sha256:<hex>` with the hash of the wheel, as in plugins.lock.",
    )
    required: tuple[str, ...] = Field(
        (), description="Plugins or distributions without which the server is not ready."
    )
    wheels_only: bool = Field(
        False, description="Whether plugins and their dependencies are installed and loaded from wheels only."
    )
    locked: bool = Field(
        False, description="Whether a plugin is loaded only if its files are those that plugins.lock records."
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

    @field_validator("allow")
    @classmethod
    def _entries(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            AllowedPlugin.parse(entry)
        return entries

    def allowed(self, distribution: str) -> list[AllowedPlugin]:
        """Return the entries of `plugins.allow` for a distribution, by its canonical name."""
        entries = [AllowedPlugin.parse(entry) for entry in self.allow]
        return [entry for entry in entries if entry.name == canonicalize_name(distribution)]

    def of(self, name: str) -> dict[str, Any]:
        """Return the section of the plugin with this name; {} if there is none."""
        return dict((self.__pydantic_extra__ or {}).get(section_name(name), {}))


def section_name(name: str) -> str:
    """Return the name of a plugin's section: as in an environment variable, in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())
