"""The plugin host: loads each installed plugin in isolation, so a failure affects no other plugin."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from typing import Any

import pluggy

from hub.api import TaskHooks, TaskSpec
from hub.config import Settings
from hub.contract import PluginRef, contract_of, required_fields
from hub.errors import BadPlugin, NotFound, PluginConflict
from hub.registry.discovery import FoundPlugin, PluginStatus, find_plugins
from hub.registry.loaded import LoadedTask, check_spec, describe_failure, load_task
from hub.registry.screening import screen
from hub.registry.state import disabled_plugins

__all__ = ["LoadedTask", "PluginStatus", "Registry"]

HOOK = "hub_tasks"


@dataclass(frozen=True, slots=True)
class _Plugin:
    status: PluginStatus
    specs: tuple[TaskSpec, ...] = ()


class Registry:
    """The tasks that installed plugins provide.

    Loading imports only the small module behind each entry point. A task's own modules are imported by the
    first call of `task`. Thread-safe.
    """

    def __init__(self, plugins: Iterable[_Plugin]) -> None:
        self._plugins = tuple(plugins)
        self._claims: dict[str, list[tuple[PluginStatus, TaskSpec]]] = {}
        for plugin in self._plugins:
            for spec in plugin.specs:
                self._claims.setdefault(spec.name, []).append((plugin.status, spec))
        self._lock = RLock()
        self._loaded: dict[str, LoadedTask] = {}
        self._failures: dict[str, str] = {}

    @classmethod
    def load(cls, disabled: Collection[str] = ()) -> Registry:
        """Find and load all plugins except those in `disabled` (names, ids or distributions).

        A plugin that ends the process when imported ends this one: see `screened`.
        """
        return cls._of(find_plugins(), disabled, {})

    @classmethod
    def screened(cls, disabled: Collection[str], home: Path | None) -> Registry:
        """As `load`, but first import each plugin in a subprocess and skip those that end or hang it.

        Results are cached in `home`.
        """
        found = find_plugins()
        return cls._of(found, disabled, screen((one for one in found if not one.is_in(disabled)), home))

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """Load as `screened`, without the plugins disabled in the settings or by `hub plugins disable`."""
        disabled = disabled_plugins(settings.home) | set(settings.plugins.disabled)
        return cls.screened(disabled, settings.home)

    @classmethod
    def _of(
        cls, found: Sequence[FoundPlugin], disabled: Collection[str], faults: Mapping[str, str]
    ) -> Registry:
        manager = pluggy.PluginManager("hub")
        manager.add_hookspecs(TaskHooks)
        for plugin in found:
            if plugin.is_in(disabled):
                manager.set_blocked(plugin.id)
        return cls([_load(manager, plugin, faults.get(plugin.distribution, "")) for plugin in found])

    def plugins(self) -> list[PluginStatus]:
        """List every installed plugin with its state; imports no task."""
        return [self._status(plugin) for plugin in self._plugins]

    def tasks(self) -> dict[str, TaskSpec]:
        """Return the specs of all usable tasks by name; imports no task."""
        return {
            name: claims[0][1]
            for name, claims in sorted(self._claims.items())
            if len(claims) == 1 and name not in self._failures
        }

    def spec(self, name: str) -> TaskSpec:
        """Return one task's spec; imports no task.

        Raises:
            NotFound: no working plugin provides it.
            PluginConflict: several plugins do.
            BadPlugin: its classes were imported and are not usable.
        """
        claims = self._claims.get(name, [])
        if not claims:
            raise NotFound.of("task", name, self.tasks(), self._hint(name))
        if len(claims) > 1:
            raise PluginConflict(self._conflict(name))
        if name in self._failures:
            raise BadPlugin(self._failures[name])
        return claims[0][1]

    def task(self, name: str) -> LoadedTask:
        """Return one task, importing its modules the first time.

        Raises:
            NotFound, PluginConflict: as `spec`.
            BadPlugin: its modules cannot be imported or its classes are not usable; from then on its
                plugin is listed as broken.
        """
        if (loaded := self._loaded.get(name)) is not None:
            return loaded
        with self._lock:
            if (loaded := self._loaded.get(name)) is not None:
                return loaded
            spec = self.spec(name)
            try:
                return self._loaded.setdefault(name, load_task(spec))
            except BadPlugin as error:
                self._failures[name] = str(error)
                raise

    def plugin_of(self, name: str) -> PluginRef:
        """Return the plugin that provides a task, with the fingerprint that manifests record.

        Raises:
            NotFound, PluginConflict, BadPlugin: as `task`.
        """
        loaded = self.task(name)
        status = self._claims[name][0][0]
        return PluginRef(
            distribution=status.distribution,
            version=status.version,
            fingerprint=contract_of(loaded.spec, loaded.task, loaded.response),
            fields=required_fields(loaded.task),
            adapter_format=loaded.task.adapter_format,
        )

    def check(self, *names: str) -> None:
        """Load these tasks, by default all, so that `plugins` reports whether each is usable."""
        for name in names or self.tasks():
            try:
                self.task(name)
            except BadPlugin:
                continue  # kept in _failures, which `plugins` reads

    def handle(self, plugin: PluginStatus) -> str:
        """Return a plugin's name for the command line: its id if names clash."""
        alike = [other for other in self._plugins if other.status.name == plugin.name]
        return plugin.name if len(alike) == 1 else plugin.id

    def _status(self, plugin: _Plugin) -> PluginStatus:
        names = plugin.status.tasks
        if failed := [self._failures[name] for name in names if name in self._failures]:
            return replace(plugin.status, state="broken", reason=" ".join(failed))
        if shared := [name for name in names if len(self._claims[name]) > 1]:
            return replace(
                plugin.status, state="conflict", reason=" ".join(self._conflict(name) for name in shared)
            )
        return plugin.status

    def _conflict(self, name: str) -> str:
        claimants = [status for status, _ in self._claims[name]]
        listed = " and ".join(f"{self.handle(status)!r} ({status.distribution})" for status in claimants)
        commands = " or ".join(f"hub plugins disable {self.handle(status)}" for status in claimants)
        return f"Task {name!r} is provided by the plugins {listed}. To keep one, run: {commands}."

    def _hint(self, name: str) -> str:
        hints = []
        for status in self.plugins():
            if status.state == "broken" and not status.tasks:
                hints.append(f"Plugin {self.handle(status)!r} is broken: {status.reason}")
            elif status.state == "disabled" and status.name == name:
                hints.append(f"It is disabled, run: hub plugins enable {self.handle(status)}.")
        return " ".join(hints) or "To add tasks, run: hub plugins install."


