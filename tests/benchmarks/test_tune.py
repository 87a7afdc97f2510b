"""What `benchmarks.tune` makes of the two ways: which time counts, and whose accuracy stands beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tune

BEST = {"train.learning_rate": 2e-3, "train.batch_size": 32}


def measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, *flags: str
) -> tuple[dict[str, float], str, list[str]]:
    """Run the benchmark over commands that answer at once; return figures, the recipe, rows trained on."""
    seen: dict[str, Any] = {}

    def run(home: Path, command: str, recipe: str, *words: str) -> tuple[dict[str, Any], float]:
        seen["recipe"] = Path(recipe).read_text()
        [line] = [line for line in seen["recipe"].splitlines() if line.startswith("data:")]
        seen["rows"] = Path(line.split("source: ")[1].split(",")[0]).read_text().splitlines()
        if command == "train":
            best = {f"{key}={value}" for key, value in BEST.items()} <= set(words)
            return {"metrics": {"accuracy": 0.8 if best else 0.1}}, 10.0
        trials = [{"seconds": 2.0, "state": "pruned" if number == 7 else "complete"} for number in range(8)]
        answer = {"trials": trials, "best": {"values": BEST}, "metrics": {"accuracy": 0.9}}
        return answer | {"train_seconds": 15.0}, 40.0

    monkeypatch.setattr(tune, "_run", run)
    monkeypatch.setattr("hub.bases.cache.Bases.pull", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["tune", "--data", str(folder), *flags])
    tune.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])["figures"], seen["recipe"], seen["rows"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = "".join(f"text {number},positive\n" for number in range(5))
    (tmp_path / "train.csv").write_text("text,label\n" + rows)
    return tmp_path


def test_the_whole_command_counts_and_the_accuracies_are_of_one_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    figures, recipe, rows = measured(monkeypatch, capsys, folder)
    assert figures == {
        "tune_speedup": 2.0,
        "search_speedup": 3.2,
        "tune_seconds": 40.0,
        "search_seconds": 25.0,
        "trials_seconds": 16.0,
        "single_seconds": 80.0,
        "accuracy_tune": 0.9,
        "accuracy_single": 0.8,
        "pruned": 1,
    }
    assert "prune: none" in recipe
    assert len(rows) == 6


def test_it_may_prune_and_take_fewer_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    _, recipe, rows = measured(monkeypatch, capsys, folder, "--prune", "--rows", "2")
    assert "prune: median" in recipe
    assert rows == ["text,label", "text 0,positive", "text 1,positive"]
