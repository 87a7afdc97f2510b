"""Imports each third-party plugin once in a subprocess, before this process imports it.

A plugin can end the process that imports it, by `os._exit` or a crash in an extension, or hang. The result is
cached in the state folder, by distribution, version and the plugin's files.

The process is `python -m hub.registry.screening DISTRIBUTION STAGE`: it writes its current stage to the file
STAGE. Its standard input is a pipe with a line that has the plugins' settings; it is closed when the parent
ends.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hub.config import PluginSettings, child_environment
from hub.files import write_file
from hub.registry.discovery import BUILT_IN, FoundPlugin, find_plugins

__all__ = ["files_key", "forget", "main", "screen"]

RESULTS_FILE = "plugin-checks.json"
MAX_IMPORT_S = 20.0  # for one import, without the start of Python and of the hub
MAX_START_S = 60.0
FAULT_TTL_S = 3600.0  # a fault may be transient: after this time the plugin is tried again
PROCESSES = 4
POLL_S = 0.02
MAX_FILES = 5000  # whose modification times are compared

_START, _DONE = "start", "done"


def screen(
    plugins: Iterable[FoundPlugin], home: Path | None, settings: PluginSettings | None = None
) -> dict[str, str]:
    """Return the distributions that this process must not import, with the reasons.

    Each is given the settings of its own plugins only. Results are not cached if `home` does not exist.
    """
    entries: dict[str, list[FoundPlugin]] = {}
    for plugin in plugins:
        if plugin.distribution not in BUILT_IN:
            entries.setdefault(plugin.distribution, []).append(plugin)
    if not entries:
        return {}
    known = _read(home)
    keys = {name: files_key(found) for name, found in entries.items()}
    fresh = [name for name, key in keys.items() if not _is_known(known.get(name), key)]
    if fresh:
        with ThreadPoolExecutor(PROCESSES, thread_name_prefix="screening") as pool:
            sections = [_sections(entries[name], settings) for name in fresh]
            for name, fault in zip(fresh, pool.map(_try, fresh, sections), strict=True):
                known[name] = {"key": keys[name], "fault": fault, "when": time.time()}
        _write(home, known)
    return {name: known[name]["fault"] for name in entries if known[name]["fault"]}


def forget(home: Path, distribution: str) -> None:
    """Discard the cached result of a distribution."""
    known = _read(home)
    if known.pop(distribution, None):
        _write(home, known)


def _sections(plugins: Iterable[FoundPlugin], settings: PluginSettings | None) -> str:
    """Return the settings of these plugins as JSON."""
    return json.dumps({one.name: settings.of(one.name) for one in plugins} if settings else None, default=str)


def _try(distribution: str, settings: str = "null") -> str:
    """Import a distribution's plugins and tasks in a subprocess; return why it failed, or ""."""
    with tempfile.TemporaryDirectory(prefix="hub-plugin-") as scratch:
        stage = Path(scratch, "stage")
        stage.write_text(_START, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hub.registry.screening", distribution, str(stage)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**child_environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        assert process.stdin
        try:
            process.stdin.write(f"{settings}\n".encode())
            process.stdin.flush()
            return _watch(process, stage)
        except BrokenPipeError:
            return _watch(process, stage)
        finally:
            _kill(process)
            with suppress(BrokenPipeError):
                process.stdin.close()


def _watch(process: subprocess.Popen[bytes], stage: Path) -> str:
    at, began = _START, time.monotonic()
    while True:
        ended = process.poll()
        now = stage.read_text(encoding="utf-8") or at
        if now == _DONE:
            return ""
        if ended is not None:
            how = f"signal {-ended}" if ended < 0 else f"exit code {ended}"
            return f"It ends the process {_when(now)} ({how})."
        if now != at:
            at, began = now, time.monotonic()
        if time.monotonic() - began > (MAX_START_S if at == _START else MAX_IMPORT_S):
            return f"It hangs {_when(at)}: stopped after {MAX_IMPORT_S:g} s."
        time.sleep(POLL_S)


def _when(stage: str) -> str:
    word, _, name = stage.partition(" ")
    return f"when its {word} {name!r} is loaded" if name else "when imported"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def files_key(plugins: Iterable[FoundPlugin]) -> str:
    """Return the cache key of a result: Python version, plugin version, metadata and file times."""
    parts: list[str] = [sys.version]
    for plugin in plugins:
        dist = plugin.entry_point.dist
        parts += [plugin.version, plugin.entry_point.value, (dist and dist.read_text("RECORD")) or ""]
        parts += _times(plugin.package)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _times(package: str) -> list[str]:
    """Return the latest modification time and the number of files of a package, without importing it."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    files = [spec.origin] if spec.origin and spec.has_location else []
    for folder in spec.submodule_search_locations or ():
        files += itertools.islice(_modules_in(folder), max(0, MAX_FILES - len(files)))
    times = [os.stat(path).st_mtime_ns for path in files if os.path.isfile(path)]
    return [str(max(times, default=0)), str(len(times))]


def _modules_in(folder: str) -> Iterator[str]:
    """Yield the files with code below a folder; pathlib takes several times as long, at each command."""
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names if name.endswith((".py", ".so", ".pyd")))


def _is_known(result: Mapping[str, Any] | None, key: str) -> bool:
    if result is None or result["key"] != key:
        return False
    return not result["fault"] or 0 <= time.time() - result["when"] < FAULT_TTL_S


def _read(home: Path | None) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads((home / RESULTS_FILE).read_text(encoding="utf-8")) if home else {}
    except (OSError, ValueError):
        return {}
    kept = found if isinstance(found, dict) else {}
    return {name: result for name, result in kept.items() if _is_result(result)}


def _is_result(result: object) -> bool:
    return (
        isinstance(result, dict)
        and isinstance(result.get("key"), str)
        and isinstance(result.get("fault"), str)
        and isinstance(result.get("when"), int | float)
    )


def _write(home: Path | None, results: Mapping[str, Any]) -> None:
    if home is None or not home.is_dir():
        return
    try:
        write_file(home / RESULTS_FILE, json.dumps(results, indent=2), private=True)
    except OSError:
        return  # the next process tries the plugins again


def main() -> None:
    """Import a distribution's plugins and tasks; exceptions are ignored here."""
    distribution, stage = sys.argv[1], Path(sys.argv[2])
    sections = json.loads(sys.stdin.buffer.readline() or b"null")
    _end_with_parent()
    from hub.registry.host import Registry

    others: Collection[str] = [plugin.id for plugin in find_plugins() if plugin.distribution != distribution]
    stage.write_text("import", encoding="utf-8")
    registry = Registry.load(others, None if sections is None else PluginSettings.model_validate(sections))
    for name in registry.tasks():
        stage.write_text(f"task {name}", encoding="utf-8")
        registry.check(name)
    for label in registry.extensions.labels():
        stage.write_text(label, encoding="utf-8")
        registry.extensions.load(label)
    stage.write_text(_DONE, encoding="utf-8")
    os._exit(0)  # do not wait for threads of the plugin


def _end_with_parent() -> None:
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # works even if an extension holds the GIL
        signal.alarm(int(MAX_START_S + 10 * MAX_IMPORT_S))

    def wait() -> None:
        sys.stdin.buffer.read()
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


if __name__ == "__main__":
    main()
