# ruff: noqa: TID253 - imported only when a stored version is explained
"""The explainers that are built in: integrated gradients, and attention rollout."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from hub.api import BadRequest, ExplainedScore, Explainer, NoOptions, TokenScores
from hub.engine.peft.averaged import is_averaged
from hub.errors import MissingExtra

__all__ = ["AttentionRollout", "IntegratedGradients"]

MIN_STEPS, MAX_STEPS = 64, 1024
TOLERANCE = 0.02  # of the difference of the scores; steps double until the delta is below it
ROWS_AT_ONCE, TOKENS_AT_ONCE = 32, 16384


class IntegratedGradients(Explainer[NoOptions]):
    """Integrated gradients of the input embeddings (arXiv:1703.01365)."""

    def attribute(self, score: ExplainedScore) -> TokenScores:
        try:
            from captum.attr import LayerIntegratedGradients
        except ImportError:
            raise MissingExtra.of("The method gradients (integrated gradients)", "explain") from None
        layers = _embeddings(score)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Multiple layers provided", category=UserWarning)
            integrated = LayerIntegratedGradients(score, layers if len(layers) > 1 else layers[0])
        masked = torch.tensor([list(score.baseline)], device=score.ids.device)
        before = score.value(masked)
        difference, steps = score.value() - before, MIN_STEPS
        rows = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // masked.shape[1]))
        while True:
            parts = integrated.attribute(
                inputs=score.ids,
                baselines=masked,
                additional_forward_args=(score.types,),
                n_steps=steps,
                internal_batch_size=rows,
            )  # [1, T, H] of each layer
            scores = _summed(parts)
            delta = abs(float(scores.sum()) - difference)
            if steps >= MAX_STEPS or delta <= TOLERANCE * max(abs(difference), 1.0):
                return TokenScores(scores.tolist(), before, steps)
            steps *= 2


class AttentionRollout(Explainer[NoOptions]):
    """The attention of the explained position to each token, with sum 1.

    Attention rollout: arXiv:2005.00928, over the mean of the heads. Tokens that a model puts before the
    patches of an image are left out of the sum.
    """

    def attribute(self, score: ExplainedScore) -> TokenScores:
        model: Any = score.model.get_base_model()
        model.set_attn_implementation("eager")  # the only one that returns maps
        with torch.no_grad():
            maps = score.run(score.ids, score.types, output_attentions=True).get("attentions")
        if not maps or any(each is None for each in maps):
            raise BadRequest(
                f"{model.config.model_type} models have no attention maps; use the method gradients."
            )
        length = maps[0].shape[-1]
        residual = torch.eye(length, device=score.ids.device)
        flow = residual
        for each in maps:  # [1, heads, T, T]
            mixed = each[0].float().mean(0) + residual
            flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow
        if score.position is not None:
            return TokenScores(list(flow[score.position].tolist()))
        pooled = _pooled(flow, model)
        if before := length - score.ids.shape[1]:
            pooled = pooled[before:] / pooled[before:].sum()
        return TokenScores(list(pooled.tolist()))


def _embeddings(score: ExplainedScore) -> list[nn.Module]:
    """Return the layers that embed the row, in the order in which they run; two stacks have one each."""
    model: Any = score.model.get_base_model()
    shared = model.get_input_embeddings()
    if not isinstance(shared, nn.Embedding):
        return [shared]
    ran: list[nn.Module] = []
    tied = (each for each in model.modules() if getattr(each, "weight", None) is shared.weight)
    embeddings = [each for each in tied if isinstance(each, nn.Embedding)]
    hooks = [each.register_forward_hook(lambda layer, *_: ran.append(layer)) for each in embeddings]
    try:
        score.value()
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(ran))


def _summed(parts: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the scores [T] of the parts [1, T, H] of each layer; a decoder reads the row shifted by one."""
    first, *decoded = (parts,) if isinstance(parts, torch.Tensor) else parts
    scores = first.sum(-1)[0]
    for each in decoded:
        scores[:-1] += each.sum(-1)[0, 1:]
    return scores


def _pooled(flow: torch.Tensor, model: Any) -> torch.Tensor:
    """Return the share [T] of each token in what the head of a row reads, of `flow` [T, T]."""
    if not flow.triu(1).any():  # a decoder, whose tokens see those before them: its head reads the last one
        return flow[-1]
    if model.config.model_type == "dinov2":  # the first token, and the mean of the others
        return (flow[0] + flow[1:].mean(0)) / 2
    mean = is_averaged(model) or getattr(model.config, "classifier_pooling", "cls") == "mean"
    return flow.mean(0) if mean else flow[0]
