"""Puts the previous version of a plugin back if a new one cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.errors import Conflict, HubError
from hub.registry.install.installer import install_wheels, remove
from hub.registry.install.locking import fetch_locked, is_installed, kept_wheels
from hub.registry.install.pins import Environment
from hub.registry.install.pip import reason
from hub.registry.install.plan import PluginPlan
from hub.registry.install.wheel import WheelFile
from hub.registry.lock import LockedPackage, read_lock, write_lock

__all__ = ["Previous"]


@dataclass(frozen=True, slots=True)
class Previous:
    """What an installation replaces: the lock before it, kept wheels in `folder`, and what it adds."""

    version: str
    home: Path
    folder: Path
    locked: Mapping[str, LockedPackage]
    kept: Sequence[WheelFile]
    others: Sequence[LockedPackage]
    added: Sequence[str]

    @classmethod
    def of(cls, plan: PluginPlan, home: Path, folder: Path) -> Previous | None:
        """Copy the wheels that no index has; None for a new plugin, or one that can't be put back.

        Only what is installed as plugins.lock has it can be.
        """
        locked, environment = read_lock(home), Environment.read()
        replaced = [one.name for one in plan.packages if one.installed]
        if plan.distribution not in replaced:
            return None
        if not all(name in locked and is_installed(locked[name], environment) for name in replaced):
            return None
        entries = [locked[name] for name in replaced]
        own = [one for one in entries if one.kept and (kept_wheels(home) / one.wheel).is_file()]
        folder.mkdir()
        try:
            kept = fetch_locked(home, own, folder)
        except HubError:
            return None
        return cls(
            version=locked[plan.distribution].version,
            home=home,
            folder=folder,
            locked=locked,
            kept=kept,
            others=[one for one in entries if one not in own],
            added=[one.name for one in plan.packages if not one.installed],
        )

    def restore(self) -> None:
        """Install again what was replaced, and remove what was added.

        Raises:
            SourceUnavailable, HashMismatch, Conflict: it could not be; the new version stays.
        """
        others = fetch_locked(self.home, self.others, self.folder) if self.others else []
        install_wheels([*self.kept, *others], self.folder)
        if self.added:
            done, output = remove(self.added)
            if not done:
                raise Conflict(f"{', '.join(self.added)} could not be uninstalled: {reason(output)}")
        write_lock(self.home, self.locked.values())
