"""The folders that settings and state lie in."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

from hub.errors import BadConfig

CONFIG_FILE = "hub.toml"


def find_workspace(start: Path | None = None) -> Path | None:
    """Return the nearest folder at or above `start` (default: the working folder) with a hub.toml."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / CONFIG_FILE).is_file()), None)


def whole_path(path: Path) -> Path:
    """Return an absolute path without links, with a `~` at its start replaced.

    Raises:
        BadConfig: it starts with the `~` of an unknown user.
    """
    try:
        return path.expanduser().resolve()
    except RuntimeError:
        raise BadConfig(f"HUB_HOME is {str(path)!r}, and there is no user {path.parts[0][1:]!r}.") from None


def find_home(start: Path | None = None) -> Path:
    """Return the state folder: HUB_HOME, else `.hub` beside hub.toml, else the user's data folder.

    Raises:
        BadConfig: as `whole_path`.
    """
    if explicit := os.environ.get("HUB_HOME"):
        return whole_path(Path(explicit))
    if workspace := find_workspace(start):
        return workspace / ".hub"
    return user_data_path("grafthub", appauthor=False)


def child_environment() -> dict[str, str]:
    """Return the environment for child processes, with HUB_HOME as the only HUB_* variable.

    The others may hold keys and passwords, and children run third-party code: plugins, builds by pip.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("HUB_") or name == "HUB_HOME"
    }
