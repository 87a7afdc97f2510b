"""Install and uninstall plugin distributions."""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from hub.config import PluginSettings
from hub.errors import BadPlugin, BadRequest, Conflict, NotFound, PluginConflict
from hub.registry.discovery import CORE, GROUPS, PluginStatus
from hub.registry.pip import failure, reason, run_pip
from hub.registry.probe import probe
from hub.registry.screening import forget

__all__ = ["Installed", "install", "uninstall"]

_VERSIONS = r"(?:==|!=|~=|<=|>=|<|>)[A-Za-z0-9.!+*_-]+"
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[A-Za-z0-9._,-]+\])?"
    rf"(?:{_VERSIONS}(?:,{_VERSIONS})*)?"
)
_ARCHIVES = (".whl", ".tar.gz", ".zip")


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution, newly installed if `changed`, and its plugins."""

    distribution: str
    version: str
    changed: bool
    plugins: tuple[PluginStatus, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    """The target of an installation: pip's argument, whether it is a path, its name if known."""

    argument: str
    local: bool
    distribution: str = ""


def install(
    what: str,
    *,
    home: Path | None = None,
    disabled: Collection[str] = (),
    build_isolation: bool = True,
    settings: PluginSettings | None = None,
) -> Installed:
    """Install a plugin from the package index, a folder, a wheel or an sdist, and load what it provides.

    The result of its import is cached in `home`. Installed libraries keep their versions. A distribution that
    is not a plugin is uninstalled again, with its new dependencies.

    Raises:
        BadRequest, NotFound: `what` is neither a requirement nor an installable path.
        SourceUnavailable: it or a dependency cannot be downloaded; with pip's reason.
        Conflict: it needs other versions of installed libraries.
        BadPlugin: it does not build, is not a plugin, or is broken.
        PluginConflict: another plugin also provides something of the same name.
    """
    target = _target(what)
    before, plugins_before = _versions(), _plugin_distributions()
    report = _run(target, before, plugins_before, build_isolation)["install"]
    new = {canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in report}
    requested = next((item["metadata"]["name"] for item in report if item.get("requested")), None)
    distribution = canonicalize_name(requested or target.distribution)
    version = new.get(distribution) or before.get(distribution, "")
    if not any(plugin.distribution == distribution for plugin in probe(None)):
        raise _no_plugin(distribution, version, sorted(new.keys() - (before.keys() - plugins_before)))
    try:
        if home:
            forget(home, distribution)
        listed = probe(disabled, home, settings)
        plugins = tuple(plugin for plugin in listed if plugin.distribution == distribution)
    except BadPlugin as error:
        raise BadPlugin(f"{distribution} {version} is installed, but {error}") from None
    _refuse_unusable(distribution, version, plugins)
    return Installed(distribution, version, bool(new), plugins)


def uninstall(distribution: str) -> None:
    """Uninstall a plugin's distribution.

    Raises:
        Conflict: pip could not remove it, or it is still there afterwards.
    """
    done, output = run_pip("uninstall", "--yes", distribution)
    if not done or any(plugin.distribution == distribution for plugin in probe(None)):
        raise Conflict(f"pip did not uninstall {distribution}: {reason(output)}")


def _target(what: str) -> _Target:
    path = Path(what).expanduser()
    looks_local = "/" in what or "\\" in what or what.startswith((".", "~")) or what.endswith(_ARCHIVES)
    if not what or (not looks_local and not (path / "pyproject.toml").is_file()):
        if not (match := _REQUIREMENT.fullmatch(what)):
            raise BadRequest(
                f"{what[:120]!r} is neither a path nor a package such as acme-plugin or acme-plugin==1.2."
            )
        return _Target(what, local=False, distribution=match["name"])
    path = path.resolve()
    if not path.exists():
        raise NotFound(f"{path} does not exist. Name a folder, a wheel, or a package of the package index.")
    if path.is_dir() and not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise BadRequest(f"{path} is not a Python distribution: it has no pyproject.toml.")
    if path.is_file() and not path.name.endswith(_ARCHIVES):
        raise BadRequest(f"{path.name} cannot be installed: name a folder, or a file that ends in .whl.")
    return _Target(str(path), local=True, distribution=path.name.split("-")[0])


def _versions() -> dict[str, str]:
    importlib.invalidate_caches()
    return {
        canonicalize_name(item.name): item.version for item in distributions() if item.name and item.version
    }


def _plugin_distributions() -> set[str]:
    return {
        str(canonicalize_name(item.name))
        for item in distributions()
        if item.name and any(item.entry_points.select(group=group) for group in GROUPS)
    } - {CORE}


def _run(
    target: _Target, before: Mapping[str, str], plugins: Collection[str], build_isolation: bool
) -> dict[str, Any]:
    """Install with all installed libraries except plugins pinned; return pip's report."""
    with tempfile.TemporaryDirectory() as scratch:
        constraints, report = Path(scratch, "constraints.txt"), Path(scratch, "report.json")
        pinned = sorted(before.keys() - set(plugins))
        constraints.write_text("".join(f"{name}=={before[name]}\n" for name in pinned), encoding="utf-8")
        options = ["--constraint", str(constraints), "--report", str(report)]
        if not build_isolation:
            options.append("--no-build-isolation")
        done, output = run_pip("install", *options, target.argument)
        if not done:
            hint = " Offline, add --no-build-isolation." if target.local and build_isolation else ""
            raise failure(target.argument, output, hint)
        answer: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return answer


def _no_plugin(distribution: str, version: str, new: Sequence[str]) -> BadPlugin:
    """Uninstall a distribution that is not a plugin, and return the error."""
    problem = f"{distribution} {version} is not a plugin: no entry point in {' or '.join(map(repr, GROUPS))}."
    if not new:
        return BadPlugin(f"{problem} It was installed before as a library; nothing was uninstalled.")
    done, output = run_pip("uninstall", "--yes", *new)
    undone = f"Uninstalled again: {', '.join(new)}." if done else f"It stays installed: {reason(output)}"
    return BadPlugin(f"{problem} {undone}")


def _refuse_unusable(distribution: str, version: str, plugins: Sequence[PluginStatus]) -> None:
    for plugin in plugins:
        if plugin.state == "broken":
            raise BadPlugin(
                f"{distribution} {version} is installed, but its plugin {plugin.name!r} is broken: "
                f"{plugin.reason} Repair it and install again, or run: hub plugins uninstall {distribution}"
            )
        if plugin.state == "conflict":
            raise PluginConflict(
                f"{distribution} {version} is installed, but not usable yet. {plugin.reason}"
            )
