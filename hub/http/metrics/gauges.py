"""Gauges of workers that were killed: their files would be added up with those of the living."""

from __future__ import annotations

import os
from pathlib import Path

from hub.client.server_file import lives

__all__ = ["forget_the_dead"]


def forget_the_dead() -> None:
    """Remove the files of live gauges whose process is gone; what else it counted stays counted."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and not lives(int(pid)):
            path.unlink(missing_ok=True)
