"""Runs schemathesis, which derives requests from an OpenAPI document, against a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.profiles import thorough

__all__ = ["check_conformance"]

COMMAND = "from schemathesis.cli import schemathesis; schemathesis()"
HOOKS = "" if thorough() else str(Path(__file__).with_name("fewer_cases.py"))


def check_conformance(document: str | Path, folder: Path, *args: str, config: Path | None = None) -> None:
    """Check that every answer is one that `document`, a path or a URL, declares.

    `args` are more of schemathesis' arguments; it runs in `folder`.
    """
    configured = ("--config-file", str(config)) if config else ()
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", COMMAND, *configured, "run", str(document), *args),
            *("--phases", "examples,coverage,fuzzing", "--generation-deterministic"),
            *("--continue-on-failure", "--no-shrink", "--warnings", "off", "--no-color"),
        ],
        check=False,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": HOOKS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert "Tested: " in done.stdout, "it ran"
