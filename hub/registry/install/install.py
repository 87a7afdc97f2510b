"""Install and uninstall plugin distributions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hub.config import PluginSettings
from hub.errors import BadPlugin, Conflict, PluginConflict, PluginNotAllowed
from hub.registry.discovery import GROUPS, PluginStatus
from hub.registry.install.installer import install_wheels, remove
from hub.registry.install.locking import record
from hub.registry.install.pins import Environment
from hub.registry.install.pip import reason
from hub.registry.install.plan import PlannedPackage, PluginPlan, fetch, resolve
from hub.registry.install.previous import Previous
from hub.registry.install.target import InstallTarget, local_wheel, target_of
from hub.registry.install.wheel import WheelFile
from hub.registry.lock import read_lock
from hub.registry.policy import refusal
from hub.registry.probe import probe
from hub.registry.screening import forget

__all__ = ["Installed", "install", "uninstall"]


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution, newly installed if `changed`, and its plugins; none are listed after a dry run."""

    distribution: str
    version: str
    changed: bool
    plan: PluginPlan
    plugins: tuple[PluginStatus, ...] = ()


def install(
    what: str,
    *,
    home: Path,
    disabled: Collection[str] = (),
    build_isolation: bool = True,
    settings: PluginSettings | None = None,
    dry_run: bool = False,
    show: Callable[[PluginPlan], None] = lambda plan: None,
    before: Callable[[PluginPlan, Sequence[WheelFile]], None] = lambda plan, wheels: None,
) -> Installed:
    """Install a plugin from the package index, a folder, a wheel or an sdist, and load what it provides.

    The versions are resolved first and passed to `show`; then exactly these are installed, and recorded in
    plugins.lock. Libraries that the hub runs on keep their versions. `before` gets the plan and the wheels
    when all else permits the installation, and may raise to stop it. If a new version of a plugin is broken,
    the previous one is installed again.

    Raises:
        BadRequest, NotFound: `what` is neither a requirement nor an installable path.
        SourceUnavailable: it or a dependency cannot be downloaded; with pip's reason.
        LibraryPinned: it needs other versions of libraries that the hub runs on.
        Conflict: it cannot be installed beside the other plugins.
        PluginNotAllowed: the policy does not permit it; nothing was changed.
        BadPlugin: it does not build, is not a plugin, or is broken.
        PluginConflict: another plugin also provides something of the same name.
    """
    settings = settings or PluginSettings()
    target = target_of(what)
    if target.distribution:
        _refuse_unnamed(target.distribution, settings)
    previous: Previous | None = None
    with tempfile.TemporaryDirectory(prefix="hub-plugins-") as scratch:
        plan, wheels = _prepare(target, Path(scratch), home, settings, build_isolation, show)
        distribution, version = plan.distribution, plan.version
        if wheels:
            before(plan, wheels)
        if dry_run or not wheels:
            if not wheels and distribution not in Environment.read().plugins():
                raise _no_plugin(distribution, version, "It is installed as a library; nothing was changed.")
            if dry_run:
                return Installed(distribution, version, bool(wheels), plan)
        else:
            previous = Previous.of(plan, home, Path(scratch) / "previous")
            install_wheels(wheels, wheels[0].path.parent)
            record(home, wheels, plan)
        plugins, fault = _tried(distribution, disabled, home, settings)
        if fault and previous:
            previous.restore()
            _tried(distribution, disabled, home, settings)
            raise BadPlugin(
                f"{distribution} {version} cannot be used: {fault} {previous.version} is installed again."
            )
    if fault:
        raise BadPlugin(
            f"{distribution} {version} is installed, but {fault} Repair it and install again, or run: "
            f"hub plugins uninstall {distribution}"
        )
    _refuse_unusable(distribution, version, plugins)
    return Installed(distribution, version, bool(wheels), plan, plugins)


def uninstall(distribution: str, home: Path) -> None:
    """Uninstall a plugin's distribution, and remove it and the libraries that only it needed from the lock.

    Raises:
        Conflict: it could not be removed, or is still there afterwards.
    """
    done, output = remove([distribution])
    if not done or distribution in Environment.read().installed:
        raise Conflict(f"{distribution} could not be uninstalled: {reason(output)}")
    record(home, [], None)


