"""What a plan minimizes: its loss and, for few-shot training, its logistic head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.api import Features, HeadKind, Tokenizer
from hub.registry.loaded import plugin_call
from hub.store.manifest import NumberScale
from hub.training.fit.contrastive import ContrastiveLoss, VectorLoss
from hub.training.fit.few_shot import LogisticHead, PairLoss
from hub.training.fit.loss import Loss, class_weights
from hub.training.fit.number import NumberLoss, OrdinalLoss
from hub.training.plan import Plan

__all__ = ["head_of", "loss_of"]


def loss_of(plan: Plan, features: Sequence[Features]) -> Loss:
    """Return the loss function of the plan.

    Raises:
        BadRecipe: the head has no labels to smooth or to balance.
    """
    train, labelled = plan.recipe.train, plan.loaded.labelled
    if train.label_smoothing and plan.head in (HeadKind.SPAN, HeadKind.EMBEDDING):
        raise plan.recipe.error("train.label_smoothing", f"task {plan.recipe.task} has no labels to smooth")
    if numbers := plan.serving.numbers:
        return _number_loss(plan, numbers)
    if train.loss != "auto":
        reason = f"{train.loss} is for numbers, and task {plan.recipe.task} does not learn numbers"
        raise plan.recipe.error("train.loss", reason)
    if train.balance != "none" and not labelled:
        raise plan.recipe.error("train.balance", f"task {plan.recipe.task} has no labels to balance")
    if plan.recipe.method.type == "few-shot":
        return _pair_loss(plan)
    if plan.head is HeadKind.EMBEDDING:
        return ContrastiveLoss(plan.head, l1=train.l1, embedding=plan.embedding, own=_vector_loss(plan))
    weights = class_weights(features, len(plan.serving.labels)) if train.balance == "weights" else None
    return Loss(
        plan.head,
        smoothing=train.label_smoothing,
        weights=weights,
        l1=train.l1,
        aligned=plan.serving.encoder_decoder,
    )


def head_of(plan: Plan, features: Sequence[Features], tokenizer: Tokenizer) -> LogisticHead | None:
    """Return the logistic head of few-shot training, None for other methods.

    Raises:
        BadRecipe: all rows have the same label.
    """
    if plan.recipe.method.type != "few-shot":
        return None
    if len({row["labels"] for row in features}) < 2:
        raise plan.recipe.error("data", "few-shot needs training rows of at least two labels")
    balanced = plan.recipe.train.balance == "weights"
    return LogisticHead.of(features, tokenizer, len(plan.serving.labels), balanced=balanced)


def _number_loss(plan: Plan, numbers: NumberScale) -> NumberLoss:
    recipe, train = plan.recipe, plan.recipe.train
    if train.label_smoothing:
        raise recipe.error("train.label_smoothing", f"task {recipe.task} has no labels to smooth")
    if train.balance != "none":
        raise recipe.error("train.balance", f"task {recipe.task} has no labels to balance")
    if train.loss == "ordinal" and not numbers.levels:
        raise recipe.error("train.loss", f"ordinal needs levels, and task {recipe.task} learns any number")
    if numbers.levels and train.loss in ("auto", "ordinal"):
        return OrdinalLoss(head=plan.head, l1=train.l1, scale=numbers)
    return NumberLoss(head=plan.head, l1=train.l1, scale=numbers, huber=train.loss == "huber")


def _vector_loss(plan: Plan) -> VectorLoss:
    def own(queries: Any, texts: Any, candidates: Any) -> Any:
        with plugin_call(plan.recipe.task, "vector_loss()"):
            return plan.loaded.task.vector_loss(queries, texts, candidates, plan.info)

    return own


def _pair_loss(plan: Plan) -> Loss:
    recipe, train = plan.recipe, plan.recipe.train
    if train.label_smoothing:
        raise recipe.error("train.label_smoothing", "few-shot trains on pairs, which have no label to smooth")
    if train.balance == "sample":
        raise recipe.error("train.balance", "few-shot cannot draw rows more often: use weights")
    return PairLoss(plan.head, l1=train.l1, num_labels=len(plan.serving.labels))
