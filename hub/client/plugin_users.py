"""Which deployments and stored versions need a plugin; found without importing third-party code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hub.config import Settings
from hub.registry.discovery import PluginStatus
from hub.registry.host import Registry
from hub.registry.kinds import ENGINES
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["PluginUsers", "users_of"]


@dataclass(frozen=True, slots=True)
class PluginUsers:
    """Deployments with those of their versions that need a plugin, and all stored versions that do.

    `reasons` has, by version, what of the plugin is needed: its task, or the engine that runs its base.
    """

    deployments: Mapping[str, Sequence[str]]
    reasons: Mapping[str, str]

    @property
    def versions(self) -> list[str]:
        """The stored versions that need the plugin."""
        return list(self.reasons)

    def described(self) -> str:
        """Return the deployments with their versions, and the engine of those that need one, in a line."""
        shown = []
        for name, refs in self.deployments.items():
            engines = dict.fromkeys(why for ref in refs if (why := self.reasons[ref]) != _TASK)
            shown.append(f"{name} ({', '.join([*refs, *engines])})")
        return ", ".join(shown)


_TASK = "its task"


def users_of(distribution: str, settings: Settings, store: Store) -> PluginUsers:
    """Return what needs a distribution: for its task, or for the engine that its base runs on.

    A version needs the plugin that its manifest records. If it records none, it needs the one that has its
    task; a plugin that was never loaded may have any task that no other plugin has.
    """
    versions = store.versions()
    if not versions:
        return PluginUsers({}, {})
    installed = Registry.listed(settings)
    needs_task = _task_test(distribution, installed)
    engine_of = _engine_finder(distribution, installed, settings.serve.engine)
    sources = {base.fingerprint: base.source for base in store.bases.list()}
    reasons = {}
    for version in versions:
        if needs_task(version):
            reasons[str(version.ref)] = _TASK
        elif engine := engine_of(_source(version, sources)):
            reasons[str(version.ref)] = f"its base runs on the engine {engine}"
    found = {
        one.name: [str(version.ref) for version in one.versions if str(version.ref) in reasons]
        for one in store.deployments()
    }
    return PluginUsers({name: refs for name, refs in found.items() if refs}, reasons)


def _source(version: Version, sources: Mapping[str, str]) -> str:
    """Return the source of a version's base: as it was pulled here, else as it was where it was trained."""
    base = version.manifest.serving.base
    return sources.get(base.fingerprint, base.source)


def _task_test(distribution: str, installed: Sequence[PluginStatus]) -> Callable[[Version], bool]:
    mine = [plugin for plugin in installed if plugin.distribution == distribution]
    own = {task for plugin in mine for task in plugin.tasks}
    elsewhere = {task for plugin in installed if plugin.distribution != distribution for task in plugin.tasks}
    unknown = any(not plugin.tasks and not plugin.provides for plugin in mine)

    def needs(version: Version) -> bool:
        manifest = version.manifest
        if manifest.plugin is not None:
            return manifest.plugin.distribution == distribution
        task = manifest.serving.task
        return task not in elsewhere and (task in own or unknown)

    return needs


def _engine_finder(
    distribution: str, installed: Sequence[PluginStatus], default: str
) -> Callable[[str], str]:
    """Return a function from the source of a base to the engine of a distribution that runs it, or "".

    As `hub.registry.opening.engine_for`, which has the plugins themselves: an engine made for the source of
    the base comes before the one that `serve.engine` names.
    """
    made = [(pattern, plugin) for plugin in installed for pattern in plugin.bases]
    word = f"{ENGINES.word} "
    named = [plugin for plugin in installed if f"{word}{default}" in plugin.provides]

    def engine_of(source: str) -> str:
        for pattern, plugin in made:
            if fnmatchcase(source, pattern):
                engines = [label.removeprefix(word) for label in plugin.provides if label.startswith(word)]
                return ", ".join(engines) if plugin.distribution == distribution else ""
        return default if any(plugin.distribution == distribution for plugin in named) else ""

    return engine_of
