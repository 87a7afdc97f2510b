"""The entry-point groups and the hooks by which a distribution names what it provides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

from hub.api.images import InputKind
from hub.api.kinds.base_source import BaseSourceSpec
from hub.api.kinds.cleaner import AugmenterSpec, CleanerSpec
from hub.api.kinds.command import CommandSpec
from hub.api.kinds.engine import EngineSpec
from hub.api.kinds.explainer import ExplainerSpec
from hub.api.kinds.method import MethodSpec
from hub.api.kinds.metric import MetricSpec
from hub.api.kinds.observer import ObserverSpec
from hub.api.kinds.reader import ReaderSpec
from hub.api.kinds.renderer import RendererSpec
from hub.api.kinds.routes import RouteSpec
from hub.api.kinds.tracker import TrackerSpec
from hub.api.rows import HeadKind, TargetKind

ENTRY_POINT_GROUP = "hub.tasks.v1"
PLUGIN_GROUP = "hub.plugins.v1"

hookspec = pluggy.HookspecMarker("hub")
hookimpl = pluggy.HookimplMarker("hub")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task of a plugin; `request`, `response` and `factory` are "package.module:Name".

    `target` is what a SEQUENCE head learns. `input` is what the task reads: images go with a SEQUENCE head.
    """

    name: str
    summary: str
    head: HeadKind
    request: str
    response: str
    factory: str
    target: TargetKind = TargetKind.LABELS
    input: InputKind = InputKind.TEXT


class TaskHooks:
    """Hook specifications of the group `hub.tasks.v1`."""

    @hookspec
    def hub_tasks(self) -> Iterable[TaskSpec]:
        """Yield a TaskSpec for each task this plugin provides."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_settings(self) -> str:
        """Return the pydantic model of this plugin's settings as "package.module:Name".

        It is filled from `[plugins.<name>]` in hub.toml and `HUB_PLUGINS__<NAME>__*` variables when the
        plugin is loaded; `<name>` is the name of the entry point.
        """
        raise AssertionError("a hook specification is never called")


class PluginHooks(TaskHooks):
    """Hook specifications of the group `hub.plugins.v1`: those of tasks, and one for each other kind."""

    @hookspec
    def hub_cleaners(self) -> Iterable[CleanerSpec]:
        """Yield a CleanerSpec for each way this plugin cleans training texts."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_augmenters(self) -> Iterable[AugmenterSpec]:
        """Yield an AugmenterSpec for each way this plugin changes copies of training texts."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_metrics(self) -> Iterable[MetricSpec]:
        """Yield a MetricSpec for each metric of this plugin."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_methods(self) -> Iterable[MethodSpec]:
        """Yield a MethodSpec for each training method of this plugin."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_trackers(self) -> Iterable[TrackerSpec]:
        """Yield a TrackerSpec for each place where this plugin writes the logs of training runs."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_explainers(self) -> Iterable[ExplainerSpec]:
        """Yield an ExplainerSpec for each way this plugin attributes scores to tokens."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_observers(self) -> Iterable[ObserverSpec]:
        """Yield an ObserverSpec for each observer of requests and adapters."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_routes(self) -> Iterable[RouteSpec]:
        """Yield a RouteSpec for each family of routes that this plugin adds to the server."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_readers(self) -> Iterable[ReaderSpec]:
        """Yield a ReaderSpec for each data format or URL scheme this plugin reads."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_base_sources(self) -> Iterable[BaseSourceSpec]:
        """Yield a BaseSourceSpec for each place that this plugin pulls bases from."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_engines(self) -> Iterable[EngineSpec]:
        """Yield an EngineSpec for each engine of this plugin."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_commands(self) -> Iterable[CommandSpec]:
        """Yield a CommandSpec for each command that this plugin adds to `hub`."""
        raise AssertionError("a hook specification is never called")

    @hookspec
    def hub_renderers(self) -> Iterable[RendererSpec]:
        """Yield a RendererSpec for each way this plugin shows answers in the console."""
        raise AssertionError("a hook specification is never called")