def _prepare(
    target: InstallTarget,
    scratch: Path,
    home: Path,
    settings: PluginSettings,
    build_isolation: bool,
    show: Callable[[PluginPlan], None],
) -> tuple[PluginPlan, list[WheelFile]]:
    """Resolve and download, and refuse what must not be installed."""
    folder, own = scratch / "wheels", scratch / "own"
    folder.mkdir()
    own.mkdir()
    environment = Environment.read()
    local = local_wheel(target.path, own, settings, build_isolation) if target.path else None
    distribution = local.name if local else target.distribution
    argument = str(local.path) if local else target.shown
    plan, error = resolve(argument, environment, distribution, scratch, settings, build_isolation)
    if local:
        plan = _with_local(plan, local, target, environment, home)
    show(plan)
    if error:
        raise error
    others = [one for one in plan.packages if not local or one.name != local.name]
    wheels = fetch(others, folder, settings, build_isolation)
    if local and len(others) < len(plan.packages):
        wheels.insert(0, WheelFile.read(local.path.rename(folder / local.path.name)))
    _refuse(wheels, distribution, plan.version, settings)
    return plan, wheels


def _with_local(
    plan: PluginPlan, local: WheelFile, target: InstallTarget, environment: Environment, home: Path
) -> PluginPlan:
    """Return the plan with the path that was given, also where pip takes an equal version for installed."""
    locked = read_lock(home).get(local.name)
    others = tuple(one for one in plan.packages if one.name != local.name)
    if len(others) == len(plan.packages) and locked and locked.sha256 == local.sha256:
        return plan
    installed = environment.version(local.name)
    own = PlannedPackage(
        local.name, local.version, installed, local.sha256, (target.path or local.path).as_uri()
    )
    return replace(plan, version=local.version, packages=(own, *others))


def _refuse_unnamed(distribution: str, settings: PluginSettings) -> None:
    """Refuse a package that no entry of `plugins.allow` names, before an index is asked for it."""
    if settings.policy == "none" or (settings.policy == "allowlist" and not settings.allowed(distribution)):
        raise PluginNotAllowed(refusal(distribution, "", "", settings))


def _refuse(wheels: Sequence[WheelFile], distribution: str, version: str, settings: PluginSettings) -> None:
    """Refuse wheels that are no plugin, or plugins that the policy does not permit."""
    for wheel in wheels:
        if wheel.name == distribution and not wheel.is_plugin:
            raise _no_plugin(distribution, version, "Nothing was installed.")
        if wheel.is_plugin and (reason := refusal(wheel.name, wheel.version, wheel.sha256, settings)):
            raise PluginNotAllowed(f"{reason} Nothing was installed.")


def _no_plugin(distribution: str, version: str, outcome: str) -> BadPlugin:
    groups = " or ".join(map(repr, GROUPS))
    return BadPlugin(f"{distribution} {version} is not a plugin: no entry point in {groups}. {outcome}")


def _tried(
    distribution: str, disabled: Collection[str], home: Path, settings: PluginSettings
) -> tuple[tuple[PluginStatus, ...], str]:
    """Load the plugins of a distribution in a new process; return them, and why one is broken."""
    try:
        forget(home, distribution)
        listed = probe(disabled, home, settings)
    except BadPlugin as error:
        return (), f"{error}."
    plugins = tuple(plugin for plugin in listed if plugin.distribution == distribution)
    broken = next((one for one in plugins if one.state == "broken"), None)
    return plugins, f"its plugin {broken.name!r} is broken: {broken.reason}" if broken else ""


def _refuse_unusable(distribution: str, version: str, plugins: Sequence[PluginStatus]) -> None:
    for plugin in plugins:
        if plugin.state == "conflict":
            raise PluginConflict(
                f"{distribution} {version} is installed, but not usable yet. {plugin.reason}"
            )
        if plugin.state == "refused":
            raise PluginNotAllowed(f"{distribution} {version} is installed, but not loaded: {plugin.reason}")
