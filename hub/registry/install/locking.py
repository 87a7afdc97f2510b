"""Keeps plugins.lock in step with the environment, and restores the environment from it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from hub.config import PluginSettings
from hub.errors import BadPlugin, Conflict, HashMismatch, LibraryPinned, NotFound, PluginNotAllowed
from hub.files import replacing
from hub.registry.install.installer import install_wheels, remove
from hub.registry.install.pins import Environment
from hub.registry.install.pip import failure, reason, run_pip
from hub.registry.install.plan import PluginPlan
from hub.registry.install.wheel import WheelFile
from hub.registry.lock import LOCK_FILE, LockedPackage, files_digest, read_lock, write_lock
from hub.registry.policy import refusal

__all__ = ["LockChange", "fetch_locked", "is_installed", "kept_wheels", "lock", "record", "sync"]

WHEELS = "plugin-wheels"  # in the state folder: wheels that no package index has


@dataclass(frozen=True, slots=True)
class LockChange:
    """What `sync` does with a distribution: `locked` is the version it gets, "" to uninstall it."""

    name: str
    installed: str
    locked: str


def kept_wheels(home: Path) -> Path:
    """Return the folder of the wheels that no package index has."""
    return home / WHEELS


def record(home: Path, wheels: Iterable[WheelFile], plan: PluginPlan | None) -> None:
    """Lock wheels that were just installed, and forget what no plugin needs any more.

    Other processes that install wait for their turn.

    Raises:
        BadConfig: plugins.lock is damaged.
    """
    planned = {one.name: one for one in plan.packages} if plan else {}
    found: dict[str, LockedPackage] = {}
    for wheel in wheels:
        origin = planned[wheel.name]
        kept = not origin.is_wheel or not origin.url.startswith(("http://", "https://"))
        if kept:
            _keep(home, wheel.path)
        found[wheel.name] = _entry(wheel, built=not origin.is_wheel, kept=kept)
    if not found and not (home / LOCK_FILE).is_file():
        return
    with FileLock(home / f".{LOCK_FILE}.lock"):
        if locked := {**read_lock(home), **found}:
            _write(home, locked)


def lock(home: Path) -> list[LockedPackage]:
    """Lock what is installed: each third-party plugin and its own libraries. Return the new lock.

    What another tool installed is downloaded again, to learn the hash of its wheel.

    Raises:
        SourceUnavailable: no package index has the installed version.
        HashMismatch: the files of the index are not those that are installed.
    """
    environment, known = Environment.read(), read_lock(home)
    found: dict[str, LockedPackage] = {}
    with tempfile.TemporaryDirectory(prefix="hub-plugins-") as scratch:
        for name in sorted(environment.own_libraries(environment.plugins())):
            installed = environment.installed[name]
            entry = known.get(name)
            if entry is None or (entry.version, entry.files) != (installed.version, files_digest(installed)):
                entry = _download(name, installed.version, Path(scratch), files_digest(installed))
            found[name] = entry
    _write(home, found)
    return sorted(found.values(), key=lambda package: package.name)


def sync(
    home: Path,
    settings: PluginSettings,
    *,
    dry_run: bool = False,
    show: Callable[[Sequence[LockChange]], None] = lambda changes: None,
) -> list[LockChange]:
    """Install exactly what plugins.lock has, and uninstall third-party plugins that it has not.

    All wheels are downloaded and their hashes compared before anything is changed. `show` gets the changes
    first.

    Raises:
        NotFound: there is no lock.
        LibraryPinned: the hub runs on another version of a locked library.
        PluginNotAllowed: the policy does not permit a locked plugin.
        HashMismatch: a wheel is not the one that was locked.
        SourceUnavailable, Conflict: a wheel is not there, or the installer failed.
    """
    if not (home / LOCK_FILE).is_file():
        raise NotFound(
            f"There is no {home / LOCK_FILE}. It is written by hub plugins install and hub plugins lock."
        )
    locked, environment = read_lock(home), Environment.read()
    _refuse(locked, environment, settings)
    wrong = [one for one in locked.values() if not is_installed(one, environment)]
    extra = [name for name in environment.plugins() if name not in locked]
    changes = [LockChange(one.name, environment.version(one.name), one.version) for one in wrong]
    changes += [LockChange(name, environment.version(name), "") for name in extra]
    show(changes)
    if dry_run or not changes:
        return changes
    with tempfile.TemporaryDirectory(prefix="hub-plugins-") as scratch:
        wheels = fetch_locked(home, wrong, Path(scratch))
        if wheels:
            install_wheels(wheels, Path(scratch))
    if extra:
        done, output = remove(extra)
        if not done:
            raise Conflict(f"{', '.join(extra)} could not be uninstalled: {reason(output)}")
    return changes


def is_installed(package: LockedPackage, environment: Environment) -> bool:
    """Return whether a distribution is installed with the files that are locked."""
    installed = environment.installed.get(package.name)
    return (
        installed is not None
        and installed.version == package.version
        and files_digest(installed) == package.files
    )


def _refuse(locked: Mapping[str, LockedPackage], environment: Environment, settings: PluginSettings) -> None:
    pinned = environment.pinned
    if held := [one for one in locked.values() if pinned.get(one.name, one.version) != one.version]:
        libraries = ", ".join(f"{one.name} {one.version} (now {pinned[one.name]})" for one in held)
        raise LibraryPinned(
            f"{LOCK_FILE} has libraries that GraftHub runs on in other versions: {libraries}. Install the "
            "plugins again, which locks them anew."
        )
    for one in locked.values():
        if one.plugin and (why := refusal(one.name, one.version, one.sha256, settings)):
            raise PluginNotAllowed(f"{LOCK_FILE} has {one.name} {one.version}: {why} Nothing was changed.")
        if one.built and settings.wheels_only:
            raise PluginNotAllowed(
                f"{LOCK_FILE} has {one.name} {one.version}, which was built from source, and "
                "plugins.wheels_only is set. Nothing was changed."
            )


def fetch_locked(home: Path, packages: Sequence[LockedPackage], folder: Path) -> list[WheelFile]:
    """Copy kept wheels and download the others to `folder`; each is checked by its hash."""
    wheels: list[WheelFile] = []
    others: list[LockedPackage] = []
    for one in packages:
        kept = kept_wheels(home) / one.wheel
        if one.kept and kept.is_file():
            wheels.append(_checked(WheelFile.read(Path(shutil.copy(kept, folder))), one))
        else:
            others.append(one)
    if others:
        requirements = folder / "requirements.txt"
        lines = [f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in others]
        requirements.write_text("".join(lines), encoding="utf-8")
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(folder)]
        done, output = run_pip("download", *options, "--requirement", str(requirements))
        if not done:
            raise failure(", ".join(f"{one.name} {one.version}" for one in others), output)
        found = {wheel.name: wheel for wheel in map(WheelFile.read, folder.glob("*.whl"))}
        wheels += [_checked(found[one.name], one) for one in others]
    return wheels


def _checked(wheel: WheelFile, locked: LockedPackage) -> WheelFile:
    if wheel.sha256 != locked.sha256:
        raise HashMismatch(
            f"{wheel.path.name} has the hash sha256:{wheel.sha256}, and {LOCK_FILE} has "
            f"sha256:{locked.sha256}. Nothing was changed."
        )
    return wheel


def _download(name: str, version: str, scratch: Path, files: str) -> LockedPackage:
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(scratch)]
    done, output = run_pip("download", *options, f"{name}=={version}")
    if not done:
        error = failure(f"{name} {version}", output)
        raise type(error)(f"{error} To lock it, install its wheel with: hub plugins install") from None
    wheel = next((one for one in map(WheelFile.read, scratch.glob("*.whl")) if one.name == name), None)
    if wheel is None:
        raise BadPlugin(f"pip downloaded no wheel of {name} {version}.")
    if wheel.files != files:
        raise HashMismatch(
            f"The installed files of {name} {version} are not those of {wheel.path.name} in the package "
            "index. Install it again with: hub plugins install"
        )
    return _entry(wheel, built=False, kept=False)


def _entry(wheel: WheelFile, *, built: bool, kept: bool) -> LockedPackage:
    return LockedPackage(
        wheel.name, wheel.version, wheel.path.name, wheel.sha256, wheel.files, wheel.is_plugin, built, kept
    )


def _keep(home: Path, wheel: Path) -> None:
    kept_wheels(home).mkdir(parents=True, exist_ok=True)
    with replacing(kept_wheels(home) / wheel.name, private=True, durable=True) as aside:
        shutil.copyfile(wheel, aside)


def _write(home: Path, packages: Mapping[str, LockedPackage]) -> None:
    """Write the lock without what no installed plugin needs.

    Kept wheels stay, so that a copy of the lock can be restored after an upgrade or `uninstall`.
    """
    environment = Environment.read()
    needed = environment.own_libraries(environment.plugins())
    locked = {name: one for name, one in packages.items() if name in needed}
    write_lock(home, locked.values())
