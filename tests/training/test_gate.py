"""A version goes live when its metric is not below the live one's by more than allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.api import HeadKind
from hub.store.manifest import BaseRef, DataRef, Manifest, Serving
from hub.store.records import Version
from hub.training.gate import judge


def version(number: int, data: str = "a", **metrics: float) -> Version:
    base = BaseRef(name="tiny", source="tiny", fingerprint="f")
    manifest = Manifest(
        serving=Serving(task="t", head=HeadKind.SEQUENCE, base=base),
        created="2026-01-01T00:00:00+00:00",
        origin="trained",
        metrics=metrics,
        metric="accuracy",
        data=DataRef(source="a.csv", sha256=data, train_rows=1, eval_rows=1),
    )
    return Version("demo", number, "0" * 64, Path("nowhere"), manifest, datetime.now(UTC))


def test_a_first_version_passes() -> None:
    assert judge(version(1, accuracy=0.1), None, 0.0).passed


@pytest.mark.parametrize(
    ("after", "max_drop", "passed"),
    [(0.9, 0.0, True), (0.8, 0.0, True), (0.79, 0.0, False), (0.79, 0.02, True)],
)
def test_the_metric_may_drop_as_far_as_allowed(after: float, max_drop: float, passed: bool) -> None:
    judgement = judge(version(2, accuracy=after), version(1, accuracy=0.8), max_drop)
    assert judgement.passed is passed
    assert judgement.reason == f"accuracy {after:.4f} against 0.8000 of demo@1"


def test_figures_of_other_data_are_called_so() -> None:
    judgement = judge(version(2, "b", accuracy=0.9), version(1, "a", accuracy=0.8), 0.0)
    assert judgement.reason.endswith("of demo@1, measured on other data")


def test_a_live_version_without_the_metric_cannot_hold_another_back() -> None:
    judgement = judge(version(2, accuracy=0.1), version(1, f1=0.8), 0.0)
    assert judgement.passed
    assert judgement.reason == "demo@1, which was live, has no accuracy on record"
