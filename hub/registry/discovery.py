"""Finds installed plugins by their metadata, without importing them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any, Literal

from packaging.utils import canonicalize_name

from hub.api import ENTRY_POINT_GROUP, PLUGIN_GROUP
from hub.errors import BadPlugin, Conflict, NotFound, PluginConflict

__all__ = [
    "BUILT_IN",
    "CORE",
    "GROUPS",
    "FoundPlugin",
    "PluginState",
    "PluginStatus",
    "find_plugins",
    "pick_plugins",
]

GROUPS = (PLUGIN_GROUP, ENTRY_POINT_GROUP)
CORE = "grafthub"  # its plugin provides what is built in, by the same hooks
BUILT_IN = {CORE} | frozenset(
    f"{CORE}-{name}"
    for name in (
        "classification",
        "extraction",
        "generation",
        "image-classification",
        "qa",
        "sentiment",
        "similarity",
        "summarization",
        "translation",
    )
)

PluginState = Literal["ok", "broken", "disabled", "conflict", "refused", "unchecked"]


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One installed plugin as `hub plugins list` shows it.

    `name` is the name of its entry point, `entry_point` the "module" or "module:object" it refers to.
    `tasks`, `provides`, such as "reader mbox", and `bases`, the patterns of sources of bases that its engines
    run, are empty for a plugin that is disabled or failed to load.
    """

    name: str
    distribution: str
    version: str
    entry_point: str
    state: PluginState
    reason: str = ""
    tasks: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    group: str = ENTRY_POINT_GROUP

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PluginStatus:
        """Return what `dataclasses.asdict` made JSON of; raises KeyError or TypeError if it is not one."""
        return cls(**{**values, **{name: tuple(values[name]) for name in ("tasks", "provides", "bases")}})

    @property
    def id(self) -> str:
        """`distribution:name`, unique in its group."""
        return f"{self.distribution}:{self.name}"

    def is_named(self, name: str) -> bool:
        """Return whether `name` is its name or id, or a spelling of its distribution."""
        return name in (self.name, self.id) or canonicalize_name(name) == self.distribution


@dataclass(frozen=True, slots=True)
class FoundPlugin:
    """An entry point and the distribution that declares it; not imported."""

    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def name(self) -> str:
        return self.entry_point.name

    @property
    def id(self) -> str:
        return f"{self.distribution}:{self.name}"

    @property
    def package(self) -> str:
        """The top-level package that the entry point names, whatever its value is: metadata may be faulty."""
        return self.entry_point.value.partition(":")[0].partition(".")[0].strip()

    def is_in(self, names: Collection[str]) -> bool:
        """Return whether `names` contains this plugin's name, id or distribution; never of the hub's own."""
        if self.distribution == CORE:
            return False
        distributions = {canonicalize_name(name) for name in names}
        return self.name in names or self.id in names or self.distribution in distributions

    def status(
        self,
        state: PluginState,
        reason: str = "",
        tasks: tuple[str, ...] = (),
        provides: tuple[str, ...] = (),
        bases: tuple[str, ...] = (),
    ) -> PluginStatus:
        return PluginStatus(
            self.name,
            self.distribution,
            self.version,
            self.entry_point.value,
            state,
            reason,
            tasks,
            provides,
            bases,
            self.entry_point.group,
        )


def find_plugins() -> list[FoundPlugin]:
    """List the entry points of both groups in a fixed order; imports none.

    Raises:
        BadPlugin: the metadata of something that is installed cannot be read.
    """
    found = {_found(entry_point) for entry_point in _entry_points()}
    return sorted(
        found,
        key=lambda plugin: (
            plugin.name,
            plugin.distribution,
            plugin.entry_point.group,
            plugin.entry_point.value,
        ),
    )


def pick_plugins(name: str, *, own: bool = False) -> list[FoundPlugin]:
    """Return the installed plugins for `name` on the command line; imports none.

    `name` is the name or id of a plugin, or the name of a distribution, for all its plugins. `own`: also the
    hub's own.

    Raises:
        NotFound: no plugin matches.
        PluginConflict: plugins of several distributions have this name.
        Conflict: it is the hub's own, which can be neither disabled nor uninstalled.
    """
    found = find_plugins()
    named = [plugin for plugin in found if name in (plugin.id, plugin.name)]
    if len({plugin.distribution for plugin in named}) > 1:
        ids = " or ".join(plugin.id for plugin in named)
        raise PluginConflict(f"Several distributions have a plugin named {name!r}. Write {ids}.")
    if not named:
        named = [plugin for plugin in found if plugin.is_in({name}) or plugin.distribution == name]
    if not named:
        raise NotFound.of("plugin", name, {plugin.name for plugin in found if plugin.distribution != CORE})
    if not own and any(plugin.distribution == CORE for plugin in named):
        raise Conflict(
            f"The plugin {name!r} is part of GraftHub itself. Another one can be put before it: "
            "name that one in plugins.prefer."
        )
    return named


def _entry_points() -> list[EntryPoint]:
    """Return the entry points of both groups; reads the metadata of all that is installed, once."""
    try:
        every = entry_points()
    except (TypeError, ValueError) as error:  # a line that is no `name = value`, or is not UTF-8
        raise BadPlugin(
            f"The entry_points.txt of {_unreadable() or 'a distribution'} cannot be read, and Python reads "
            "all of them to find plugins. Install that distribution again, or uninstall it, with pip."
        ) from error
    return [entry_point for group in GROUPS for entry_point in every.select(group=group)]


def _unreadable() -> str:
    """Return the name of the first distribution whose entry points cannot be read."""
    for distribution in distributions():
        try:
            _ = distribution.entry_points
        except (TypeError, ValueError):
            return distribution.name or ""
    return ""


def _found(entry_point: EntryPoint) -> FoundPlugin:
    distribution: Distribution | None = entry_point.dist
    if distribution is None:
        return FoundPlugin("unknown", "", entry_point)
    return FoundPlugin(
        canonicalize_name(distribution.name or "unknown"), distribution.version or "", entry_point
    )
