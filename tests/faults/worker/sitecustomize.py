"""Put on PYTHONPATH, arms the steps in the process that loads the serving runtime, once in a test.

Python reads it at the start of every process; all but a server's worker go on as if it were not there.
`FAULT_GATE` is a file: once it exists, the worker goes along the trail that is written in it, one step a
line; the step that kills removes it, so that the next worker lives.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from importlib.abc import MetaPathFinder
from pathlib import Path


class _WhenServing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "hub.http.service":
            sys.meta_path.remove(self)
            _watch()


def _watch() -> None:
    from tests.faults.steps import Steps

    gate, home = Path(os.environ["FAULT_GATE"]), Path(os.environ["HUB_HOME"])

    class Once(Steps):
        def end(self) -> None:
            gate.unlink()
            super().end()

    def arm() -> None:
        while not (gate.is_file() and (trail := gate.read_text().splitlines())):
            time.sleep(0.02)
        steps = Once(home, gate.with_suffix(".record"), trail=trail)
        steps.install()
        steps.armed = True
        gate.with_suffix(".armed").touch()

    threading.Thread(target=arm, daemon=True).start()


if "FAULT_GATE" in os.environ:
    sys.meta_path.insert(0, _WhenServing())
