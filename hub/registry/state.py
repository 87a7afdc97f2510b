"""The list of disabled plugins, a file in the state folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hub.config import Settings
from hub.errors import BadConfig
from hub.files import write_file

__all__ = ["disable", "disabled_of", "disabled_plugins", "enable"]

STATE_FILE = "plugins.json"


def disabled_plugins(home: Path) -> frozenset[str]:
    """Return the names passed to `disable`.

    Raises:
        BadConfig: the file is damaged.
    """
    path = home / STATE_FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["disabled"]
    except FileNotFoundError:
        return frozenset()
    except (ValueError, KeyError, TypeError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadConfig(
            f'{path} is damaged: its content must be {{"disabled": ["name", ...]}}. '
            "Repair it, or delete it to enable all plugins."
        )
    return frozenset(names)


def disabled_of(settings: Settings) -> frozenset[str]:
    """Return the names that are disabled by the settings or by `hub plugins disable`.

    Raises:
        BadConfig: as `disabled_plugins`.
    """
    return disabled_plugins(settings.home) | set(settings.plugins.disabled)


def disable(home: Path, name: str) -> None:
    """Disable a plugin (by name, id or distribution): it is not imported from now on."""
    _change(home, lambda names: names | {name})


def enable(home: Path, name: str) -> None:
    """Undo `disable`, if the plugin was disabled."""
    _change(home, lambda names: names - {name})


def _change(home: Path, changed: Callable[[frozenset[str]], frozenset[str]]) -> None:
    """Write the names that `changed` makes of the current ones; other processes wait for their turn."""
    from filelock import FileLock  # takes a while, and most commands only read

    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f".{STATE_FILE}.lock"):
        text = json.dumps({"disabled": sorted(changed(disabled_plugins(home)))}, indent=2)
        write_file(home / STATE_FILE, text, private=True, durable=True)
