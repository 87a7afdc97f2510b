"""A version goes live unless it is worse than the live one by more than is allowed or chance explains."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hub.api import HeadKind
from hub.evaluation.comparison import Comparison, compare
from hub.evaluation.goal import Goal
from hub.recipe.recipe import DeployGate
from hub.store.manifest import BaseRef, DataRef, Manifest, Serving
from hub.store.records import Version
from hub.training.gate import MIN_SIGNIFICANCE_ROWS, decide


def version(number: int, data: str = "a", goal: Goal = "max", **metrics: float) -> Version:
    base = BaseRef(name="tiny", source="tiny", fingerprint="f")
    manifest = Manifest(
        serving=Serving(task="t", head=HeadKind.SEQUENCE, base=base),
        created="2026-01-01T00:00:00+00:00",
        origin="trained",
        metrics=metrics,
        metric=next(iter(metrics)),
        metric_goal=goal,
        data=DataRef(source="a.csv", sha256=data, train_rows=1, eval_rows=1),
    )
    return Version("demo", number, "0" * 64, Path("nowhere"), manifest, datetime.now(UTC))


def comparison(rows: int, lost: int, won: int = 0) -> Comparison:
    """Of so many rows the live version has the first half right; the new one lost some and won others."""
    live = np.arange(rows) < rows // 2
    new = live.copy()
    new[:lost] = False
    new[rows // 2 : rows // 2 + won] = True
    score = lambda right: lambda chosen: float(right[chosen].mean())  # noqa: E731
    return compare("accuracy", score(new), score(live), rows, 0, (new, live))


LIVE = version(1, accuracy=0.8)


def test_a_first_version_passes() -> None:
    assert decide(version(1, accuracy=0.1), None, DeployGate()).passed


@pytest.mark.parametrize(
    ("after", "max_drop", "passed"),
    [(0.9, 0.0, True), (0.8, 0.0, True), (0.79, 0.0, False), (0.79, 0.02, True)],
)
def test_the_metric_on_record_may_drop_as_far_as_allowed(after: float, max_drop: float, passed: bool) -> None:
    decision = decide(version(2, accuracy=after), LIVE, DeployGate(max_drop=max_drop))
    assert decision.passed is passed
    assert decision.reason == f"accuracy {after:.4f} against 0.8000 of demo@1"


@pytest.mark.parametrize(
    ("after", "max_drop", "passed"),
    [(0.7, 0.0, True), (0.8, 0.0, True), (0.81, 0.0, False), (0.81, 0.02, True), (0.9, 0.02, False)],
)
def test_an_error_on_record_may_rise_as_far_as_allowed(after: float, max_drop: float, passed: bool) -> None:
    live = version(1, goal="min", mae=0.8)
    decision = decide(version(2, goal="min", mae=after), live, DeployGate(max_drop=max_drop))
    assert decision.passed is passed
    assert decision.reason == f"mae {after:.4f} against 0.8000 of demo@1 (lower is better)"


@pytest.mark.parametrize(
    ("new", "passed", "said"), [(0.5, True, "significantly better"), (2.0, False, "a rise that")]
)
def test_an_error_on_the_same_rows_is_judged_by_its_direction(new: float, passed: bool, said: str) -> None:
    errors = np.random.default_rng(0).random(400)  # of the live version
    score = lambda values: lambda chosen: float(values[chosen].mean())  # noqa: E731
    found = compare("mae", score(errors * new), score(errors), 400, 0, goal="min")
    assert (found.is_better, found.is_worse) == (passed, not passed)
    decision = decide(version(2, mae=0.5), version(1, mae=0.5), DeployGate(), found)
    assert decision.passed is passed
    assert said in decision.reason


def test_figures_of_other_data_are_called_so() -> None:
    decision = decide(version(2, "b", accuracy=0.9), version(1, "a", accuracy=0.8), DeployGate())
    assert decision.reason.endswith("of demo@1, measured on other data")


def test_a_live_version_without_the_metric_cannot_hold_another_back() -> None:
    decision = decide(version(2, accuracy=0.1), version(1, f1=0.8), DeployGate())
    assert decision.passed
    assert decision.reason == "demo@1, which was live, has no accuracy on record"


def test_what_could_not_be_run_is_judged_by_the_record_and_said() -> None:
    decision = decide(version(2, accuracy=0.7), LIVE, DeployGate(), why_not="its base is gone")
    assert not decision.passed
    assert decision.reason.endswith("; demo@1 was not run on the same rows: its base is gone")


@pytest.mark.parametrize(
    ("found", "rule", "passed", "said"),
    [
        (comparison(1000, 0), DeployGate(), True, "of demo@1 on the same 1,000 held-out rows"),
        (
            comparison(1000, 0, 40),
            DeployGate(),
            True,
            "significantly better (p < 0.001, McNemar p < 0.001)",
        ),
        (comparison(1000, 60), DeployGate(max_drop=0.06), True, "a drop that deploy.max_drop allows"),
        (
            comparison(1000, 60),
            DeployGate(),
            False,
            "a drop that is significant (p < 0.001, McNemar",
        ),
        (comparison(1000, 42, 40), DeployGate(), True, "a drop that is not significant (p = 0.4"),
        (comparison(100, 42, 40), DeployGate(), False, "fewer than 200 rows are too few"),
    ],
)
def test_on_the_same_rows_a_drop_has_to_be_more_than_chance(
    found: Comparison, rule: DeployGate, passed: bool, said: str
) -> None:
    decision = decide(version(2, accuracy=0.1), LIVE, rule, found)
    assert decision.passed is passed, decision.reason
    assert said in decision.reason
    assert decision.to_json()["comparison"]["rows"] == found.rows


def test_as_many_rows_as_tell_are_enough() -> None:
    assert decide(LIVE, LIVE, DeployGate(), comparison(MIN_SIGNIFICANCE_ROWS, 9, 8)).passed
    assert not decide(LIVE, LIVE, DeployGate(), comparison(MIN_SIGNIFICANCE_ROWS - 2, 9, 8)).passed
