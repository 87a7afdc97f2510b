# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Finds augmented copies whose label a model trained without them does not predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hub.api import HeadKind, Tokenizer
from hub.data.examples import Item
from hub.data.features import encodable
from hub.engine.peft.model import load_adapted
from hub.evaluation.evaluator import Evaluator
from hub.progress import Progress
from hub.training.plan import Plan

__all__ = ["disagreeing"]


def disagreeing(
    plan: Plan, adapter: Path, tokenizer: Tokenizer, copies: Sequence[Item], progress: Progress
) -> list[int]:
    """Return the indices of copies whose label the model in `adapter` does not predict.

    Copies that the task cannot encode are not included.

    Raises:
        BadRecipe: the task makes more than one row of a text, or its head predicts no label per text.
    """
    good, _ = encodable(plan.loaded, tokenizer, plan.info, copies)
    if not good:
        return []
    evaluator = Evaluator.of(plan.loaded, tokenizer, plan.info, good)
    if plan.head is not HeadKind.SEQUENCE or plan.loaded.numeric or len(evaluator.rows) != len(good):
        raise plan.recipe.error(
            "augment.check", f"model needs a label for each text as a whole, unlike task {plan.recipe.task}"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_adapted(adapter, plan.base, plan.serving.head, len(plan.serving.labels), device)
    known = evaluator.labelled(evaluator.run(model, progress).outputs)
    if known is None:
        return []
    correct = known.correct.reshape(len(known.rows), -1)
    wrong = {id(good[row]) for place, row in enumerate(known.rows.tolist()) if not correct[place].all()}
    return [index for index, item in enumerate(copies) if id(item) in wrong]
