"""`hub plugins install`, `uninstall`, `lock` and `sync`: what changes the environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.context import Context
from hub.cli.plugin_reload import hint_reload
from hub.cli.plugins import forget_disabled, show
from hub.cli.screen.output import JSON_FLAG, error_console, print_json, say, table
from hub.errors import Conflict, VersionsUnreadable, listed

if TYPE_CHECKING:
    from hub.registry.install.locking import LockChange
    from hub.registry.install.plan import PluginPlan
    from hub.registry.install.wheel import WheelFile
    from hub.serving.control.upgrade import UnreadableVersion

__all__ = ["add_to"]

DRY_RUN = typer.Option("--dry-run", help="Only show what would change.")


def add_to(commands: typer.Typer) -> None:
    """Add the commands to `hub plugins`."""
    for command in (install, uninstall, lock, sync):
        commands.command()(command)


def install(
    what: Annotated[str, typer.Argument(metavar="NAME|PATH|WHEEL", help="Package name, folder or wheel.")],
    build_isolation: Annotated[
        bool, typer.Option(help="Build a folder in a fresh environment, filled from the package index.")
    ] = True,
    dry_run: Annotated[bool, DRY_RUN] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Even if it cannot read stored versions that the installed one can.")
    ] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Install a plugin with uv or pip, lock its version and hash, and check what it provides.

    No library that the hub runs on is changed. Stored versions that do not fit are named before.
    """
    from hub.errors import HubError
    from hub.registry.install.install import install as install_plugin
    from hub.registry.state import disabled_of

    context = Context.load()
    settings = context.settings
    preview = _Preview(context, quiet=as_json, accept=yes or dry_run)
    with error_console().status(f"Installing {what}"):
        try:
            done = install_plugin(
                what,
                home=settings.home,
                disabled=disabled_of(settings),
                build_isolation=build_isolation,
                settings=settings.plugins,
                dry_run=dry_run,
                show=preview.take,
                before=preview.check,
            )
        except HubError as error:
            if not (as_json and preview.plan):
                raise
            print_json({**preview.to_json(), "installed": False, "plugins": [], **error.to_json()})
            raise typer.Exit(1) from None
    if as_json:
        installed = done.changed and not dry_run
        print_json({**preview.to_json(), "installed": installed, "plugins": list(map(asdict, done.plugins))})
        return
    if dry_run:
        say(
            "Nothing was changed."
            if done.changed
            else f"{done.distribution} {done.version} is installed already."
        )
        return
    say(f"{done.distribution} {done.version} {'is installed' if done.changed else 'was installed already'}.")
    show(done.plugins)
    hint_reload(settings)


