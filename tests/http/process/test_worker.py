"""The logs of a serving process."""

from __future__ import annotations

import subprocess
import sys

LOGGING = """
import logging
from hub.http.process.worker import configure_logging

log = logging.getLogger("hub.http.early")
configure_logging()
log.warning("The disk is almost full.")
"""


def test_a_module_that_was_imported_before_still_logs() -> None:
    done = subprocess.run([sys.executable, "-c", LOGGING], check=True, capture_output=True, text=True)
    assert "The disk is almost full." in done.stderr + done.stdout
