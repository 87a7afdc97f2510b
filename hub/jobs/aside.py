"""Reads an uploaded file in a process of its own, with little priority and a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hub.config import child_environment
from hub.errors import BadData

__all__ = ["asked", "give_way"]

TIMEOUT_S = 120
NICE = 10
OOM_SCORE = "500"  # such a process is killed before the server if memory runs out


def asked(module: str, path: Path, shown: str, *arguments: str) -> dict[str, Any]:
    """Return the JSON object that `python -m MODULE PATH ...` prints; `shown` names the file in messages.

    Raises:
        BadData: it ended without an answer, or answered with an `error`.
    """
    command = [sys.executable, "-m", module, str(path), *arguments]
    try:
        done = subprocess.run(
            command, env=child_environment(), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadData(f"{shown}: was not read within {TIMEOUT_S} s. Send it in parts.") from None
    if done.returncode:
        raise BadData(f"{shown}: cannot be read as {path.suffix[1:]}.")
    found: dict[str, Any] = json.loads(done.stdout)
    if reason := found.get("error"):
        raise BadData(str(reason).replace(str(path), shown).replace(path.name, shown))
    return found


def give_way(nice: int = NICE) -> None:
    """Give way to the server: lower the priority of this process, first to go if memory runs out."""
    if hasattr(os, "nice"):
        os.nice(nice)
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
