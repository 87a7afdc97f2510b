"""The plugin host: loads each installed plugin in isolation, so a failure affects no other plugin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import RLock

from pydantic import BaseModel

from hub.api import TaskSpec
from hub.config import PluginSettings, Settings
from hub.contract import PluginRef, contract_of, required_fields
from hub.errors import BadPlugin, NotFound, PluginConflict
from hub.registry.discovery import BUILT_IN, CORE, FoundPlugin, PluginStatus, find_plugins
from hub.registry.extensions import Extensions
from hub.registry.loaded import LoadedTask, load_task
from hub.registry.plugin import LoadedPlugin, load_plugin, managers, unload
from hub.registry.policy import refusals
from hub.registry.screening import screen
from hub.registry.snapshot import Installation, Snapshot
from hub.registry.state import disabled_of

__all__ = ["LoadedTask", "PluginStatus", "Registry"]


class Registry:
    """The tasks and extensions that installed plugins provide.

    Loading imports only the small module behind each entry point, and a plugin's settings model. The modules
    of a task or an extension are imported when it is first used. Thread-safe.
    """

    def __init__(self, plugins: Iterable[LoadedPlugin], prefer: Sequence[str] = ()) -> None:
        self._plugins = tuple(plugins)
        self.extensions = Extensions(self._plugins, prefer)
        self._settings: dict[str, BaseModel] = {}
        self._claims: dict[str, list[tuple[PluginStatus, TaskSpec]]] = {}
        for plugin in self._plugins:
            for spec in plugin.tasks:
                self._claims.setdefault(spec.name, []).append((plugin.status, spec))
                self._settings[spec.name] = plugin.settings
        self._lock = RLock()
        self._loaded: dict[str, LoadedTask] = {}
        self._failures: dict[str, str] = {}
        self._refs: dict[str, PluginRef] = {}

    @classmethod
    def load(cls, disabled: Collection[str] = (), settings: PluginSettings | None = None) -> Registry:
        """Find and load all plugins except those in `disabled` (names, ids or distributions).

        A plugin that ends the process when imported ends this one: see `screened`. Without `settings`, those
        of plugins are their defaults.
        """
        found = find_plugins()
        return cls._of(found, disabled, {}, refusals(found, settings, None) if settings else {}, settings)

    @classmethod
    def screened(
        cls, disabled: Collection[str], home: Path | None, settings: PluginSettings | None = None
    ) -> Registry:
        """As `load`, but first import each plugin in a subprocess and skip those that end or hang it.

        Results are cached in `home`, which also has the lock file. What the policy refuses is not imported.
        """
        return cls._screened(find_plugins(), disabled, home, settings)

    @classmethod
    def _screened(
        cls,
        found: Sequence[FoundPlugin],
        disabled: Collection[str],
        home: Path | None,
        settings: PluginSettings | None,
    ) -> Registry:
        refused = refusals(found, settings, home) if settings else {}
        left_out = {*disabled, *refused}
        faults = screen((one for one in found if not one.is_in(left_out)), home, settings)
        return cls._of(found, disabled, faults, refused, settings)

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """Load as `screened`, without the plugins disabled in the settings or by `hub plugins disable`."""
        found, disabled = find_plugins(), disabled_of(settings)
        now = Installation.of(found, settings.plugins, disabled)
        registry = cls._screened(found, disabled, settings.home, settings.plugins)
        if (snapshot := Snapshot.read(settings.home)).key != now.key:
            snapshot.replaced(registry.plugins(), now).write(settings.home)
        return registry

    @classmethod
    def listed(cls, settings: Settings) -> list[PluginStatus]:
        """List every installed plugin, without importing third-party code: as it was when last loaded."""
        found = find_plugins()
        disabled = disabled_of(settings)
        third_party = {one.id for one in found if one.distribution not in BUILT_IN}
        own = {
            (one.id, one.group): one for one in cls.load(disabled | third_party, settings.plugins).plugins()
        }
        refused = refusals(found, settings.plugins, settings.home)
        snapshot, now = Snapshot.read(settings.home), Installation.of(found, settings.plugins, disabled)
        listed = []
        for plugin in found:
            status = own[plugin.id, plugin.entry_point.group]
            if plugin.is_in(disabled):
                pass
            elif plugin.distribution in refused:
                status = plugin.status("refused", refused[plugin.distribution])
            elif snapshot.key == now.key or plugin.id in third_party:
                status = snapshot.status(plugin, now)
            listed.append(status)
        return listed

    @classmethod
    def of_hub(cls) -> Registry:
        """Load the hub's own plugin; imports no other, and no task."""
        found = [plugin for plugin in find_plugins() if plugin.distribution == CORE]
        return cls._of(found, (), {}, {}, None)

    @classmethod
    def _of(
        cls,
        found: Sequence[FoundPlugin],
        disabled: Collection[str],
        faults: Mapping[str, str],
        refused: Mapping[str, str],
        settings: PluginSettings | None,
    ) -> Registry:
        groups = managers(found, disabled)
        loaded = [
            LoadedPlugin(plugin.status("refused", refused[plugin.distribution]))
            if plugin.distribution in refused and not plugin.is_in(disabled)
            else load_plugin(
                groups[plugin.entry_point.group], plugin, faults.get(plugin.distribution, ""), settings
            )
            for plugin in found
        ]
        return cls(loaded, settings.prefer if settings else ())

    def beside(self, spec: TaskSpec) -> Registry:
        """Return a registry that also has a task of a plugin that is not installed: tests of its author."""
        status = PluginStatus("not-installed", "not-installed", "0", "", "ok", tasks=(spec.name,))
        return Registry([*self._plugins, LoadedPlugin(status, (spec,))])

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
                return self._loaded.setdefault(name, load_task(spec, self._settings[name]))
            except BadPlugin as error:
                self._failures[name] = str(error)
                raise

    def unload(self) -> None:
        """Release what the tasks and extensions that were built hold; waits a few seconds for each."""
        with self._lock:
            loaded, self._loaded = list(self._loaded.values()), {}
        for one in loaded:
            unload(f"task {one.spec.name}", one.task.unload)
        for label, extension in self.extensions.built():
            unload(label, extension.unload)

    def plugin_of(self, name: str) -> PluginRef:
        """Return the plugin that provides a task, with the fingerprint that manifests record.

        Raises:
            NotFound, PluginConflict, BadPlugin: as `task`.
        """
        if (found := self._refs.get(name)) is not None:
            return found
        loaded = self.task(name)
        status = self._claims[name][0][0]
        found = self._refs[name] = PluginRef(
            distribution=status.distribution,
            version=status.version,
            fingerprint=contract_of(loaded.spec, loaded.task, loaded.response),
            fields=required_fields(loaded.task),
            adapter_format=loaded.task.adapter_format,
        )
        return found

    def settings_of(self, plugin: PluginStatus) -> BaseModel:
        """Return the settings of a plugin; an empty model if it has none or is not loaded."""
        return next(one.settings for one in self._plugins if one.status.id == plugin.id)

    def check(self, *names: str) -> None:
        """Load these tasks, by default all and the extensions, so that `plugins` lists what is unusable."""
        if not names:
            for label in self.extensions.labels():
                self.extensions.load(label)
        for name in names or self.tasks():
            try:
                self.task(name)
            except BadPlugin:
                continue  # kept in _failures, which `plugins` reads

    def required_faults(self, names: Sequence[str]) -> list[str]:
        """Load the plugins of `plugins.required`; return why some cannot be used, a sentence each."""
        faults = []
        for name in names:
            mine = [one for one in self._plugins if one.status.is_named(name)]
            if not mine:
                faults.append(f"Plugin {name!r} is in plugins.required and not installed.")
            for plugin in mine:
                for task in plugin.status.tasks:
                    with suppress(BadPlugin, PluginConflict):  # kept, `_status` reads them
                        self.task(task)
                for label in plugin.status.provides:
                    self.extensions.load(label)
                status = self._status(plugin)
                if status.state != "ok":
                    faults.append(f"Required plugin {name!r} is {status.state}: {status.reason}")
        return faults

    def handle(self, plugin: PluginStatus) -> str:
        """Return a plugin's name for the command line: its id if names clash."""
        alike = {other.status.distribution for other in self._plugins if other.status.name == plugin.name}
        return plugin.name if len(alike) == 1 else plugin.id

    def _status(self, plugin: LoadedPlugin) -> PluginStatus:
        names = plugin.status.tasks
        if failed := [self._failures[name] for name in names if name in self._failures]:
            return replace(plugin.status, state="broken", reason=" ".join(failed))
        if shared := [name for name in names if len(self._claims[name]) > 1]:
            return replace(
                plugin.status, state="conflict", reason=" ".join(self._conflict(name) for name in shared)
            )
        if problems := self.extensions.problems(plugin.status):
            return replace(plugin.status, state=problems[0], reason=problems[1])
        return plugin.status

    def _conflict(self, name: str) -> str:
        claimants = [status for status, _ in self._claims[name]]
        listed = " and ".join(f"{self.handle(status)!r} ({status.distribution})" for status in claimants)
        commands = " or ".join(f"hub plugins disable {self.handle(status)}" for status in claimants)
        return f"Task {name!r} is provided by the plugins {listed}. To keep one, run: {commands}."

    def _hint(self, name: str) -> str:
        hints = []
        for status in self.plugins():
            if status.state in ("broken", "refused") and not status.tasks:
                hints.append(f"Plugin {self.handle(status)!r} is {status.state}: {status.reason}")
            elif status.state == "disabled" and status.name == name:
                hints.append(f"It is disabled, run: hub plugins enable {self.handle(status)}.")
        return " ".join(hints) or "To add tasks, run: hub plugins install."
