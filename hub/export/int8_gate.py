"""The int8 gate: compares a version on an int8 base with float32, on its held-out rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from hub.api import HeadKind
from hub.errors import EngineFailed, HubError
from hub.store.manifest import Manifest, PrecisionRecord, Serving

if TYPE_CHECKING:
    from hub.api import Output, Row
    from hub.config import Settings
    from hub.engine.protocol import AdapterWeights, Array, Engine
    from hub.evaluation.evaluator import EvaluationSample
    from hub.progress import Progress
    from hub.training.plan import Plan
    from hub.training.train import Gauge

__all__ = ["INT8", "compare_int8", "describe_int8", "int8_gauge"]

INT8 = "int8"
MIN_AGREEMENT = 0.98  # share of equal decisions
MAX_DROP = 0.01  # of a metric between 0 and 1; 1 of a percentage; of an error, in standard deviations
MIN_ROWS = 50  # held-out rows
POLL_S = 0.05
MAX_IDLE_S = 1800.0  # without CPU time of the export: in half an hour, even a niced process gets some
MAX_CPU_S = 12 * 3600.0  # CPU time of one export process; independent of other load
BATCH = 32
MERGED = "a merged copy of the base runs in float32"
GRAPH = "onnx int8"


def int8_gauge(settings: Settings, progress: Progress) -> Gauge:
    """Return a gauge that measures a trained adapter on the int8 base.

    It uses the server's cache of graphs, so that the server need not export them again.
    """
    from hub.serving.batching.base_workers import ENGINE_CACHE

    def gauge(plan: Plan, folder: Path, sample: EvaluationSample) -> PrecisionRecord:
        if reason := _skip_reason(plan, sample):
            return PrecisionRecord(passed=False, reason=reason)
        progress("check int8", 0, 1)
        try:
            outputs = _answers(plan, folder, sample.evaluator.rows, settings.home / ENGINE_CACHE)
            found = compare_int8(plan.serving, sample, outputs)
        except HubError as error:
            found = PrecisionRecord(passed=False, reason=f"it could not be measured: {error}".rstrip("."))
        progress("check int8", 1, 1)
        return found

    return gauge


def compare_int8(serving: Serving, sample: EvaluationSample, outputs: Sequence[Output]) -> PrecisionRecord:
    """Compare outputs for the rows of a sample with those of float32."""
    evaluator, name = sample.evaluator, sample.evaluator.metric
    agreement = _agreement(serving, sample.outputs, outputs)
    before, after = (evaluator.score(each).metrics[name] for each in (sample.outputs, outputs))
    allowed = MAX_DROP if abs(before) <= 1 else 100 * MAX_DROP
    if serving.numbers and evaluator.goal == "min":  # an error, in the units of the numbers
        allowed = MAX_DROP * serving.numbers.spread
    failed = []
    if agreement < MIN_AGREEMENT:
        shown = math.floor(agreement * 1000) / 1000  # never as much as the limit
        failed.append(f"{_decisions(serving)} is {shown:.1%}, less than {MIN_AGREEMENT:.0%}")
    if not abs(before - after) <= allowed:
        failed.append(f"{name} changes from {before:.4f} to {after:.4f}, by more than {allowed:g}")
    return PrecisionRecord(
        passed=not failed,
        reason="; ".join(failed),
        rows=evaluator.examples,
        agreement=agreement,
        metric=after,
        metric_float32=before,
    )


def describe_int8(manifest: Manifest) -> str:
    """Return a line on whether a version may be served in int8, with the reason; "" for generation."""
    if manifest.serving.head is HeadKind.GENERATE:
        return ""
    found = manifest.precision.get(INT8)
    if manifest.serving.merged:
        return f"not allowed: {MERGED}"
    if found is None:
        if manifest.origin == "imported":
            return "not allowed: an imported adapter has no held-out rows"
        return "not allowed: not measured"
    if not found.passed:
        return f"not allowed: {found.reason}"
    return (
        f"allowed: {_decisions(manifest.serving)} {found.agreement:.1%}, {manifest.metric} "
        f"{found.metric:.4f} against {found.metric_float32:.4f} in float32, on {found.rows} held-out rows"
    )


def _decisions(serving: Serving) -> str:
    if serving.numbers:
        return "agreement of numbers"
    return "agreement of vectors" if serving.head is HeadKind.EMBEDDING else "label agreement"


def _skip_reason(plan: Plan, sample: EvaluationSample) -> str:
    from hub.bases.base import BaseKind

    if not plan.recipe.evaluate.int8:
        return "disabled in the recipe (evaluate.int8)"
    if plan.base.kind is not BaseKind.ENCODER or plan.head is HeadKind.GENERATE:
        return f"int8 is for encoders, and {plan.base.name} is of kind {plan.base.kind}"
    if plan.serving.merged:
        return MERGED
    if sample.evaluator.examples < MIN_ROWS:
        return f"{sample.evaluator.examples} held-out rows are too few; {MIN_ROWS} are needed"
    return ""


def _answers(plan: Plan, folder: Path, rows: Sequence[Row], cache: Path) -> list[Output]:
    """Run rows on the base in int8 with the adapter in `folder`.

    Raises:
        EngineFailed: the export of the graph failed.
    """
    from hub.engine.build import build_engine
    from hub.engine.protocol import EngineRow

    engine = build_engine(plan.base, kind="onnx-int8", slots=1, device="cpu", cache=cache)
    try:
        engine.write(1, _weights(plan, folder))
        _wait_for_graph(engine)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
        outputs: dict[int, Output] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            found = engine.run([EngineRow(rows[index], 1, plan.head) for index in batch])
            outputs.update(zip(batch, found, strict=True))
    finally:
        engine.close()
    return [outputs[index] for index in range(len(rows))]


def _wait_for_graph(engine: Engine) -> None:
    """Wait for the int8 graph; the float32 graph, which is exported after it, is not needed here.

    The limits are on the export's CPU time and idle time, not on its duration: whether a version may run in
    int8 must not depend on the load of the machine.

    Raises:
        EngineFailed: the export failed, is idle, or does not end.
    """
    from hub.engine.slot_engine import SlotEngine

    assert isinstance(engine, SlotEngine), "build_engine returns one for encoders"
    worked, since = _export_cpu(), time.monotonic()
    while GRAPH not in engine.backbones:
        if engine.settle(POLL_S) and GRAPH not in engine.backbones:
            raise EngineFailed(engine.info().note or "no graph was made")
        now, (found, worked) = time.monotonic(), (worked, _export_cpu())
        if found != worked:
            since = now
        if now - since > MAX_IDLE_S:
            raise _hangs(f"has used no CPU time for {MAX_IDLE_S / 60:.0f} minutes")
        if max(worked.values(), default=0) > MAX_CPU_S:
            raise _hangs(f"has used {MAX_CPU_S / 3600:.0f} hours of CPU time")


def _export_cpu() -> dict[int, int]:
    import psutil

    from hub.engine.onnx import export

    found = {}
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it ended meanwhile
            if export.__name__ in child.cmdline():
                times = child.cpu_times()
                found[child.pid] = int(times.user + times.system)
    return found


def _hangs(how: str) -> EngineFailed:
    return EngineFailed(
        f"the export of the int8 graph hangs: its process {how}. The version is stored and runs in float32; "
        "train again to measure it, or set evaluate.int8 to false"
    )


def _weights(plan: Plan, folder: Path) -> AdapterWeights:
    from hub.engine.peft.load import weights_of
    from hub.store.content.weights import read_adapter

    files, serving = read_adapter(folder), plan.serving
    weights = weights_of(
        plan.base, files.config, files.tensors, kind=serving.head, num_labels=len(serving.labels)
    )
    return replace(weights, int8=True)


def _agreement(serving: Serving, expected: Sequence[Output], got: Sequence[Output]) -> float:
    """Return the share of equal decisions: the best label of a row or token, or the best start and end.

    For vectors, return the share of rows whose vectors have a cosine of at least MIN_INT8_COSINE; for numbers
    see `compare`.
    """
    import numpy as np

    from hub.export.parity import MIN_INT8_COSINE, compare, spread_of

    multi_label, spread = bool(serving.settings.get("multi_label")), spread_of(serving)
    figures = []
    for pair in zip(expected, got, strict=True):
        first, second = (_columns(serving.head, output) for output in pair)
        mask = np.ones((1, len(pair[0].row.input_ids)), np.int64)
        figures.append(
            compare(serving.head, first, second, mask, multi_label=multi_label, spread=spread).figures
        )
    if serving.head is HeadKind.EMBEDDING:
        return sum(figure.cosine >= MIN_INT8_COSINE for figure in figures) / len(figures)
    return reduce(add, figures).agreement or 0.0


def _columns(head: HeadKind, output: Output) -> list[Array]:
    """Return the values of one row as a batch of one; for a span, start and end as two arrays."""
    assert output.values is not None, "encoders give values"
    values = output.values[None]
    return [values[..., 0], values[..., 1]] if head is HeadKind.SPAN else [values]
