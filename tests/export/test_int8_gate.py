"""Who may be served in int8: a version that answers its own held-out rows as it does in float32."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hub.api import HeadKind, Output, Row
from hub.bases.cache import Bases
from hub.cli.main import app
from hub.config import find_home
from hub.engine.slot_engine import SlotEngine
from hub.errors import EngineFailed
from hub.evaluation.evaluator import EvaluationSample, Scored
from hub.export import int8_gate
from hub.export.int8_gate import GRAPH, _wait_for_graph, compare_int8, describe_int8
from hub.store.manifest import BaseRef, Manifest, PrecisionRecord, Serving
from hub.store.store import Store

RECIPE = """
name: demo
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.5}
train: {batch_size: 8, learning_rate: 0.02, max_steps: 20, warmup: 0, patience: 0}
"""
ROWS = "text,label\n" + "".join(
    f"the {thing} of {place} is {word}{more},{label}\n"
    for thing in ("film", "book", "phone", "food", "plot")
    for place in ("paris", "london", "france", "city")
    for more in ("", " and i like it", " and i hate it")
    for word, label in (("good", "positive"), ("bad", "negative"))
)
FIELDS = {"base": BaseRef(name="b", source="b", fingerprint="f"), "task": "t"}
SEQUENCE = Serving(head=HeadKind.SEQUENCE, labels=("a", "b"), **FIELDS)


class Knows:
    """Scores outputs by one of two metrics it is told."""

    metric = "accuracy"

    def __init__(self, before: float, after: float, rows: int) -> None:
        self.figures, self.examples = iter((before, after)), rows

    def score(self, outputs: list[Output]) -> Scored:
        return Scored({"accuracy": next(self.figures)}, [], outputs)


def outputs(*values: Any) -> list[Output]:
    arrays = [np.array(each, np.float32) for each in values]
    return [Output(Row([1] * (len(a) if a.ndim == 2 else 3)), a) for a in arrays]


def judged(
    first: list[Output], second: list[Output], before=0.9, after=0.9, serving=SEQUENCE
) -> PrecisionRecord:
    return compare_int8(serving, EvaluationSample(Knows(before, after, len(first)), first), second)  # type: ignore[arg-type]


LEFT, RIGHT = [1.0, -1.0], [-1.0, 1.0]


@pytest.mark.parametrize(
    ("flipped", "before", "after", "failed"),
    [
        (0, 0.9, 0.9, ""),
        (2, 0.9, 0.895, ""),
        (3, 0.9, 0.9, "label agreement is 97.0%, less than 98%"),
        (0, 0.9, 0.88, "accuracy changes from 0.9000 to 0.8800, by more than 0.01"),
        (0, 0.9, 0.92, "accuracy changes from 0.9000 to 0.9200, by more than 0.01"),
        (0, 90.0, 89.5, ""),
        (0, 90.0, 88.5, "accuracy changes from 90.0000 to 88.5000, by more than 1"),
        (9, 0.9, 0.7, "label agreement is 91.0%, less than 98%; accuracy changes from"),
    ],
)
def test_labels_have_to_agree_and_the_metric_has_to_stay(flipped, before, after, failed) -> None:
    found = judged(
        outputs(*[LEFT] * 100), outputs(*[RIGHT] * flipped, *[LEFT] * (100 - flipped)), before, after
    )
    assert found.passed == (not failed)
    assert found.reason.startswith(failed)
    assert (found.rows, found.metric_float32, found.metric) == (100, before, after)
    assert found.agreement == pytest.approx(1 - flipped / 100)


def test_an_agreement_just_below_the_limit_is_not_rounded_up_to_it() -> None:
    found = judged(outputs(*[LEFT] * 49), outputs(RIGHT, *[LEFT] * 48), 0.9, 0.9)
    assert found.reason == "label agreement is 97.9%, less than 98%"


def test_tokens_starts_ends_and_single_labels_are_decisions_of_their_own() -> None:
    four, one_off = [LEFT, LEFT, RIGHT, LEFT], [LEFT, LEFT, RIGHT, RIGHT]
    token = SEQUENCE.model_copy(update={"head": HeadKind.TOKEN})
    assert judged(outputs(four), outputs(one_off), serving=token).agreement == 0.75
    span = SEQUENCE.model_copy(update={"head": HeadKind.SPAN})
    start_moves = [[0.0, 0], [3, 0], [2, 5]], [[0.0, 0], [2, 0], [3, 5]]
    assert judged(*map(outputs, start_moves), serving=span).agreement == 0.5
    multi_label = SEQUENCE.model_copy(update={"settings": {"multi_label": True}})
    assert judged(outputs([2.0, 1.0]), outputs([2.0, -1.0]), serving=multi_label).agreement == 0.5


def test_vectors_agree_if_they_point_the_same_way() -> None:
    vectors = Serving(head=HeadKind.EMBEDDING, **FIELDS)
    first = outputs([3.0, 4.0], [1.0, 0.0])
    same = judged(first, outputs([6.0, 8.1], [2.0, 0.1]), serving=vectors)
    assert (same.passed, same.agreement) == (True, 1.0)
    off = judged(first, outputs([6.0, 8.0], [1.0, 0.5]), serving=vectors)
    assert (off.passed, off.agreement) == (False, 0.5)
    assert off.reason == "agreement of vectors is 50.0%, less than 98%"


def test_it_is_said_in_a_line_why_or_why_not() -> None:
    def said(origin="trained", serving=SEQUENCE, **found: Any) -> str:
        precision = {"int8": PrecisionRecord(**found)} if found else {}
        manifest = Manifest(
            serving=serving, created="", origin=origin, metric="accuracy", precision=precision
        )
        return describe_int8(manifest)

    figures = {"rows": 300, "agreement": 0.9967, "metric": 0.91, "metric_float32": 0.92}
    assert said(passed=True, **figures) == (
        "allowed: label agreement 99.7%, accuracy 0.9100 against 0.9200 in float32, on 300 held-out rows"
    )
    assert said(passed=False, reason="too few") == "not allowed: too few"
    assert said() == "not allowed: not measured"
    assert said(origin="imported") == "not allowed: an imported adapter has no held-out rows"
    merged = SEQUENCE.model_copy(update={"merged": True})
    assert said(serving=merged, passed=True) == "not allowed: a merged copy of the base runs in float32"
    assert said(serving=SEQUENCE.model_copy(update={"head": HeadKind.GENERATE})) == ""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("base") / "encoder").path


@pytest.fixture
def recipe(tmp_path: Path, tiny: Path) -> Path:
    Bases(find_home()).pull(str(tiny), "tiny")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "a.csv").write_text(ROWS)
    return tmp_path


def trained(recipe: Path, *settings: str) -> PrecisionRecord:
    options = [part for each in settings for part in ("--set", each)]
    result = CliRunner().invoke(app, ["train", str(recipe), "--json", *options])
    assert result.exit_code == 0, result.output
    found = Store(find_home()).get("demo").manifest.precision["int8"]
    assert json.loads(result.stdout)["precision"]["int8"] == found.model_dump(mode="json")
    return found


@pytest.mark.slow
def test_a_trained_version_is_measured_and_the_figures_are_shown(recipe: Path) -> None:
    found = trained(recipe)
    assert found.rows == 60
    assert found.agreement is not None and found.agreement > 0.8
    assert found.metric_float32 == Store(find_home()).get("demo").manifest.metrics["accuracy"]
    assert found.passed == (found.reason == "")
    shown = CliRunner().invoke(app, ["adapters", "show", "demo"]).stdout
    assert "label agreement" in shown
    graphs = list((find_home() / "cache" / "engines").glob("*.onnx"))
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("evaluate.int8=false", "disabled in the recipe (evaluate.int8)"),
        ("data.eval_fraction=0.25", "30 held-out rows are too few; 50 are needed"),
        ("serve=merged", "a merged copy of the base runs in float32"),
    ],
)
def test_what_is_not_measured_says_why(recipe: Path, settings: str, reason: str) -> None:
    assert trained(recipe, settings) == PrecisionRecord(passed=False, reason=reason)


def test_a_graph_that_cannot_be_made_fails_no_training(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.engine.onnx.graph import Exporter
    from hub.errors import EngineFailed

    def refuse(*given: object, **more: object) -> Path:
        raise EngineFailed("Exporting base 'tiny' to ONNX failed: no")

    monkeypatch.setattr(Exporter, "file", refuse)
    found = trained(recipe)
    assert not found.passed
    assert "it could not be measured" in found.reason
    assert "Exporting base 'tiny' to ONNX failed: no" in found.reason


class Exporting(SlotEngine):
    """Has its graph after some polls."""

    def __init__(self, polls: int) -> None:
        self.left = polls

    @property
    def backbones(self) -> tuple[str, ...]:
        return () if self.left else (GRAPH,)

    def settle(self, timeout: float) -> bool:
        self.left -= 1
        return False


def an_hour_a_look(monkeypatch: pytest.MonkeyPatch, cpu: Iterator[dict[int, int]]) -> None:
    hours = itertools.count(0.0, 3600.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    monkeypatch.setattr(int8_gate, "_export_cpu", lambda: next(cpu))


def test_a_graph_that_takes_hours_on_a_busy_machine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_a_look(monkeypatch, ({7: seconds} for seconds in itertools.count()))
    busy = Exporting(polls=100)
    _wait_for_graph(busy)
    assert not busy.left


def test_an_export_that_does_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_a_look(monkeypatch, itertools.repeat({7: 3}))
    with pytest.raises(EngineFailed, match="the int8 graph hangs: its process has used no CPU time"):
        _wait_for_graph(Exporting(polls=100))


def test_an_export_that_works_without_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_a_look(monkeypatch, ({7: 3600 * hour} for hour in itertools.count()))
    with pytest.raises(EngineFailed, match="hangs: its process has used 12 hours of CPU time"):
        _wait_for_graph(Exporting(polls=100))


def test_an_export_that_hangs_is_ended_and_the_version_is_stored(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs a real process in place of the exporter, which never reads its order to the end."""
    import psutil

    (tmp_path / "stuck").write_text(
        f"#!{sys.executable}\nimport signal, sys\nsignal.pause()\n", encoding="utf-8"
    )
    (tmp_path / "stuck").chmod(0o755)
    monkeypatch.setattr("hub.engine.onnx.graph.sys.executable", str(tmp_path / "stuck"))
    seen: list[dict[int, int]] = []
    watched = int8_gate._export_cpu

    def look() -> dict[int, int]:
        seen.append(watched())
        if seen[-1]:  # it runs: half an hour passes at the next look
            monkeypatch.setattr(int8_gate, "MAX_IDLE_S", -1.0)
        return seen[-1]

    monkeypatch.setattr(int8_gate, "_export_cpu", look)
    found = trained(recipe)
    assert not found.passed
    assert "it could not be measured: the export of the int8 graph hangs" in found.reason
    assert Store(find_home()).get("demo").manifest.precision["int8"] == found
    assert len(seen[-1]) == 1
    assert not psutil.pid_exists(*seen[-1])
