"""Files with secrets that other users of the machine may read or write."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hub.client.http import KEY_FILE
from hub.config import CONFIG_FILE, Settings, find_workspace
from hub.keys import HASH_PREFIX
from hub.store.doctor import Finding, Severity
from hub.store.store import CATALOG_FILE

__all__ = ["SESSION_KEY_FILE", "open_files"]

SESSION_KEY_FILE = "session.key"  # signs the sessions of the console

OTHERS = 0o077


def open_files(settings: Settings) -> Iterator[Finding]:
    """Report secrets to which others have access: the keys of admin, sessions and TLS, catalog, hub.toml."""
    if os.name != "posix":
        return
    key, catalog = settings.home / KEY_FILE, settings.home / CATALOG_FILE
    if _is_open(key):
        after = "If somebody may have read it: delete it and restart the server."
        yield _finding("admin_key_open", [key], after)
    session_key = settings.home / SESSION_KEY_FILE
    if _is_open(session_key):
        after = "If somebody may have read it: delete it and restart the server, which ends all sessions."
        yield _finding("session_key_open", [session_key], after)
    tls_key = Path(settings.serve.tls_key)
    if settings.serve.tls_key and _is_open(tls_key):
        after = "If somebody may have read it: have a new certificate made for a new key."
        yield _finding("tls_key_open", [tls_key], after)
    logs = (catalog.with_name(f"{CATALOG_FILE}{end}") for end in ("", "-wal", "-shm"))
    if paths := [path for path in logs if _is_open(path)]:
        yield _finding("catalog_open", paths, "It holds feedback, and the history of deployments.")
    workspace = find_workspace()
    if workspace and _is_open(config := workspace / CONFIG_FILE) and _has_secrets(config):
        after = (
            "If somebody may have read it: replace the keys. `hub keys hash` makes hashes, which are safe."
        )
        yield _finding("config_open", [config], after)


def _is_open(path: Path) -> bool:
    """Return whether others may read or write a file; in a folder that they may not enter they cannot."""
    try:
        mode, folder = path.stat().st_mode, path.resolve().parent.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & OTHERS) and bool(folder & 0o011)


def _finding(code: str, paths: list[Path], after: str) -> Finding:
    mode = stat.S_IMODE(paths[0].stat().st_mode)
    what = f"Users other than its owner may read or write it (mode {mode:04o})."
    fix: Callable[[], None] = partial(_close, paths)
    how = f"--fix sets mode 0600, as does: chmod 600 {paths[0]}. {after}"
    return Finding(code, str(paths[0]), what, Severity.WARNING, how, fix)


def _close(paths: list[Path]) -> None:
    for path in paths:
        path.chmod(0o600)


def _has_secrets(config: Path) -> bool:
    """Return whether a settings file holds keys that are not hashes, or URLs with a password."""
    try:
        sections = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # nobody can tell
    serve = _section(sections, "serve")
    keys = [serve.get("admin_key"), *(serve.get("api_keys") or ())]
    urls = [_section(sections, "catalog").get("url"), _section(sections, "store").get("blobs")]
    plain = any(key and not str(key).startswith(HASH_PREFIX) for key in keys) or serve.get("session_key")
    return bool(plain) or any("@" in str(url) for url in urls if url)


def _section(sections: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = sections.get(name)
    return section if isinstance(section, Mapping) else {}
