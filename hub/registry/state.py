"""Which plugins are switched off: one small file in the state folder."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hub.errors import BadConfig

__all__ = ["disable", "disabled_plugins", "enable", "write_json"]

STATE_FILE = "plugins.json"


def disabled_plugins(home: Path) -> frozenset[str]:
    """Return what `disable` was called with.

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
            f'{path} is damaged: it has to read {{"disabled": ["name", ...]}}. '
            "Mend it, or delete it to enable every plugin."
        )
    return frozenset(names)


def disable(home: Path, name: str) -> None:
    """Keep a plugin (by name, id or distribution) from being imported from now on."""
    _write(home, disabled_plugins(home) | {name})


def enable(home: Path, name: str) -> None:
    """Undo `disable`; nothing happens if it was not disabled."""
    _write(home, disabled_plugins(home) - {name})


def write_json(path: Path, value: object) -> None:
    """Replace a small file in an existing folder as a whole, and flush it to disk."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def _write(home: Path, names: frozenset[str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    write_json(home / STATE_FILE, {"disabled": sorted(names)})
