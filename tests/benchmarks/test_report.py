"""What benchmarks print: a table, and one line of JSON that says which targets are met."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def printed(
    figures: dict[str, float], targets: dict[str, tuple[str, float]]
) -> tuple[list[str], dict[str, Any]]:
    call = f"report('demo', ['WAY', 'SECONDS'], [['ours', 1]], {figures!r}, {targets!r})"
    code = f"from benchmarks.report import report; {call}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    *table, last = done.stdout.splitlines()
    return table, json.loads(last)


def test_the_last_line_is_the_json_object() -> None:
    table, told = printed({"speedup": 9.87654321}, {"speedup": (">=", 8)})
    assert [line.split() for line in table] == [["WAY", "SECONDS"], ["ours", "1"]]
    assert list(told) == ["name", "machine", "figures", "targets", "met"]
    assert told["figures"] == {"speedup": 9.8765}
    assert told["targets"] == {"speedup": [">=", 8]}
    assert "cores" in told["machine"]


@pytest.mark.parametrize(
    ("figures", "met"),
    [
        ({"a": 1.0, "b": 1.0}, True),
        ({"a": 0.9, "b": 1.0}, False),
        ({"a": 1.0, "b": 1.1}, False),
        ({"a": 1.0}, True),
    ],
)
def test_targets_are_met_when_every_measured_one_is(figures: dict[str, float], met: bool) -> None:
    _, told = printed(figures, {"a": (">=", 1), "b": ("<=", 1)})
    assert told["met"] is met
    assert told["targets"].keys() == figures.keys()
