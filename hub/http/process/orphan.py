"""A worker whose supervisor was killed would hold the port and serve on, unseen by `hub`: it ends as well."""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ["end_with"]

EVERY_S = 0.5


def end_with(parent: int) -> None:
    """End this process by SIGTERM once `parent` is not its parent any more; returns at once."""
    threading.Thread(target=_watch, args=(parent,), name="orphan", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
