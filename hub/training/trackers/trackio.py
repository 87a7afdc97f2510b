"""trackio: one run per training in its local SQLite files, for `trackio show`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from hub.api.kinds.tracker import Begun, Ended, Scalars
from hub.errors import MissingExtra

__all__ = ["FOLDER", "Trackio", "folder_of"]

FOLDER = "TRACKIO_DIR"  # trackio's environment variable, read when it is imported


def folder_of(home: Path) -> Path:
    """Return the folder of trackio's data."""
    return Path(os.environ.get(FOLDER) or home.absolute() / "trackio")


class Trackio:
    """Writes with trackio's storage class: `trackio.init` prints to stdout and may create a Space."""

    def __init__(self, folder: Path, project: str) -> None:
        os.environ.setdefault(FOLDER, str(folder))
        try:
            from trackio.sqlite_storage import SQLiteStorage
        except ModuleNotFoundError:
            raise MissingExtra.of("report.trackers: trackio", "trackio") from None
        SQLiteStorage.validate_project_name(project)
        self._storage, self._project = SQLiteStorage, project
        self._run, self._config = "", dict[str, str]()

    def start(self, run: Begun) -> None:
        self._run = f"{run.group}-{run.name}"
        self._config = {
            **run.params,
            **run.tags,
            "_Group": run.group,
            "_Created": datetime.now(UTC).isoformat(),
        }

    def scalars(self, step: int, values: Scalars) -> None:
        self._storage.bulk_log(self._project, self._run, [dict(values)], steps=[step], config=self._config)

    def end(self, run: Ended) -> None:
        self._config |= {**run.tags, "status": run.status}
        self.scalars(run.step, run.metrics)