def uninstall(
    name: Annotated[str, typer.Argument(help="Name of a plugin or of its distribution.")],
    force: Annotated[bool, typer.Option("--force", help="Even if deployments need it.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Uninstall the distribution that a plugin comes from; imports no third-party code."""
    from hub.client.plugin_users import users_of
    from hub.errors import HubError
    from hub.registry.discovery import pick_plugins
    from hub.registry.install.install import uninstall as uninstall_distribution

    context = Context.load()
    plugins = pick_plugins(name)
    distribution = plugins[0].distribution
    users = users_of(distribution, context.settings, context.existing_store)
    document = {
        "distribution": distribution,
        "version": plugins[0].version,
        "plugins": [plugin.name for plugin in plugins],
        "deployments": users.deployments,
        "versions": users.versions,
    }
    try:
        if users.deployments and not force:
            raise Conflict(
                f"Deployments need {distribution}: {users.described()}. Undeploy them first, or add --force."
            )
        with error_console().status(f"Uninstalling {distribution}"):
            uninstall_distribution(distribution, context.settings.home)
    except HubError as error:
        if not as_json:
            raise
        print_json({**document, "uninstalled": False, **error.to_json()})
        raise typer.Exit(1) from None
    for plugin in plugins:
        forget_disabled(context.settings, plugin)
    if as_json:
        print_json({**document, "uninstalled": True})
        return
    say(f"{distribution} is uninstalled.")
    hint_reload(context.settings)
    if users.versions:
        needed = f"Stored versions that need it and cannot be served now: {', '.join(users.versions)}."
        error_console().print(needed, markup=False)


def lock(as_json: Annotated[bool, JSON_FLAG] = False) -> None:
    """Write plugins.lock from what is installed: versions and hashes of plugins and their own libraries."""
    from hub.registry.install.locking import lock as lock_installed
    from hub.registry.lock import LOCK_FILE

    settings = Context.load().settings
    with error_console().status("Locking plugins"):
        locked = lock_installed(settings.home)
    if as_json:
        print_json([asdict(package) for package in locked])
        return
    table(
        ("package", "version", "sha256"),
        [(package.name, package.version, package.sha256[:16]) for package in locked],
    )
    say(f"{settings.home / LOCK_FILE} has {len(locked)} packages.")


def sync(
    dry_run: Annotated[bool, DRY_RUN] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if deployments need what is removed.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Restore exactly what plugins.lock has: install it, checked by hash, and uninstall other plugins."""
    from hub.client.plugin_users import users_of
    from hub.registry.install.locking import sync as sync_installed

    context = Context.load()

    def take(changes: Sequence[LockChange]) -> None:
        if not as_json and changes:
            rows = [(one.name, one.installed or "-", one.locked or "removed") for one in changes]
            table(("package", "installed", "locked"), rows)
        for one in changes:
            if one.locked or dry_run or force:
                continue
            users = users_of(one.name, context.settings, context.existing_store)
            if users.deployments:
                raise Conflict(
                    f"{one.name} is not in plugins.lock, and deployments need it: {users.described()}. "
                    "Undeploy them first, or add --force."
                )

    with error_console().status("Restoring plugins"):
        changes = sync_installed(context.settings.home, context.settings.plugins, dry_run=dry_run, show=take)
    if as_json:
        print_json([asdict(change) for change in changes])
    elif not changes:
        say("The installed plugins are those of plugins.lock.")
    else:
        say("Nothing was changed." if dry_run else "The plugins of plugins.lock are installed.")
        hint_reload(context.settings)


@dataclass(slots=True)
class _Preview:
    """What an installation would change, shown before anything is changed."""

    context: Context
    quiet: bool
    accept: bool
    plan: PluginPlan | None = None
    misfits: list[UnreadableVersion] = field(default_factory=list)

    def take(self, plan: PluginPlan) -> None:
        self.plan = plan
        if not self.quiet:
            _show_plan(plan)

    def check(self, plan: PluginPlan, wheels: Sequence[WheelFile]) -> None:
        """Name the stored versions that do not fit the plugin.

        Raises:
            VersionsUnreadable: it cannot read some that the installed one can, and that is not accepted.
        """
        from hub.client.upgrade import unreadable_after
        from hub.registry.state import disabled_of

        settings, store = self.context.settings, self.context.existing_store
        files = [wheel.path for wheel in wheels]
        found, lost = unreadable_after(files, plan.distribution, settings, store, disabled_of(settings))
        self.misfits = found
        for one in () if self.quiet else found:
            where = f"live as {', '.join(one.live)}" if one.live else "stored"
            what = "cannot be read" if one.certain else "may not fit"
            error_console().print(f"{one.version} ({where}) {what}: {one.reason}", markup=False)
        if lost and not self.accept:
            live = sorted({name for one in found if one.version in lost for name in one.live})
            deployments = f" Live as: {', '.join(live)}." if live else ""
            raise VersionsUnreadable(
                f"{plan.distribution} {plan.version} cannot read versions that the installed one can: "
                f"{listed(lost)}.{deployments} Nothing was changed; to go on, add --yes."
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": asdict(self.plan) if self.plan else None,
            "versions": [asdict(one) for one in self.misfits],
        }


def _show_plan(plan: PluginPlan) -> None:
    rows: list[tuple[Any, ...]] = [
        (
            one.name,
            one.installed or "-",
            one.version,
            "the hub needs the installed version" if one.pinned else "",
        )
        for one in plan.packages
    ]
    if rows:
        table(("package", "installed", "planned", ""), rows)
    for warning in plan.warnings:
        error_console().print(f"Broken by this: {warning}", markup=False)
