"""Loads one plugin in isolation: imports its module, calls its hooks, validates its settings; unloads it."""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import pluggy
from pydantic import BaseModel

from hub.api import (
    ENTRY_POINT_GROUP,
    PLUGIN_GROUP,
    EngineSpec,
    ExtensionSpec,
    NoOptions,
    PluginHooks,
    TaskHooks,
    TaskSpec,
)
from hub.config import PluginSettings
from hub.errors import BadPlugin, log_fault
from hub.registry.discovery import GROUPS, FoundPlugin, PluginStatus
from hub.registry.kinds import KINDS, Kind
from hub.registry.loaded import check_spec, describe_failure
from hub.registry.settings import fill_settings
from hub.registry.stdout import printing_to

__all__ = ["LoadedPlugin", "load_plugin", "managers", "unload"]

log = logging.getLogger(__name__)

_SETTINGS = "hub_settings"
_TASKS = "hub_tasks"
UNLOAD_S = 3.0


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin with what it provides and its settings; nothing of a plugin that is disabled or broken."""

    status: PluginStatus
    tasks: tuple[TaskSpec, ...] = ()
    extensions: tuple[tuple[Kind[Any, Any], ExtensionSpec], ...] = ()
    settings: BaseModel = field(default_factory=NoOptions)


def managers(found: Collection[FoundPlugin], disabled: Collection[str]) -> dict[str, pluggy.PluginManager]:
    """Return a plugin manager for each group, in which the disabled plugins are blocked."""
    made = {}
    for group in GROUPS:
        made[group] = pluggy.PluginManager("hub")
        made[group].add_hookspecs(TaskHooks if group == ENTRY_POINT_GROUP else PluginHooks)
    for plugin in found:
        if plugin.is_in(disabled):
            made[plugin.entry_point.group].set_blocked(plugin.id)
    return made


def load_plugin(
    manager: pluggy.PluginManager, found: FoundPlugin, fault: str, settings: PluginSettings | None
) -> LoadedPlugin:
    """Import and register a plugin and call its hooks; an exception becomes its `reason`.

    `fault` is why it must not be imported, or "". Without `settings`, those of the plugin are its defaults.
    """
    if manager.is_blocked(found.id):
        return LoadedPlugin(found.status("disabled", "Disabled by hub plugins disable or in hub.toml."))
    if fault:
        return LoadedPlugin(found.status("broken", f"{fault} To disable it: hub plugins disable {found.id}."))
    try:
        with printing_to():
            return _register(manager, found, settings)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even call sys.exit() when imported
        manager.unregister(name=found.id)
        reason = str(error) if isinstance(error, BadPlugin) else describe_failure(error)
        return LoadedPlugin(found.status("broken", reason))


def _register(
    manager: pluggy.PluginManager, found: FoundPlugin, settings: PluginSettings | None
) -> LoadedPlugin:
    where = found.entry_point.value
    if not EntryPoint.pattern.match(where):
        raise BadPlugin(
            f"Its entry point is {where!r:.80}; write 'package.module' or 'package.module:object'."
        )
    plugin = found.entry_point.load()
    if (other := manager.get_name(plugin)) is not None:
        raise BadPlugin(f"{where} is already loaded as {other!r}: declare it once.")
    manager.register(plugin, name=found.id)
    _refuse_unknown_hooks(manager, plugin)
    _refuse_no_hook(manager, plugin, where)
    tasks = tuple(check_spec(spec) for spec in _called(manager, plugin, _TASKS))
    extensions = tuple(
        (kind, kind.check(spec)) for kind in KINDS for spec in _called(manager, plugin, kind.hook)
    )
    if not tasks and not extensions:
        what = "no task" if found.entry_point.group == ENTRY_POINT_GROUP else "nothing"
        raise BadPlugin(f"{where} yields {what}.")
    _refuse_twice(where, [("task", spec.name) for spec in tasks])
    _refuse_twice(where, [(kind.word, key) for kind, spec in extensions for key in kind.keys(spec)])
    return LoadedPlugin(
        found.status(
            "ok",
            tasks=tuple(spec.name for spec in tasks),
            provides=tuple(f"{kind.word} {spec.name}" for kind, spec in extensions),
            bases=tuple(one for _, spec in extensions if isinstance(spec, EngineSpec) for one in spec.bases),
        ),
        tasks,
        extensions,
        _settings(manager, plugin, found.name, settings),
    )


def _refuse_unknown_hooks(manager: pluggy.PluginManager, plugin: Any) -> None:
    """Check the hooks of one plugin, as PluginManager.check_pending does for all."""
    known = [caller.name for caller in vars(manager.hook).values() if caller.has_spec()]
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.has_spec():
            continue
        if hasattr(PluginHooks, caller.name):
            raise BadPlugin(f"It implements the hook {caller.name!r}: declare it in {PLUGIN_GROUP!r}.")
        near = difflib.get_close_matches(caller.name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(known)}."
        raise BadPlugin(f"It implements the unknown hook {caller.name!r}; {hint}")


def _refuse_no_hook(manager: pluggy.PluginManager, plugin: Any, where: str) -> None:
    """Refuse a plugin that implements no hook by which it could provide something."""
    known = [caller.name for caller in vars(manager.hook).values() if caller.has_spec()]
    named = {caller.name for caller in manager.get_hookcallers(plugin) or ()} - {_SETTINGS}
    if named:
        return
    undecorated = [name for name in known if hasattr(plugin, name) and name != _SETTINGS]
    only = _TASKS if known == [_TASKS, _SETTINGS] else "hub_tasks, hub_readers or another"
    reason = f"{undecorated[0]} lacks @hookimpl" if undecorated else f"no {only}"
    raise BadPlugin(f"{where} implements no hook ({reason}): see hub.api.{_hooks_of(known)}.")


def _hooks_of(known: list[str]) -> str:
    return TaskHooks.__name__ if len(known) == 2 else PluginHooks.__name__


def _refuse_twice(where: str, keys: list[tuple[str, str]]) -> None:
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        word, name = twice[0]
        raise BadPlugin(f"{where} yields {word} {name!r} twice.")


def _called(manager: pluggy.PluginManager, plugin: Any, hook: str) -> list[Any]:
    """Call a hook of this plugin only."""
    caller = getattr(manager.hook, hook, None)
    mine = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin] if caller else []
    return [spec for impl in mine for spec in impl.function()]


def _settings(
    manager: pluggy.PluginManager, plugin: Any, name: str, settings: PluginSettings | None
) -> BaseModel:
    mine = [impl for impl in getattr(manager.hook, _SETTINGS).get_hookimpls() if impl.plugin is plugin]
    where = mine[0].function() if mine else None
    if settings is not None:
        return fill_settings(name, where, settings.of(name))
    try:
        return fill_settings(name, where, {})
    except BadPlugin:  # a setting without a default
        return NoOptions()


def unload(who: str, call: Callable[[], None], seconds: float = UNLOAD_S) -> None:
    """Call a plugin's `unload` in a thread, and wait for it at most so long; its failure is logged."""

    def run() -> None:
        try:
            with printing_to():
                call()
        except (Exception, SystemExit) as error:
            log_fault(log, f"The {who} did not unload", error)

    thread = threading.Thread(target=run, name=f"unload-{who}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("The %s did not unload within %g s.", who, seconds)
