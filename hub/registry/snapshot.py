"""The states of plugins when they were last loaded, so that they can be listed without importing them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hub.config import PluginSettings
from hub.files import write_file
from hub.registry.discovery import FoundPlugin, PluginStatus, find_plugins
from hub.registry.screening import files_key

__all__ = ["UNCHECKED", "Snapshot", "installation_key"]

STATES_FILE = "plugin-states.json"
UNCHECKED = "not loaded since it was installed or changed. Run: hub plugins check"


def installation_key(settings: PluginSettings, disabled: Collection[str]) -> str:
    """Return a hash of all that the states of plugins depend on: their files, settings and policy."""
    keys = [_key(plugin, settings) for plugin in find_plugins()]
    own = settings.model_dump(mode="json", include=set(PluginSettings.model_fields))
    return _hash([keys, sorted(disabled), own])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """States by group and id of the plugin, each with the key of its files and settings."""

    key: str = ""
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, home: Path | None) -> Snapshot:
        """Read the last snapshot; an empty one if there is none."""
        try:
            found = json.loads((home / STATES_FILE).read_text(encoding="utf-8")) if home else {}
            known = found["plugins"].items()
            return cls(
                str(found["key"]), {name: {**one, "status": _status(one["status"])} for name, one in known}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def replaced(self, statuses: Iterable[PluginStatus], key: str, settings: PluginSettings) -> Snapshot:
        """Return a snapshot of these statuses; it keeps what is known of those that were not loaded."""
        keys = {_place(plugin): _key(plugin, settings) for plugin in find_plugins()}
        states = {}
        for status in statuses:
            place = f"{status.group} {status.id}"
            old = self.plugins.get(place)
            if place not in keys:
                continue
            if status.state in ("disabled", "refused") and old and old["key"] == keys[place]:
                states[place] = old
            else:
                states[place] = {"key": keys[place], "status": status}
        return Snapshot(key, states)

    def write(self, home: Path) -> None:
        """Replace the file, if there is a state folder; a failure is ignored, as it is a cache."""
        if not home.is_dir():
            return
        states = {name: {**one, "status": asdict(one["status"])} for name, one in self.plugins.items()}
        try:
            text = json.dumps({"key": self.key, "plugins": states}, indent=2)
            write_file(home / STATES_FILE, text, private=True)
        except OSError:
            return

    def status(self, plugin: FoundPlugin, settings: PluginSettings, *, exact: bool) -> PluginStatus:
        """Return the last state of a plugin; "unchecked" if it changed, or others did that may conflict."""
        known = self.plugins.get(_place(plugin))
        if known is None or known["key"] != _key(plugin, settings):
            return plugin.status("unchecked", UNCHECKED)
        status: PluginStatus = known["status"]
        if exact or status.state in ("ok", "broken"):
            return status
        return replace(status, state="unchecked", reason=UNCHECKED)


def _place(plugin: FoundPlugin) -> str:
    return f"{plugin.entry_point.group} {plugin.id}"


def _key(plugin: FoundPlugin, settings: PluginSettings) -> str:
    return _hash([files_key([plugin]), settings.of(plugin.name)])


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()


def _status(values: dict[str, Any]) -> PluginStatus:
    tuples = {name: tuple(values[name]) for name in ("tasks", "provides")}
    return PluginStatus(**{**values, **tuples})