def _load(manager: pluggy.PluginManager, found: FoundPlugin, fault: str) -> _Plugin:
    """Import and register a plugin and call its hook; an exception becomes its `reason`."""
    if manager.is_blocked(found.id):
        return _Plugin(found.status("disabled", "Disabled by hub plugins disable or in hub.toml."))
    if fault:
        return _Plugin(found.status("broken", f"{fault} To disable it: hub plugins disable {found.id}."))
    try:
        specs = _register(manager, found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even call sys.exit() when imported
        manager.unregister(name=found.id)
        reason = str(error) if isinstance(error, BadPlugin) else describe_failure(error)
        return _Plugin(found.status("broken", reason))
    return _Plugin(found.status("ok", tasks=tuple(spec.name for spec in specs)), specs)


def _register(manager: pluggy.PluginManager, found: FoundPlugin) -> tuple[TaskSpec, ...]:
    plugin = found.entry_point.load()
    if (other := manager.get_name(plugin)) is not None:
        raise BadPlugin(f"{found.entry_point.value} is already loaded as {other!r}: declare it once.")
    manager.register(plugin, name=found.id)
    _refuse_unknown_hooks(manager, plugin)
    return _specs(manager, plugin, found.entry_point.value)


def _refuse_unknown_hooks(manager: pluggy.PluginManager, plugin: Any) -> None:
    """Check the hooks of one plugin, as PluginManager.check_pending does for all."""
    known = [caller.name for caller in vars(manager.hook).values() if caller.has_spec()]
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.has_spec():
            continue
        near = difflib.get_close_matches(caller.name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(known)}."
        raise BadPlugin(f"It implements the unknown hook {caller.name!r}; {hint}")


def _specs(manager: pluggy.PluginManager, plugin: Any, where: str) -> tuple[TaskSpec, ...]:
    """Call the hook of this plugin only."""
    mine = [impl for impl in getattr(manager.hook, HOOK).get_hookimpls() if impl.plugin is plugin]
    if not mine:
        undecorated = f"{HOOK} lacks @hookimpl" if hasattr(plugin, HOOK) else f"no {HOOK}"
        raise BadPlugin(f"{where} implements no hook ({undecorated}): see hub.api.TaskHooks.")
    specs = tuple(check_spec(spec) for impl in mine for spec in impl.function())
    if not specs:
        raise BadPlugin(f"{where} yields no task.")
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadPlugin(f"{where} yields task {twice[0]!r} twice.")
    return specs
