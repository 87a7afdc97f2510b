# ruff: noqa: TID253 - imported when a stored version is measured, and by nothing else
"""Evaluates a stored version on rows, and compares two versions on the rows that both answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hub.api.kinds.reader import InvalidRow
from hub.data.examples import Item
from hub.data.features import encodable
from hub.engine.peft.model import load_adapted
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadAdapter, BadData, HubError
from hub.evaluation.assess import Measured, measured
from hub.evaluation.comparison import Comparison, compare
from hub.evaluation.evaluator import Evaluator
from hub.progress import Progress, silent
from hub.registry.active import active
from hub.registry.host import Registry
from hub.registry.kinds import METRICS
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["answers_of", "compared"]


def answers_of(
    version: Version, items: Sequence[Item], *, registry: Registry, store: Store, progress: Progress = silent
) -> tuple[Measured, list[InvalidRow]]:
    """Load a version on its base with PEFT and answer examples; also return the invalid ones.

    Raises:
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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = load_adapted(folder, base, serving.head, len(serving.labels), device)
    except HubError:
        raise
    except Exception as error:  # PEFT and transformers raise exceptions of any type for invalid files
        raise BadAdapter(f"{version.ref} cannot be loaded with PEFT: {error}") from error
    known = active().extensions.specs(METRICS)
    more = [name for name in version.manifest.metrics if name in known]
    evaluator = Evaluator.of(loaded, tokenizer, version.info, good, more)
    return measured(evaluator, evaluator.run(model, progress)), invalid


def compared(first: Measured, second: Measured, seed: int) -> Comparison:
    """Compare two versions of one task on the rows that both answered.

    Raises:
        BadData: there is no such row.
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
    return compare(
        metric,
        lambda chosen: one(ours[chosen]),
        lambda chosen: other(theirs[chosen]),
        len(pairs),
        seed,
        correct,
        goal=first.evaluator.goal,
        fast=first.score.is_fast(metric) and second.score.is_fast(metric),
    )
