"""`hub plugins`: lists, installs, disables, removes and writes plugins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, error_console, escape, print_json, say, table
from hub.errors import BadPlugin, Conflict

if TYPE_CHECKING:
    from hub.config import Settings
    from hub.registry.discovery import FoundPlugin, PluginStatus

__all__ = ["commands"]

RESTART = "Restart a running server: it keeps the plugins that it started with."

commands = typer.Typer(help="List, install and write plugins.", no_args_is_help=True)


@commands.command("list")
def list_plugins(
    check: Annotated[bool, typer.Option(help="Also import all of their classes to find failures.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """List installed plugins, their state and what they provide."""
    from dataclasses import asdict

    registry = Context.load().registry
    if check:
        registry.check()
    found = registry.plugins()
    if as_json:
        print_json([asdict(plugin) for plugin in found])
    elif not found:
        say("No plugin is installed. Write one with: hub plugins new NAME")
    else:
        _show(found)


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
def install(
    what: Annotated[str, typer.Argument(metavar="NAME|PATH|WHEEL", help="Package name, folder or wheel.")],
    build_isolation: Annotated[
        bool, typer.Option(help="Build a folder in a fresh environment, filled from the package index.")
    ] = True,
) -> None:
    """Install a plugin with pip and check its tasks."""
    from hub.registry.install import install as install_plugin

    context = Context.load()
    settings = context.settings
    with error_console().status(f"Installing {what}"):
        done = install_plugin(
            what,
            home=settings.home,
            disabled=_disabled(settings),
            build_isolation=build_isolation,
            settings=settings.plugins,
        )
    say(f"{done.distribution} {done.version} {'is installed' if done.changed else 'was installed already'}.")
    _show(done.plugins)
    _show_misfits(context, {task for plugin in done.plugins for task in plugin.tasks})
    say(RESTART)


@commands.command()
def uninstall(
    name: Annotated[str, typer.Argument(help="Name of a plugin or of its distribution.")],
    force: Annotated[bool, typer.Option("--force", help="Even if deployments use its tasks.")] = False,
) -> None:
    """Uninstall the distribution that a plugin comes from."""
    from hub.registry.discovery import pick_plugins
    from hub.registry.install import uninstall as uninstall_distribution

    context = Context.load()
    plugins = pick_plugins(name)
    distribution = plugins[0].distribution
    if not force:
        _refuse_if_used(context, distribution)
    with error_console().status(f"Uninstalling {distribution}"):
        uninstall_distribution(distribution)
    for plugin in plugins:
        _forget(context.settings, plugin)
    say(f"{distribution} is uninstalled. {RESTART}")


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

    context = Context.load()
    settings = context.settings
    plugins = pick_plugins(name)
    for plugin in plugins:
        _forget(settings, plugin)
        forget(settings.home, plugin.distribution)
        if plugin.is_in(settings.plugins.disabled):
            raise Conflict(
                f"Plugin {plugin.name!r} is disabled in hub.toml, under [plugins], or by the variable "
                "HUB_PLUGINS__DISABLED. Remove it there."
            )
    enabled = {plugin.id for plugin in plugins}
    _show([plugin for plugin in context.registry.plugins() if plugin.id in enabled])
    say(RESTART)


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the plugin and of its task.")],
    folder: Annotated[Path, typer.Option("--dir", help="Parent of the new folder.")] = Path(),
    head: Annotated[
        Literal["sequence", "generate"],
        typer.Option(help="What the model computes: scores of labels, or text, which is streamed."),
    ] = "sequence",
) -> None:
    """Write a small working plugin with tests, sample data and a recipe."""
    from hub.api import HeadKind
    from hub.scaffold.write import write_plugin

    written = write_plugin(name, folder, Context.load().registry.tasks(), HeadKind(head))
    say(f"Wrote {escape(written)}. Next:")
    for step in (f"hub plugins install {written}", f"pytest {written}", f"hub train {written}"):
        say(f"  {escape(step)}")


def _show(plugins: list[PluginStatus] | tuple[PluginStatus, ...]) -> None:
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
    for plugin in plugins:
        if plugin.reason:
            error_console().print(f"{plugin.name}: {plugin.reason}", markup=False)


def _labels(tasks: Iterable[str], provides: Iterable[str]) -> list[str]:
    return [*(f"task {task}" for task in tasks), *provides]


def _show_misfits(context: Context, tasks: set[str]) -> None:
    """Print the stored versions of these tasks that do not fit the installed plugin."""
    from hub.serving.control.fitness import misfit

    store = context.existing_store
    live = {str(version.ref) for found in store.deployments() for version in found.versions}
    for version in store.versions():
        if version.manifest.serving.task in tasks and (reason := misfit(version, context.registry)):
            where = "live" if str(version.ref) in live else "stored"
            error_console().print(f"{version.ref} ({where}) may not fit: {reason}", markup=False)


def _disabled(settings: Settings) -> frozenset[str]:
    from hub.registry.state import disabled_plugins

    return disabled_plugins(settings.home) | set(settings.plugins.disabled)


def _forget(settings: Settings, plugin: FoundPlugin) -> None:
    """Remove every name under which `hub plugins disable` may have recorded this plugin."""
    from hub.registry.state import disabled_plugins
    from hub.registry.state import enable as enable_plugin

    for name in disabled_plugins(settings.home):
        if plugin.is_in({name}):
            enable_plugin(settings.home, name)


def _refuse_if_used(context: Context, distribution: str) -> None:
    """Raise Conflict if a deployment's task is provided by this distribution and no other."""
    from hub.registry.probe import probe

    deployments = context.existing_store.deployments()
    if not deployments:
        return
    try:
        plugins = probe(_disabled(context.settings), context.settings.home)
    except BadPlugin as error:
        raise BadPlugin(f"Its tasks cannot be listed: {error} Add --force to uninstall it.") from None
    elsewhere = {task for plugin in plugins if plugin.distribution != distribution for task in plugin.tasks}
    own = {task for plugin in plugins if plugin.distribution == distribution for task in plugin.tasks}
    users = [one.name for one in deployments if one.task in own - elsewhere]
    if users:
        raise Conflict(
            f"The deployments {', '.join(users)} use tasks of {distribution}. "
            "Undeploy them first, or add --force."
        )
