# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Which copies a model that was trained without them gives another label than they have."""

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
    """Return the indices of copies with a label that the model in a folder does not give.

    Copies that the task cannot encode are not among them.

    Raises:
        BadRecipe: the task makes several rows of a text, or its head gives a text no label.
    """
    good, _ = encodable(plan.loaded, tokenizer, plan.info, copies)
    if not good:
        return []
    evaluator = Evaluator.of(plan.loaded, tokenizer, plan.info, good)
    if plan.head is not HeadKind.SEQUENCE or len(evaluator.rows) != len(good):
        raise plan.recipe.error(
            "augment.check", f"model needs a label for each text as a whole, unlike task {plan.recipe.task}"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_adapted(adapter, plan.base, plan.head, len(plan.serving.labels), device)
    known = evaluator.labelled(evaluator.run(model, progress).outputs)
    if known is None:
        return []
    correct = known.correct.reshape(len(known.rows), -1)
    wrong = {id(good[row]) for place, row in enumerate(known.rows.tolist()) if not correct[place].all()}
    return [index for index, item in enumerate(copies) if id(item) in wrong]
