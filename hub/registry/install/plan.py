"""Resolves what an installation would change, by pip's dry run, before anything is changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from hub.config import PluginSettings
from hub.errors import BadPlugin, Conflict, HashMismatch, HubError, LibraryPinned
from hub.registry.install.pins import Environment
from hub.registry.install.pip import causes, failure, is_conflict, run_pip
from hub.registry.install.wheel import WheelFile

__all__ = ["PlannedPackage", "PluginPlan", "fetch", "resolve"]

_CONSTRAINT = re.compile(r"\(constraint\) ([A-Za-z0-9._-]*[A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class PlannedPackage:
    """A distribution that would be installed; `installed` is its present version, "" if it is new.

    `pinned`: the hub runs on it, so it may not change.
    """

    name: str
    version: str
    installed: str
    sha256: str
    url: str
    direct: bool = False
    pinned: bool = False

    @property
    def is_wheel(self) -> bool:
        return self.url.partition("#")[0].endswith(".whl")


@dataclass(frozen=True, slots=True)
class PluginPlan:
    """What an installation changes. `warnings`: requirements of packages outside the hub that it breaks."""

    distribution: str
    version: str
    packages: tuple[PlannedPackage, ...]
    warnings: tuple[str, ...] = ()


def resolve(
    argument: str,
    environment: Environment,
    distribution: str,
    scratch: Path,
    settings: PluginSettings,
    build_isolation: bool,
) -> tuple[PluginPlan, HubError | None]:
    """Return what pip would install, and why that must not be done, if so.

    `argument` is a requirement or the path of a wheel, `distribution` its canonical name.

    Raises:
        SourceUnavailable, BadPlugin, Conflict, LibraryPinned: nothing could be resolved.
    """
    limits = environment.constraints([distribution])
    done, output, report = _dry_run(argument, limits, scratch, settings, build_isolation)
    if done:
        return _plan(distribution, report, environment), None
    if not is_conflict(output):
        raise failure(argument, output)
    error = _conflict(argument, output, environment, distribution)
    done, _, report = _dry_run(argument, [], scratch, settings, build_isolation)
    if not done:
        raise error
    return _plan(distribution, report, environment), error


def fetch(
    packages: Sequence[PlannedPackage], folder: Path, settings: PluginSettings, build_isolation: bool
) -> list[WheelFile]:
    """Download planned packages to `folder`, checked by their hashes; build wheels of source archives.

    Raises:
        SourceUnavailable, BadPlugin: one is not there, has another hash, or does not build.
    """
    options = _options(settings, build_isolation)
    if unknown := [one.name for one in packages if not one.sha256]:
        raise BadPlugin(
            f"{', '.join(unknown)} would come from a folder or a repository, which has no hash to record. "
            "Give a wheel or a package of an index."
        )
    local = [one for one in packages if one.is_wheel and one.url.startswith("file:")]
    copied = [_copied(one, folder) for one in local]
    return [*copied, *_downloaded([one for one in packages if one not in local], folder, options)]


def _copied(package: PlannedPackage, folder: Path) -> WheelFile:
    """Copy a wheel of an index that is a folder."""
    path = Path(url2pathname(urlsplit(package.url).path))
    wheel = WheelFile.read(Path(shutil.copy(path, folder)))
    if wheel.sha256 != package.sha256:
        raise HashMismatch(f"{path} changed while it was installed. Nothing was changed.")
    return wheel


def _downloaded(packages: Sequence[PlannedPackage], folder: Path, options: Sequence[str]) -> list[WheelFile]:
    if not packages:
        return []
    lines = [
        f"{one.name} @ {one.url} --hash=sha256:{one.sha256}\n"
        if one.direct
        else f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n"
        for one in packages
    ]
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(lines), encoding="utf-8")
    names = ", ".join(f"{one.name} {one.version}" for one in packages)
    fixed = ["--no-deps", "--require-hashes", "--wheel-dir", str(folder)]
    done, output = run_pip("wheel", *fixed, *options, "--requirement", str(requirements))
    if not done:
        raise failure(names, output)
    wheels = {(one.name, one.version): one for one in map(WheelFile.read, folder.glob("*.whl"))}
    if missing := [one.name for one in packages if (one.name, one.version) not in wheels]:
        raise BadPlugin(f"pip made no wheel of {', '.join(missing)}.")
    return [wheels[one.name, one.version] for one in packages]


def _options(settings: PluginSettings, build_isolation: bool) -> list[str]:
    options = ["--only-binary", ":all:"] if settings.wheels_only else []
    return options if build_isolation else [*options, "--no-build-isolation"]


def _dry_run(
    argument: str, constraints: Sequence[str], scratch: Path, settings: PluginSettings, build_isolation: bool
) -> tuple[bool, str, list[dict[str, Any]]]:
    limits, report = scratch / "constraints.txt", scratch / "report.json"
    limits.write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
    options = ["--dry-run", "--constraint", str(limits), "--report", str(report)]
    done, output = run_pip("install", *options, *_options(settings, build_isolation), argument)
    found = json.loads(report.read_text(encoding="utf-8"))["install"] if done else []
    return done, output, found


def _plan(distribution: str, report: Sequence[dict[str, Any]], environment: Environment) -> PluginPlan:
    pinned = environment.pinned
    packages = []
    for item in report:
        name, origin = canonicalize_name(item["metadata"]["name"]), item["download_info"]
        packages.append(
            PlannedPackage(
                name=name,
                version=item["metadata"]["version"],
                installed=environment.version(name),
                sha256=origin.get("archive_info", {}).get("hashes", {}).get("sha256", ""),
                url=origin["url"],
                direct=item.get("is_direct", False),
                pinned=name in pinned,
            )
        )
    versions = {one.name: one.version for one in packages}
    version = versions.get(distribution) or environment.version(distribution)
    warnings = tuple(environment.broken_by(versions))
    return PluginPlan(distribution, version, tuple(sorted(packages, key=lambda one: one.name)), warnings)


def _conflict(argument: str, output: str, environment: Environment, distribution: str) -> Conflict:
    """Return the error for constraints that cannot be met: of the hub, or of other plugins."""
    shown = Path(argument).name if "/" in argument else argument
    reasons, limited = causes(output), set(map(canonicalize_name, _CONSTRAINT.findall(output)))
    pinned = environment.pinned
    if held := sorted(limited & pinned.keys()):
        libraries = ", ".join(f"{name} {pinned[name]}" for name in held)
        return LibraryPinned(
            f"{shown} needs another version of a library that GraftHub runs on and keeps, {libraries}: "
            f"{reasons}. Nothing was changed."
        )
    others = environment.own_libraries([name for name in environment.plugins() if name != distribution])
    needs = [
        f"{name} {environment.version(name)} needs {required}"
        for name in sorted(others - {distribution})
        for required in environment.requirements(name)
        if canonicalize_name(required.name) in limited
    ]
    known = f" Installed plugins: {'; '.join(needs)}." if needs else ""
    return Conflict(
        f"{shown} cannot be installed beside the other plugins: {reasons}.{known} Nothing was changed."
    )
