"""`hub plugins`: lists, installs, disables, removes and writes plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, error_console, escape, print_json, say, table
from hub.errors import Conflict
from hub.scaffold.choices import NewHead, NewKind

if TYPE_CHECKING:
    from hub.client.running_plugins import ComparedPlugin, RunningPlugin
    from hub.config import Settings
    from hub.registry.discovery import FoundPlugin, PluginStatus

__all__ = ["commands", "forget_disabled", "show"]

MAX_LABELS = 6  # in a line of the list

commands = typer.Typer(help="List, install and write plugins.", no_args_is_help=True)


@commands.command("list")
def list_plugins(
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """List installed plugins as they were when last loaded, and what a running server has of them.

    Imports no third-party code.
    """
    from hub.cli.plugin_reload import compare
    from hub.registry.host import Registry

    settings = Context.load().settings
    found = Registry.listed(settings)
    compared = compare(settings, found)
    if as_json:
        print_json([one.to_json() for one in compared])
    elif not compared:
        say("No plugin is installed. Write one with: hub plugins new NAME")
    else:
        show(found, compared)


@commands.command()
def check(
    name: Annotated[
        str, typer.Argument(help="Name of a plugin or of its distribution; all by default.")
    ] = "",
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Load plugins with all that they provide, in a process of its own; exit with 1 if one cannot be used."""
    from dataclasses import asdict

    from hub.registry.discovery import pick_plugins
    from hub.registry.probe import probe
    from hub.registry.state import disabled_of

    settings = Context.load().settings
    picked = (
        {(plugin.id, plugin.entry_point.group) for plugin in pick_plugins(name, own=True)} if name else None
    )
    home = settings.home if settings.home.is_dir() else None
    with error_console().status("Loading plugins"):
        found = probe(disabled_of(settings), home, settings.plugins)
    found = [plugin for plugin in found if picked is None or (plugin.id, plugin.group) in picked]
    if as_json:
        print_json([asdict(plugin) for plugin in found])
    else:
        show(found)
    if any(plugin.state not in ("ok", "disabled") for plugin in found):
        raise typer.Exit(1)


