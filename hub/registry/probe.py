"""Lists the plugins in a new Python process, which sees packages that were just installed.

The process is `python -m hub.registry.probe DISABLED HOME ANSWER`: DISABLED is a JSON list of names, or
null to import nothing; HOME is the cache of import results, or ""; ANSWER is the output file. Its standard
input is the section `plugins` of the settings as JSON, or null.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from hub.config import PluginSettings, child_environment
from hub.errors import BadPlugin
from hub.registry.discovery import PluginStatus, find_plugins
from hub.registry.host import Registry
from hub.registry.snapshot import Installation, Snapshot

__all__ = ["main", "probe"]


def probe(
    disabled: Collection[str] | None, home: Path | None = None, settings: PluginSettings | None = None
) -> list[PluginStatus]:
    """List the plugins in a new process, which also loads their tasks and extensions.

    With `disabled` None nothing is imported, and every plugin is reported as disabled. `home` and `settings`
    are as for `Registry.screened`.

    Raises:
        BadPlugin: a plugin ended the process.
    """
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch, "plugins.json")
        names = json.dumps(None if disabled is None else sorted(disabled))
        process = subprocess.run(
            [sys.executable, "-P", "-m", "hub.registry.probe", names, str(home or ""), str(answer)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            input=(settings.model_dump_json() if settings else "null").encode(),
            env=child_environment(),
            check=False,
        )
        if process.returncode or not answer.is_file():
            last = process.stdout.decode(errors="replace").strip().splitlines()[-1:]
            raise BadPlugin(
                "a plugin ends the Python process that imports it "
                f"(status {process.returncode}): {''.join(last)[:300] or 'nothing was printed'}"
            )
        return [PluginStatus.from_json(item) for item in json.loads(answer.read_text(encoding="utf-8"))]


def main() -> None:
    """The main function of the process."""
    disabled, home, answer = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    if disabled is None:
        plugins = [plugin.status("disabled") for plugin in find_plugins()]
    else:
        sections = json.load(sys.stdin)
        settings = None if sections is None else PluginSettings.model_validate(sections)
        registry = Registry.screened(disabled, Path(home) if home else None, settings)
        registry.check()
        plugins = registry.plugins()
        if home and settings:
            now = Installation.of(find_plugins(), settings, disabled)
            Snapshot.read(Path(home)).replaced(plugins, now).write(Path(home))
    answer.write_text(json.dumps([asdict(plugin) for plugin in plugins]), encoding="utf-8")


if __name__ == "__main__":
    main()
