"""Which head scores whole texts: that of the base's family, or one that reads the mean over the tokens."""

from __future__ import annotations

from hub.api import HeadKind, InputKind, Pooling, TaskSpec
from hub.bases.base import Base
from hub.recipe.recipe import Recipe

__all__ = ["MEAN_FAMILIES", "head_kind"]

MEAN_FAMILIES = frozenset({"bert", "deberta-v2", "distilbert", "electra", "roberta", "xlm-roberta"})
"""Types of base whose head of tokens is one linear layer."""


def head_kind(recipe: Recipe, spec: TaskSpec, base: Base) -> HeadKind:
    """Return the kind of head to train for a task, by `method.pooling` and by how the base was trained.

    Raises:
        BadRecipe: `mean`, and the task scores no whole texts or the family has no such head.
    """
    pooling = recipe.method.pooling
    whole = spec.head is HeadKind.SEQUENCE and spec.input is InputKind.TEXT
    can = whole and base.model_type in MEAN_FAMILIES
    if pooling == "mean" and not whole:
        raise recipe.error("method.pooling", f"task {spec.name} gives no scores of whole texts: omit it")
    if pooling == "mean" and not can:
        raise recipe.error(
            "method.pooling",
            f"{base.name} is of type {base.model_type}, whose head of tokens is not one linear layer. "
            f"mean is for {', '.join(sorted(MEAN_FAMILIES))}",
        )
    if can and (pooling == "mean" or (pooling == "auto" and base.pooling is Pooling.MEAN)):
        return HeadKind.SEQUENCE_MEAN
    return spec.head
