"""`hub plugins`: lists, installs, disables, removes and writes plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, error_console, escape, print_json, say, table
from hub.errors import Conflict

if TYPE_CHECKING:
    from hub.config import Settings
    from hub.registry.discovery import FoundPlugin, PluginStatus

__all__ = ["RESTART", "commands", "forget_disabled", "show"]

RESTART = "Restart a running server: it keeps the plugins that it started with."

commands = typer.Typer(help="List, install and write plugins.", no_args_is_help=True)


@commands.command("list")
def list_plugins(
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """List installed plugins as they were when last loaded; imports no third-party code."""
    from dataclasses import asdict

    from hub.registry.host import Registry

    settings = Context.load().settings
    found = Registry.listed(settings)
    running = _running(settings)
    if as_json:
        of_server = running or {}
        print_json([{**asdict(one), "running": of_server.get(one.id, "")} for one in found])
    elif not found:
        say("No plugin is installed. Write one with: hub plugins new NAME")
    else:
        show(found)
        if running is not None:
            _show_differences(found, running)


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
    """Keep a plugin from being imported."""
    from hub.registry.discovery import pick_plugins
    from hub.registry.state import disable as disable_plugin

    settings = Context.load().settings
    for plugin in pick_plugins(name):
        disable_plugin(settings.home, plugin.id)
        say(f"Plugin {plugin.name} ({plugin.distribution}) is disabled. {RESTART}")


@commands.command()
def enable(name: Annotated[str, typer.Argument(help="Name of a plugin or of its distribution.")]) -> None:
    """Undo `hub plugins disable`."""
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
        say(f"Plugin {plugin.name} ({plugin.distribution}) is enabled. {RESTART}")


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the plugin and of what it provides.")],
    folder: Annotated[Path, typer.Option("--dir", help="Parent of the new folder.")] = Path(),
    head: Annotated[
        Literal["", "sequence", "number", "generate"],
        typer.Option(help="Of a task: the model computes scores of labels (the default), a number, or text."),
    ] = "",
    kind: Annotated[
        Literal[
            "task",
            "reader",
            "metric",
            "method",
            "engine",
            "observer",
            "route",
            "command",
            "cleaner",
            "augmenter",
        ],
        typer.Option(help="What the plugin provides."),
    ] = "task",
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


def _running(settings: Settings) -> dict[str, str] | None:
    """Return the versions of the plugins that this home's server has loaded, by id; None without a server."""
    from hub.client.http import ServerClient, admin_key, find_server, verify_server
    from hub.errors import HubError

    if (url := find_server(settings)) is None:
        return None
    try:
        with ServerClient(url, key=admin_key(settings, local=True), verify=verify_server(settings)) as server:
            loaded = server.status()["plugins"]
    except HubError as error:
        error_console().print(f"The plugins of the running server are not known: {error}", markup=False)
        return None
    return {f"{one['distribution']}:{one['name']}": one["version"] for one in loaded if one["state"] == "ok"}


def _show_differences(installed: Sequence[PluginStatus], running: dict[str, str]) -> None:
    """Print in what the running server differs from what is installed."""
    by_id = {plugin.id: plugin for plugin in installed}
    for plugin in installed:
        version = running.get(plugin.id)
        if version and plugin.state in ("disabled", "refused"):
            what = f"runs {version}, and is {plugin.state} now"
        elif version and version != plugin.version:
            what = f"runs {version}, and {plugin.version} is installed"
        elif not version and plugin.state in ("ok", "unchecked"):
            what = f"{plugin.version} is installed and does not run"
        else:
            continue
        error_console().print(f"{plugin.name}: {what}. Restart the server.", markup=False)
    for id in sorted(running.keys() - by_id.keys()):
        what = f"{id} runs {running[id]}, and is not installed any more. Restart the server."
        error_console().print(what, markup=False)


def show(plugins: Sequence[PluginStatus]) -> None:
    """Print a table of plugins, and the reasons for their states below it."""
    from hub.registry.snapshot import UNCHECKED

    rows = [
        (
            plugin.name,
            f"{plugin.distribution} {plugin.version}",
            plugin.state,
            ", ".join(_labels(plugin.tasks, plugin.provides)),
        )
        for plugin in plugins
    ]
    table(("plugin", "distribution", "state", "provides"), rows)
    if unchecked := [plugin.name for plugin in plugins if plugin.state == "unchecked"]:
        names = ", ".join(unchecked)
        error_console().print(f"{names}: {UNCHECKED}", markup=False)
    for plugin in plugins:
        if plugin.reason and plugin.state != "unchecked":
            error_console().print(f"{plugin.name}: {plugin.reason}", markup=False)


def _labels(tasks: Iterable[str], provides: Iterable[str]) -> list[str]:
    return [*(f"task {task}" for task in tasks), *provides]


def forget_disabled(settings: Settings, plugin: FoundPlugin) -> None:
    """Remove every name under which `hub plugins disable` may have recorded this plugin."""
    from hub.registry.state import disabled_plugins
    from hub.registry.state import enable as enable_plugin

    for name in disabled_plugins(settings.home):
        if plugin.is_in({name}):
            enable_plugin(settings.home, name)
