"""What every benchmark prints: a table for people, then one line of JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from hub.cli.screen.output import table

__all__ = ["Target", "machine", "report"]

Target = tuple[Literal[">=", "<="], float]


def report(
    name: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    figures: Mapping[str, float],
    targets: Mapping[str, Target],
) -> bool:
    """Print the table, then the JSON object; return whether every target is met.

    A target whose figure was not measured (a quick run) is left out of the object.
    """
    measured = {key: target for key, target in targets.items() if key in figures}
    met = all(_holds(figures[key], target) for key, target in measured.items())
    result = {
        "name": name,
        "machine": machine(),
        "figures": {key: round(value, 4) for key, value in figures.items()},
        "targets": {key: list(target) for key, target in measured.items()},
        "met": met,
    }
    table(headers, rows)
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return met


def machine() -> str:
    """Describe the processor, its cores as this process may use them, and the libraries that matter."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return f"{_processor()}, {_cores()} cores, Python {platform.python_version()}, {libraries}"


def _holds(figure: float, target: Target) -> bool:
    sign, bound = target
    return figure >= bound if sign == ">=" else figure <= bound


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
