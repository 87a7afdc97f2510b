"""Which third-party plugins may be installed and loaded: `plugins.policy` and its companions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path

from packaging.version import InvalidVersion, Version

from hub.config import AllowedPlugin, PluginSettings
from hub.errors import BadConfig
from hub.registry.discovery import BUILT_IN, FoundPlugin
from hub.registry.lock import LOCK_FILE, LockedPackage, files_digest, read_lock

__all__ = ["refusal", "refusals"]


def refusal(name: str, version: str, sha256: str, settings: PluginSettings) -> str:
    """Return why the policy does not permit a distribution with a plugin, or "".

    `name` is canonical; `sha256` is the hash of its wheel, "" if it is not known. A wheel with the name of a
    built-in plugin is no exception: only what came with the hub is, and that is not asked for here.
    """
    if settings.policy == "all":
        return ""
    if settings.policy == "none":
        return 'No third-party plugin is permitted: plugins.policy is "none", or --no-plugins was given.'
    if not settings.allowed(name):
        return f'{name} is not in plugins.allow, and plugins.policy is "allowlist".'
    if not (entries := _entries(name, version, settings)):
        return f"plugins.allow does not permit version {version} of {name}."
    if all(entry.sha256 for entry in entries) and not any(sha256 in entry.sha256 for entry in entries):
        known = f"it is sha256:{sha256}" if sha256 else f"{LOCK_FILE} does not have it"
        return f"plugins.allow does not permit the hash of {name} {version}: {known}."
    return ""


def refusals(plugins: Iterable[FoundPlugin], settings: PluginSettings, home: Path | None) -> dict[str, str]:
    """Return the installed distributions that must not be loaded, with the reasons; imports nothing."""
    found = {plugin.distribution: plugin.entry_point.dist for plugin in plugins}
    others = {name: one for name, one in found.items() if name not in BUILT_IN}
    if not others or not _restricted(settings):
        return {}
    try:
        lock = read_lock(home)
    except BadConfig as error:
        return dict.fromkeys(others, str(error))
    reasons = {name: _reason(name, one, lock.get(name), settings) for name, one in others.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _restricted(settings: PluginSettings) -> bool:
    return settings.policy != "all" or settings.wheels_only or settings.locked


def _reason(
    name: str, installed: Distribution | None, locked: LockedPackage | None, settings: PluginSettings
) -> str:
    version = installed.version if installed else ""
    known = locked if locked and locked.version == version else None
    if reason := refusal(name, version, known.sha256 if known else "", settings):
        return reason
    if settings.wheels_only and (_is_from_source(installed) or (known and known.built)):
        return f"{name} {version} was not installed from a wheel, and plugins.wheels_only is set."
    if not settings.locked and not _is_hashed(name, version, settings):
        return ""
    if known is None:
        return (
            f"{LOCK_FILE} does not have {name} {version}. Install it with hub plugins, or run: "
            "hub plugins lock"
        )
    if installed is None or files_digest(installed) != known.files:
        return f"Files of {name} {version} are not those that {LOCK_FILE} records. Run: hub plugins sync"
    return ""


def _entries(name: str, version: str, settings: PluginSettings) -> list[AllowedPlugin]:
    """Return the entries of `plugins.allow` for this version."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return []
    return [one for one in settings.allowed(name) if one.versions.contains(parsed, prereleases=True)]


def _is_hashed(name: str, version: str, settings: PluginSettings) -> bool:
    """Return whether this version is permitted by its hash only."""
    entries = _entries(name, version, settings) if settings.policy == "allowlist" else []
    return bool(entries) and all(entry.sha256 for entry in entries)


def _is_from_source(installed: Distribution | None) -> bool:
    """Return whether a distribution was installed from a folder, repository or source archive (PEP 610)."""
    try:
        origin = json.loads((installed and installed.read_text("direct_url.json")) or "{}")
    except ValueError:
        return True
    return "dir_info" in origin or "vcs_info" in origin or not origin.get("url", ".whl").endswith(".whl")
