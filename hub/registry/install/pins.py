"""Which libraries a plugin may not change: those of the hub, and what other plugins need as it is."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import Distribution, distributions

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from hub.registry.discovery import BUILT_IN, CORE, GROUPS

__all__ = ["Environment", "is_plugin"]

_TOOLS = frozenset({"dev"})  # the extra for working on the hub itself


def is_plugin(distribution: Distribution) -> bool:
    """Return whether it is a plugin that is not part of the hub."""
    points = distribution.entry_points
    return any(points.select(group=group) for group in GROUPS) and (
        canonicalize_name(distribution.name or "") not in BUILT_IN
    )


@dataclass(frozen=True)
class Environment:
    """The installed distributions by canonical name; imports none of them."""

    installed: Mapping[str, Distribution]
    versions: Mapping[str, str]
    # importlib.metadata parses the whole file of a distribution anew for each thing it is asked.
    _required: dict[str, list[Requirement]] = field(default_factory=dict, init=False, compare=False)

    @classmethod
    def read(cls) -> Environment:
        importlib.invalidate_caches()
        found: dict[str, Distribution] = {}
        versions: dict[str, str] = {}
        for item in distributions():  # of two on sys.path, the first counts
            metadata = item.metadata
            if not {"Name", "Version"} <= {*metadata}:
                continue
            name, version = metadata["Name"], metadata["Version"]
            if name and version and (known := canonicalize_name(name)) not in found:
                found[known], versions[known] = item, version
        return cls(found, versions)

    def version(self, name: str) -> str:
        """Return the installed version, or ""."""
        return self.versions.get(name, "")

    def plugins(self) -> list[str]:
        """Return the third-party plugins by name."""
        return sorted(name for name, one in self.installed.items() if is_plugin(one))

    @cached_property
    def pinned(self) -> dict[str, str]:
        """Return what the hub runs on, with versions: itself and all that it needs, also by its extras."""
        core = self.installed.get(CORE)
        extras = set(core.metadata.get_all("Provides-Extra") or ()) - _TOOLS if core else set()
        roots = [(name, extras if name == CORE else set()) for name in BUILT_IN]
        return {name: self.version(name) for name in self._needed(roots)}

    def own_libraries(self, plugins: Collection[str]) -> set[str]:
        """Return the installed libraries that these plugins need and the hub does not, and the plugins."""
        return self._needed([(name, set()) for name in plugins]) - self.pinned.keys()

    def constraints(self, changed: Collection[str]) -> list[str]:
        """Return the lines of a constraints file: what may not change when `changed` is installed.

        The versions of pinned libraries, and what the other plugins and their libraries require.
        """
        pinned = self.pinned
        lines = [f"{name}=={version}" for name, version in sorted(pinned.items())]
        others = self.own_libraries([name for name in self.plugins() if name not in changed])
        for name in sorted(others - set(changed)):
            for required in self.requirements(name):
                wanted = canonicalize_name(required.name)
                if wanted not in pinned and required.specifier:
                    lines.append(f"{wanted}{required.specifier}")
        return lines

    def broken_by(self, versions: Mapping[str, str]) -> list[str]:
        """Return requirements that hold now and not with these versions, as "name 1.0 needs lib<2"."""
        broken = []
        for name in sorted(self.installed.keys() - versions.keys()):
            for required in self.requirements(name):
                wanted, specifier = canonicalize_name(required.name), required.specifier
                if wanted not in versions or specifier.contains(versions[wanted], prereleases=True):
                    continue
                if specifier.contains(self.version(wanted) or "0", prereleases=True):
                    broken.append(f"{name} {self.version(name)} needs {wanted}{specifier}")
        return broken

    def requirements(self, name: str, extras: Collection[str] = ()) -> Iterator[Requirement]:
        """Yield what an installed distribution requires on this machine, also for these extras of its own."""
        for required in self._requirements(name):
            marker = required.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                yield required

    def _requirements(self, name: str) -> list[Requirement]:
        """Return all that an installed distribution requires, on any machine and for any extra."""
        if name not in self._required:
            self._required[name] = parsed = []
            for line in self.installed[name].requires or ():
                with suppress(InvalidRequirement):  # of an old release; pip skips it as well
                    parsed.append(Requirement(line))
        return self._required[name]

    def _needed(self, roots: list[tuple[str, set[str]]]) -> set[str]:
        """Return the installed distributions among the roots and all that they need, with their extras."""
        seen: set[tuple[str, str]] = set()
        todo = [(name, extras) for name, extras in roots if name in self.installed]
        found: set[str] = set()
        while todo:
            name, extras = todo.pop()
            fresh = {(name, extra) for extra in ("", *extras)} - seen
            if not fresh:
                continue
            seen |= fresh
            found.add(name)
            for required in self.requirements(name, extras):
                wanted = canonicalize_name(required.name)
                if wanted in self.installed:
                    todo.append((wanted, set(required.extras)))
        return found
