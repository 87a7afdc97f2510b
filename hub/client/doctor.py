"""What a home should not hold: the store's findings, and those of serving, plugins, keys and the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError
from sqlalchemy import select

from hub.client import server_file
from hub.client.connect import connect
from hub.client.file_modes import open_files
from hub.client.http import find_server
from hub.config import Settings
from hub.config.plugins import section_name
from hub.errors import BadConfig, HubError
from hub.files import PART
from hub.registry.host import Registry
from hub.serving.control.fitness import misfit, unanswerable
from hub.serving.disk import FULL_BYTES, free_bytes
from hub.store.adopt import Adopted, adopt
from hub.store.catalog.tables import DeploymentRow
from hub.store.doctor import Finding, Severity, examine_store
from hub.store.mark import CatalogMark
from hub.store.store import CATALOG_FILE, Store

__all__ = ["Adopted", "Finding", "Severity", "adopt_unknown", "examine"]

GRACE_S = 3600.0  # as the store's own sweep: what is younger may be in use by another process
LOW_DISK = 512 << 20  # bytes

# What a process that was killed leaves under a home, and what it was for.
_ASIDE = {
    f".*{PART}": "a file that was being written",
    f"adapters/.*{PART}": "a file that was being written",
    "tmp*": "a new admin key",
    f"cache/engines/*{PART}": "a graph that was being exported",
    "cache/packages/.pip-*": "a download",
}


def adopt_unknown(settings: Settings) -> list[Adopted]:
    """Accept the catalog as the one of this home, and add the contents that it does not have to it."""
    mark = CatalogMark(settings.home / "adapters").read()
    with Store.of(settings, accept=True) as store:
        return adopt(store, mark.catalog if mark else "")


def examine(settings: Settings) -> list[Finding]:
    """Look at all of a home; nothing is changed, except that opening the store sweeps as it always does.

    Safe beside a running server and beside other commands.
    """
    home = settings.home
    if not home.is_dir():
        return []
    return [
        *_store(settings),
        *_server(settings),
        *_leftovers(home),
        *_trainings(home / "runs"),
        *open_files(settings),
        *_disk(home),
    ]


def _store(settings: Settings) -> Iterator[Finding]:
    where = "catalog.url" if settings.catalog.url else str(settings.home / CATALOG_FILE)
    try:
        with Store.of(settings) as store:
            found = list(examine_store(store))
            damaged = any(finding.code == "catalog_damaged" for finding in found)
            found += [] if damaged else _plugins(settings, store)
    except BadConfig as error:
        remedy = "Stop the server and put a copy of the catalog back."
        yield Finding("catalog_damaged", where, str(error), Severity.ERROR, remedy)
    except HubError as error:
        remedy = "Do what the message says, and run this again."
        yield Finding("catalog_unusable", where, str(error), Severity.ERROR, remedy)
    else:
        yield from found


def _plugins(settings: Settings, store: Store) -> Iterator[Finding]:
    """Tell of deployments whose task no working plugin provides."""
    tasks: dict[str, list[str]] = {}
    with store.catalog.read() as session:
        for name, task in session.execute(select(DeploymentRow.name, DeploymentRow.task)):
            tasks.setdefault(task, []).append(name)
    try:
        registry = Registry.of(settings)
    except HubError as error:
        remedy = "Do what the message says, and run this again."
        yield Finding("plugins_unreadable", str(settings.home), str(error), Severity.ERROR, remedy)
        return
    names_of_plugins = {section_name(plugin.name) for plugin in registry.plugins()}
    for section in sorted(settings.plugins.sections - names_of_plugins):
        remedy = "Install the plugin, or remove the section from hub.toml and HUB_PLUGINS__* variables."
        what = "No plugin of this name is installed, so nothing reads these settings."
        yield Finding("plugin_section", f"plugins.{section}", what, Severity.WARNING, remedy)
    for task, names in tasks.items():
        try:
            registry.task(task)
        except HubError as error:
            what = f"{', '.join(names)} cannot be served: {error}"
            remedy = "See `hub plugins list`; hub plugins install DISTRIBUTION."
            yield Finding("plugin_missing", f"task {task}", what, Severity.ERROR, remedy)
    yield from _misfits(registry, store)


def _misfits(registry: Registry, store: Store) -> Iterator[Finding]:
    """Report versions that do not fit the installed plugin of their task; `info` if they are not deployed."""
    try:
        deployments, versions = store.deployments(), store.versions()
    except ValidationError:  # of a manifest, which is a finding of the store
        return
    live: dict[str, list[str]] = {}
    for deployment in deployments:
        for version in deployment.versions:
            live.setdefault(str(version.ref), []).append(deployment.name)
    remedy = "Install the plugin that it was made with, or train or import it again and deploy that."
    for version in versions:
        ref = str(version.ref)
        reason = misfit(version, registry) or (unanswerable(version, registry, store) if ref in live else "")
        if not reason:
            continue
        serves = f" It serves {', '.join(live[ref])}." if ref in live else ""
        severity = Severity.WARNING if ref in live else Severity.INFO
        yield Finding("adapter_misfit", ref, f"{reason}{serves}", severity, remedy)


def _server(settings: Settings) -> Iterator[Finding]:
    path = settings.home / server_file.FILE
    if not path.exists():
        return
    if url := find_server(settings):
        yield from _hanging(settings, url)
        return
    if (found := server_file.read(settings.home)) is not None:
        what = f"It names the process {found.pid}, which runs and does not answer at {found.url}."
        remedy = (
            "Nothing if that server is only just starting or stopping; commands go to the catalog meanwhile."
        )
        yield Finding("server_silent", str(path), what, Severity.INFO, remedy)
        return
    what = (
        "A server that was killed left it. Commands see that it is gone; the next `hub serve` writes it anew."
    )
    fix = partial(_erase_record, settings.home)
    yield Finding("server_record_stale", str(path), what, Severity.INFO, "Nothing; --fix removes it.", fix)


def _hanging(settings: Settings, url: str) -> Iterator[Finding]:
    """Report plugins in whose code calls of the running server hang."""
    try:
        with connect(settings) as client:
            found = client.status().get("hanging", []) if client.url == url else []
    except HubError:  # the server has another admin key, or ends just now
        return
    for one in found:
        what = f"{one['stuck_calls']} calls hang in the code of plugin {one['plugin']}."
        if one["suspended"]:
            what += " The server refuses the other calls of this task."
        severity = Severity.ERROR if one["suspended"] else Severity.WARNING
        fix = f"Update the plugin or run hub plugins disable {one['plugin']}, then: hub plugins reload"
        yield Finding("plugin_hangs", f"task {one['task']}", what, severity, fix)


def _erase_record(home: Path) -> None:
    if server_file.read(home) is None:
        (home / server_file.FILE).unlink(missing_ok=True)


def _leftovers(home: Path) -> Iterator[Finding]:
    """Tell of temporary files that nobody removes any more, and of those that are too young to say."""
    for pattern, was in _ASIDE.items():
        for path in sorted(home.glob(pattern)):
            what = f"A temporary file of {was}; its process was stopped before it could remove it."
            if _age(path) < GRACE_S:
                remedy = "Nothing: it may be in use. --fix removes it once it is an hour old."
                yield Finding("leftover", str(path), what, Severity.INFO, remedy)
            else:
                fix = partial(_remove, path)
                yield Finding("leftover", str(path), what, Severity.WARNING, "--fix removes it.", fix)
    for path in sorted((home / "bases").glob(".*.partial")):
        what = "A base that was not pulled to its end."
        remedy = "Nothing: the next `hub base pull` removes it."
        yield Finding("base_unfinished", str(path), what, Severity.INFO, remedy)


def _age(path: Path) -> float:
    """Return seconds since anything in `path` was written."""
    newest = 0.0
    for each in (path, *path.rglob("*")):
        try:
            newest = max(newest, each.lstat().st_mtime)
        except FileNotFoundError:
            continue  # its process removes it just now
    return time.time() - newest


def _remove(path: Path) -> None:
    if not path.is_symlink() and path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _trainings(runs: Path) -> Iterator[Finding]:
    """Mention training runs that did not finish; theirs is work that `--resume` goes on with."""
    for work in sorted(path.parent for path in runs.glob("*/checkpoints")):
        if not _held(work / ".lock"):
            remedy = f"Go on with `hub train RECIPE --resume`, or remove {work}."
            what = f"A training of {work.name!r} did not finish."
            yield Finding("training_unfinished", str(work), what, Severity.INFO, remedy)


def _held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _disk(home: Path) -> Iterator[Finding]:
    free = free_bytes(home)
    if free < FULL_BYTES:
        what = (
            f"{free / 2**20:.1f} MiB are free. A server serves the versions in its memory; deploys, imports, "
            "feedback and loads from disk fail."
        )
        remedy = "Make room on this disk: `hub adapters rm` removes versions that are not needed."
        yield Finding("disk_full", str(home), what, Severity.ERROR, remedy)
    elif free < LOW_DISK:
        what = f"{free / 2**20:.0f} MiB are free; a deploy needs room for a copy of its version."
        remedy = "Make room: `hub adapters rm` removes versions that are not needed."
        yield Finding("disk_low", str(home), what, Severity.WARNING, remedy)
