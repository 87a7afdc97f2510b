# ruff: noqa: TID253 - imported when a stored version is measured, and by nothing else
"""Evaluates a stored version on rows, and compares two versions on the rows that both answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hub.api import EngineRequest, Output, Row
from hub.api.kinds.reader import InvalidRow
from hub.bases.base import Base
from hub.data.examples import Item
from hub.data.features import encodable
from hub.engine.peft.load import weights_of
from hub.engine.peft.model import load_adapted
from hub.engine.protocol import Engine, EngineRow, GenerationLimits
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadAdapter, BadData, HubError
from hub.evaluation.assess import Measured, measured
from hub.evaluation.comparison import Comparison, compare
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.predict import batches
from hub.progress import Progress, silent
from hub.registry.active import active
from hub.registry.host import Registry
from hub.registry.kinds import ENGINES, METRICS
from hub.registry.loaded import extension_call
from hub.registry.opening import open_engine
from hub.store.content.weights import read_adapter
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["answers_of", "compared"]


def answers_of(
    version: Version,
    items: Sequence[Item],
    *,
    registry: Registry,
    store: Store,
    engine: str = "",
    progress: Progress = silent,
) -> tuple[Measured, list[InvalidRow]]:
    """Answer examples with a version by PEFT, or on `engine`; also return the invalid ones.

    Raises:
        BadConfig: there is no such engine, or it cannot run this base.
        NotFound: its base or its task is missing.
        BadAdapter: its files cannot be loaded.
        BadData: it can answer none of the examples.
    """
    serving = version.manifest.serving
    loaded = registry.task(serving.task)
    base = store.bases.by_fingerprint(serving.base.fingerprint)
    tokenizer = load_tokenizer(base)
    good, invalid = encodable(loaded, tokenizer, version.info, items)
    if not good:
        raise BadData(
            f"{version.ref} can answer no row: {invalid[0].reason if invalid else 'there are none'}"
        )
    folder = store.fetch(version)
    known = active().extensions.specs(METRICS)
    more = [name for name in version.manifest.metrics if name in known]
    evaluator = Evaluator.of(loaded, tokenizer, version.info, good, more)
    if engine:
        outputs = _outputs(engine, version, base, folder, evaluator.rows)
        return measured(evaluator, evaluator.score(outputs)), invalid
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = load_adapted(folder, base, serving.head, len(serving.labels), device)
    except HubError:
        raise
    except Exception as error:  # PEFT and transformers raise exceptions of any type for invalid files
        raise BadAdapter(f"{version.ref} cannot be loaded with PEFT: {error}") from error
    return measured(evaluator, evaluator.run(model, progress)), invalid


def _outputs(name: str, version: Version, base: Base, folder: Path, rows: Sequence[Row]) -> list[Output]:
    """Run rows on the engine of a name, as a server does: rows of similar length together."""
    files, serving = read_adapter(folder), version.manifest.serving
    weights = weights_of(
        base,
        files.config,
        files.tensors,
        kind=serving.head,
        num_labels=len(serving.labels),
        sha256=version.sha256,
        merged=serving.merged,
    )
    int8 = version.manifest.precision.get("int8")
    request = EngineRequest(base, slots=1, generation=GenerationLimits())
    engine: Engine = open_engine(name, request, "--engine")
    try:
        with extension_call(ENGINES.word, name, "an evaluation"):
            weights = replace(weights, int8=int8 is not None and int8.passed)
            engine.check(weights)
            engine.write(1, weights)
            outputs: list[Output | None] = [None] * len(rows)
            for indices in batches(rows):
                found = engine.run([EngineRow(rows[index], 1, serving.head) for index in indices])
                for index, output in zip(indices, found, strict=True):
                    outputs[index] = output
    finally:
        engine.close()
    return [output for output in outputs if output is not None]


def compared(first: Measured, second: Measured, seed: int) -> Comparison:
    """Compare two versions of one task on the rows that both answered.

    Raises:
        BadData: there is no such row, or the metric is undefined on them.
    """
    places = {id(item): row for row, item in enumerate(second.evaluator.items)}
    pairs = [(row, places[id(item)]) for row, item in enumerate(first.evaluator.items) if id(item) in places]
    if not pairs:
        raise BadData("There is no row that both versions can answer.")
    ours, theirs = (np.asarray(indices) for indices in zip(*pairs, strict=True))
    metric = first.evaluator.metric
    one, other = first.score.of(metric), second.score.of(metric)
    correct = None
    if first.decisions and second.decisions:
        correct = first.decisions.correct[ours], second.decisions.correct[theirs]
    found = compare(
        metric,
        lambda chosen: one(ours[chosen]),
        lambda chosen: other(theirs[chosen]),
        len(pairs),
        seed,
        correct,
        goal=first.evaluator.goal,
        fast=first.score.is_fast(metric) and second.score.is_fast(metric),
    )
    if not math.isfinite(found.gain) or not math.isfinite(found.paired.worse):
        raise BadData(
            f"The {metric} of the {len(pairs):,} rows that both versions can answer, or of samples of "
            "them, is undefined. Compare on more rows."
        )
    return found
