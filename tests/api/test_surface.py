"""The surface that plugins build on grows by additions only."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.api.surface import SNAPSHOT, surface

HEAVY = {"torch", "transformers", "peft", "onnxruntime", "onnx", "bentoml", "datasets", "fastapi", "typer"}


def test_the_surface_is_the_recorded_one() -> None:
    """Add what is new with `python -m tests.api.surface`; what is recorded may not go or change."""
    recorded = set(SNAPSHOT.read_text(encoding="utf-8").splitlines())
    now = set(surface())
    assert sorted(recorded - now) == [], "these are gone or changed, and plugins rely on them"
    assert sorted(now - recorded) == [], "these are new: record them with python -m tests.api.surface"


def test_the_api_is_imported_without_a_heavy_library() -> None:
    code = "import hub.api, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(done.stdout))
