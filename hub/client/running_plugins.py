"""What is installed beside what servers run, plugin by plugin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hub.registry.discovery import PluginStatus

__all__ = ["ComparedPlugin", "RunningPlugin", "compare_plugins"]

Json = dict[str, Any]
USABLE = ("ok", "unchecked")
LEFT_OUT = ("disabled", "refused", "uninstalled")


@dataclass(frozen=True, slots=True)
class RunningPlugin:
    """The version and state of a plugin that `replicas` serving processes of a server last reported."""

    server: str
    version: str
    state: str
    replicas: int


@dataclass(frozen=True, slots=True)
class ComparedPlugin:
    """An installed plugin, or one that only runs, as JSON; `change` says what a reload changes."""

    installed: Json
    running: tuple[RunningPlugin, ...]
    change: str

    @property
    def id(self) -> str:
        return f"{self.installed['distribution']}:{self.installed['name']}"

    def to_json(self) -> Json:
        return {**self.installed, "running": [asdict(one) for one in self.running], "change": self.change}


def compare_plugins(
    installed: Sequence[PluginStatus], replicas: Iterable[Mapping[str, Any]], server: str
) -> list[ComparedPlugin]:
    """Compare what is installed with what replicas report; `server` is the URL of the one with these plugins.

    `replicas` are those of `GET /admin/replicas`.
    """
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for replica in replicas:
        for id, (version, state) in replica.get("plugins", {}).items():
            counts[id, replica["url"], version, state] += 1
    running: dict[str, list[RunningPlugin]] = {}
    for (id, url, version, state), number in sorted(counts.items()):
        running.setdefault(id, []).append(RunningPlugin(url, version, state, number))
    asked = any(one.server == server for each in running.values() for one in each)
    found = [asdict(one) for one in installed]
    for id in sorted(running.keys() - {one.id for one in installed}):
        distribution, _, name = id.rpartition(":")
        found.append({"name": name, "distribution": distribution, "version": "", "state": "uninstalled"})
    compared = []
    for one in found:
        mine = tuple(running.get(f"{one['distribution']}:{one['name']}", ()))
        here = [each for each in mine if each.server == server]
        change = _change(str(one["version"]), str(one["state"]), here) if asked else ""
        compared.append(ComparedPlugin(one, mine, change))
    return compared


def _change(version: str, state: str, running: Sequence[RunningPlugin]) -> str:
    """Return in words how what is installed differs from what runs; "" if it does not."""
    runs = [one for one in running if one.state not in LEFT_OUT]
    shown = ", ".join(dict.fromkeys(one.version for one in runs))
    if state in LEFT_OUT:
        return f"{state}, running {shown}" if runs else ""
    if state not in USABLE and not runs:
        return ""
    if not runs:
        return f"installed {version}, not running"
    others = [one for one in runs if one.version != version]
    return f"installed {version}, running {shown}" if others else ""
