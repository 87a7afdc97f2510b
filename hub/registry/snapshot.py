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
from hub.registry.discovery import FoundPlugin, PluginStatus
from hub.registry.screening import files_key

__all__ = ["UNCHECKED", "Installation", "Snapshot"]

STATES_FILE = "plugin-states.json"
UNCHECKED = "not loaded since it was installed or changed. Run: hub plugins check"


@dataclass(frozen=True, slots=True)
class Installation:
    """Hashes of what the states of plugins depend on: of all of it, and of the files and settings of each."""

    key: str
    plugins: dict[str, str]  # by group and id

    @classmethod
    def of(
        cls, found: Iterable[FoundPlugin], settings: PluginSettings, disabled: Collection[str]
    ) -> Installation:
        """Return the hashes for the plugins that are installed now."""
        plugins = {_place(one): _hash([files_key([one]), settings.of(one.name)]) for one in found}
        own = settings.model_dump(mode="json", include=set(PluginSettings.model_fields))
        return cls(_hash([list(plugins.values()), sorted(disabled), own]), plugins)


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
                str(found["key"]),
                {name: {**one, "status": PluginStatus.from_json(one["status"])} for name, one in known},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def replaced(self, statuses: Iterable[PluginStatus], now: Installation) -> Snapshot:
        """Return a snapshot of these statuses; it keeps what is known of those that were not loaded."""
        keys, states = now.plugins, {}
        for status in statuses:
            place = f"{status.group} {status.id}"
            old = self.plugins.get(place)
            if place not in keys:
                continue
            if status.state in ("disabled", "refused") and old and old["key"] == keys[place]:
                states[place] = old
            else:
                states[place] = {"key": keys[place], "status": status}
        return Snapshot(now.key, states)

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

    def status(self, plugin: FoundPlugin, now: Installation) -> PluginStatus:
        """Return the last state of a plugin; "unchecked" if it changed, or others did that may conflict."""
        place = _place(plugin)
        known = self.plugins.get(place)
        if known is None or known["key"] != now.plugins[place]:
            return plugin.status("unchecked", UNCHECKED)
        status: PluginStatus = known["status"]
        if self.key == now.key or status.state in ("ok", "broken"):
            return status
        return replace(status, state="unchecked", reason=UNCHECKED)


def _place(plugin: FoundPlugin) -> str:
    return f"{plugin.entry_point.group} {plugin.id}"


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()
