"""The suite passes for sound tasks that learn numbers, and fails for the flaw it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from hub.api import HeadKind, MetricKind, TargetKind, TaskSpec
from hub.errors import BadPlugin
from hub.registry.loaded import LoadedTask, check_spec, load_task
from hub.testing.conformance import TaskConformance
from tests.support.plugins import installing, write_page

TASKS = "acme_ratings_tasks"
SPEC = TaskSpec(
    name="year",
    summary="Give a text a number.",
    head=HeadKind.SEQUENCE,
    request=f"{TASKS}:Request",
    response=f"{TASKS}:Response",
    factory=f"{TASKS}:Year",
    target=TargetKind.NUMBER,
)


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path) -> Iterator[None]:
    with installing(tmp_path / "site") as install:
        install(write_page("numbers", tmp_path))
        yield


class TestYear(TaskConformance):
    spec = SPEC
    examples = ({"text": "the old film", "value": 1931.0}, {"text": "the new film", "value": 2007.5})
    best: ClassVar[float] = 0.0


class TestStars(TestYear):
    spec = replace(SPEC, name="stars", factory=f"{TASKS}:Stars", target=TargetKind.ORDINAL)
    examples = ({"text": "a bad film", "value": 1.0}, {"text": "a good film", "value": 4.0})


def changed(**attributes: Any) -> LoadedTask:
    """Return the task with other attributes."""
    loaded = load_task(SPEC)
    task = type("Changed", (type(loaded.task),), attributes)()
    return replace(loaded, task=task)


def test_a_number_that_is_not_that_of_the_head_is_caught() -> None:
    def decode(self: Any, request: Any, outputs: Any, adapter: Any) -> Any:
        return load_task(SPEC).response(value=float(outputs[0].values[0]) + 1)

    suite, loaded = TestYear(), changed(decode=decode)
    tokenizer = suite.tokenizer.__wrapped__(suite)  # type: ignore[attr-defined]
    adapter = suite.adapter.__wrapped__(suite, loaded, tokenizer)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match=r"to \{'text': 'the old film'"):
        suite.test_correct_answers_get_the_best_metric(loaded, tokenizer, adapter)


def test_a_metric_that_is_no_mean_is_caught() -> None:
    suite = TestYear()
    loaded = changed(metric_kinds=MappingProxyType({"rmse": MetricKind.MEAN}))
    tokenizer = suite.tokenizer.__wrapped__(suite)  # type: ignore[attr-defined]
    adapter = suite.adapter.__wrapped__(suite, loaded, tokenizer)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="rmse is not a mean over examples"):
        suite.test_metrics_follow_the_formulas_that_the_task_names(loaded, tokenizer, adapter)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"head": HeadKind.TOKEN}, "a number target, which needs HeadKind.SEQUENCE"),
        ({"head": HeadKind.SEQUENCE_MEAN}, r"use one of HeadKind\.SEQUENCE, HeadKind\.TOKEN, "),
        ({"target": "number"}, "has target 'number'; use one of TargetKind.LABELS, TargetKind.NUMBER"),
    ],
)
def test_a_spec_with_an_impossible_target_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadPlugin, match=reason):
        check_spec(replace(SPEC, **change))


def test_a_task_that_names_no_field_for_its_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{TASKS}.Year.number_field", "stars")
    with pytest.raises(BadPlugin, match="number_field is 'stars'; a task with a number target"):
        load_task(SPEC)


def test_metric_kinds_that_are_not_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{TASKS}.Year.metric_kinds", {"mae": "mean"})
    with pytest.raises(BadPlugin, match="metric_kinds is not a mapping of names to members"):
        load_task(SPEC)