@commands.command()
def info(
    name: Annotated[str, typer.Argument(help="Name of a plugin or of its distribution.")],
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Show what a plugin provides, and its settings without secrets."""
    from dataclasses import asdict

    from hub.registry.discovery import pick_plugins
    from hub.registry.settings import shown_settings

    registry = Context.load().registry
    picked = {(plugin.id, plugin.entry_point.group) for plugin in pick_plugins(name, own=True)}
    found = [plugin for plugin in registry.plugins() if (plugin.id, plugin.group) in picked]
    described = [{**asdict(one), "settings": shown_settings(registry.settings_of(one))} for one in found]
    if as_json:
        print_json(described)
        return
    for plugin in described:
        keys = ("name", "distribution", "version", "group", "state", "reason")
        rows = [(key, plugin[key]) for key in keys if plugin[key]]
        rows += [("provides", label) for label in _labels(plugin["tasks"], plugin["provides"])]
        rows += [(f"plugins.{plugin['name']}.{key}", str(value)) for key, value in plugin["settings"].items()]
        table(("plugin", plugin["name"]), rows[1:])


@commands.command()
def disable(name: Annotated[str, typer.Argument(help="Name of a plugin or of its distribution.")]) -> None:
    """Keep a plugin from being imported; deployments that need it are named."""
    from hub.cli.plugin_reload import hint_reload
    from hub.client.plugin_users import users_of
    from hub.registry.discovery import pick_plugins
    from hub.registry.state import disable as disable_plugin

    context = Context.load()
    plugins = pick_plugins(name)
    users = users_of(plugins[0].distribution, context.settings, context.existing_store)
    for plugin in plugins:
        disable_plugin(context.settings.home, plugin.id)
        say(f"Plugin {plugin.name} ({plugin.distribution}) is disabled.")
    if users.deployments:
        say(f"Deployments need {plugins[0].distribution}: {users.described()}.")
    hint_reload(context.settings)


@commands.command()
def enable(name: Annotated[str, typer.Argument(help="Name of a plugin or of its distribution.")]) -> None:
    """Undo `hub plugins disable`."""
    from hub.cli.plugin_reload import hint_reload
    from hub.registry.discovery import pick_plugins
    from hub.registry.screening import forget

    settings = Context.load().settings
    for plugin in pick_plugins(name):
        forget_disabled(settings, plugin)
        forget(settings.home, plugin.distribution)
        if plugin.is_in(settings.plugins.disabled):
            raise Conflict(
                f"Plugin {plugin.name!r} is disabled in hub.toml, under [plugins], or by the variable "
                "HUB_PLUGINS__DISABLED. Remove it there."
            )
        say(f"Plugin {plugin.name} ({plugin.distribution}) is enabled.")
    hint_reload(settings)


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the plugin and of what it provides.")],
    folder: Annotated[Path, typer.Option("--dir", help="Parent of the new folder.")] = Path(),
    head: Annotated[
        NewHead | None,
        typer.Option(help="Of a task: the model computes scores of labels (the default), a number, or text."),
    ] = None,
    kind: Annotated[NewKind, typer.Option(help="What the plugin provides.")] = "task",
) -> None:
    """Write a small working plugin with tests; for a task, with sample data and a recipe."""
    from hub.errors import BadRequest
    from hub.scaffold.write import write_plugin

    if head and kind != "task":
        raise BadRequest("--head is for tasks: leave it out, or the option --kind.")
    tasks = Context.load().registry.tasks()
    written = write_plugin(name, folder, tasks, head or "sequence", kind)
    say(f"Wrote {escape(written)}. Next:")
    steps = [f"hub plugins install {written}", f"pytest {written}"]
    for step in (*steps, f"hub train {written}") if kind == "task" else steps:
        say(f"  {escape(step)}")


def show(plugins: Sequence[PluginStatus], compared: Sequence[ComparedPlugin] = ()) -> None:
    """Print a table of plugins, and the reasons for their states below it.

    With `compared`, also what serving processes run of them, and what a reload would change.
    """
    from hub.registry.snapshot import UNCHECKED

    running = {one.id: _versions(one.running) for one in compared}
    extra = ("running",) if any(running.values()) else ()
    columns = ("plugin", "distribution", "state", *extra, "provides")
    rows = [
        (
            plugin.name,
            f"{plugin.distribution} {plugin.version}",
            plugin.state,
            *((running[plugin.id],) if extra else ()),
            _summed(plugin.name, _labels(plugin.tasks, plugin.provides)),
        )
        for plugin in plugins
    ]
    table(columns, rows)
    for one in compared:
        if one.change:
            what = f"{one.installed['name']}: {one.change}: hub plugins reload"
            error_console().print(what, markup=False)
    if unchecked := [plugin.name for plugin in plugins if plugin.state == "unchecked"]:
        names = ", ".join(unchecked)
        error_console().print(f"{names}: {UNCHECKED}", markup=False)
    for plugin in plugins:
        if plugin.reason and plugin.state != "unchecked":
            error_console().print(f"{plugin.name}: {plugin.reason}", markup=False)


def _versions(running: Sequence[RunningPlugin]) -> str:
    """Return what serving processes run, such as "0.1.0 (2), 0.2.0 broken (1)"; one alone is not counted."""
    total = sum(one.replicas for one in running)
    shown: dict[str, int] = {}
    for one in running:
        text = one.version if one.state == "ok" else f"{one.version} {one.state}"
        shown[text] = shown.get(text, 0) + one.replicas
    return ", ".join(text if total == 1 else f"{text} ({count})" for text, count in shown.items())


def _labels(tasks: Iterable[str], provides: Iterable[str]) -> list[str]:
    return [*(f"task {task}" for task in tasks), *provides]


def _summed(name: str, labels: Sequence[str]) -> str:
    """Return what a plugin provides as a line; of much, how much it is, and which command lists it."""
    if len(labels) <= MAX_LABELS:
        return ", ".join(labels)
    kinds = {label.rpartition(" ")[0] for label in labels}
    return f"{len(labels)} of {len(kinds)} kinds: hub plugins info {name}"


def forget_disabled(settings: Settings, plugin: FoundPlugin) -> None:
    """Remove every name under which `hub plugins disable` may have recorded this plugin."""
    from hub.registry.state import disabled_plugins
    from hub.registry.state import enable as enable_plugin

    for name in disabled_plugins(settings.home):
        if plugin.is_in({name}):
            enable_plugin(settings.home, name)
