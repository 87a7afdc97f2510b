"""Which stored versions a plugin could not read, before its wheels are installed.

The process is `python -m hub.client.upgrade ANSWER`: ANSWER is the output file. Its standard input is JSON
with the settings, the distribution and the names of disabled plugins; its path has the wheels first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from hub.config import Settings, child_environment, restore_settings
from hub.contract import PluginRef
from hub.registry.active import activate
from hub.registry.discovery import BUILT_IN, find_plugins
from hub.registry.host import Registry
from hub.serving.control.upgrade import UnreadableVersion, find_unreadable
from hub.store.store import Store

__all__ = ["main", "unreadable_after"]

MAX_S = 300.0  # thousands of versions take seconds; an import may hang
MAX_REHEARSED = 200  # versions whose task's example is tried, some 50 ms each
_LIBRARIES = ("*.data/purelib", "*.data/platlib")  # folders of a wheel that belong into site-packages


def unreadable_after(
    wheels: Sequence[Path], distribution: str, settings: Settings, store: Store, disabled: Collection[str]
) -> tuple[list[UnreadableVersion], list[str]]:
    """Return the versions made with a distribution that do not fit these wheels, and the names of new ones.

    The second list has those that certainly cannot be read and that the installed plugin can read. Loads the
    plugin in a process of its own; nothing is installed.
    """
    versions = [str(one.ref) for one in store.versions() if _may_need(one.manifest.plugin, distribution)]
    if not versions or not wheels:
        return [], []
    with tempfile.TemporaryDirectory(prefix="hub-wheels-") as folder:
        paths = [path for wheel in wheels for path in _unpack(wheel, Path(folder, wheel.stem))]
        after = _ask(paths, distribution, settings, disabled, versions)
    lost = {one.version for one in after if one.certain}
    if lost:
        lost -= {one.version for one in _ask([], distribution, settings, disabled, versions) if one.certain}
    return after, sorted(lost)


def _may_need(made_with: PluginRef | None, distribution: str) -> bool:
    return made_with is None or made_with.distribution == distribution


def _unpack(wheel: Path, folder: Path) -> list[Path]:
    """Unpack a wheel; return what to put on the path."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return [folder, *(found for pattern in _LIBRARIES for found in folder.glob(pattern))]


def _ask(
    paths: Iterable[Path],
    distribution: str,
    settings: Settings,
    disabled: Collection[str],
    versions: Sequence[str],
) -> list[UnreadableVersion]:
    question = {
        "settings": settings.model_dump_json(),
        "distribution": distribution,
        "disabled": sorted(disabled),
    }
    path = [*map(str, paths), *filter(None, sys.path)]
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch, "unreadable.json")
        try:
            process = subprocess.run(
                [sys.executable, "-P", "-m", "hub.client.upgrade", str(answer)],
                input=json.dumps(question).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**child_environment(), "PYTHONPATH": os.pathsep.join(path)},
                timeout=MAX_S,
                check=False,
            )
            last = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
            how = f"ends the process that loads it (status {process.returncode}: {''.join(last)[:300]})"
        except subprocess.TimeoutExpired:
            how = f"is not loaded within {MAX_S:g} s"
        if answer.is_file():
            found = json.loads(answer.read_text(encoding="utf-8"))
            return [UnreadableVersion(**{**one, "live": tuple(one["live"])}) for one in found]
    return [UnreadableVersion(version, (), f"{distribution} {how}.", True) for version in versions]


def main() -> None:
    """The main function of the process."""
    question = json.load(sys.stdin)
    settings, distribution = restore_settings(question["settings"]), question["distribution"]
    others = {one.id for one in find_plugins() if one.distribution not in {distribution, *BUILT_IN}}
    # What the policy permits was decided on the wheels; plugins.lock does not have them yet.
    open_to = settings.plugins.model_copy(update={"policy": "all", "wheels_only": False, "locked": False})
    registry = activate(Registry.load(others | set(question["disabled"]), open_to))
    with closing(Store.of(settings)) as store:
        found = find_unreadable(store, registry, distribution, rehearse=MAX_REHEARSED)
    Path(sys.argv[1]).write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")
    os._exit(0)  # do not wait for threads of the plugin


if __name__ == "__main__":
    main()
