# ruff: noqa: TID253 - imported when PEFT itself has to run an adapter, and by nothing else
"""Heads that score a text by the mean over its tokens, for bases that were trained for such means."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.modeling_outputs import SequenceClassifierOutput

from hub.engine.torch.heads import pool
from hub.errors import UnsupportedAdapter
from hub.vectors import Pooling

__all__ = ["averaged", "head_modules", "is_averaged"]


def averaged(model: PreTrainedModel) -> PreTrainedModel:
    """Make a token classification model score texts, in place: logits [B, C] of the mean over the tokens.

    Its weights keep their names. Since the head is one linear layer, a text's scores are also the means of
    its tokens' scores, special tokens included: so plain transformers gives them too.

    Raises:
        UnsupportedAdapter: the head has more layers.
    """
    heads = head_modules(model)
    if len(heads) != 1 or not isinstance(model.get_submodule(heads[0]), nn.Linear):
        raise UnsupportedAdapter(
            f"The token head of {model.config.model_type} is more than one linear layer, so it cannot score "
            "the mean over the tokens."
        )
    kind: type[PreTrainedModel] = type(model)
    model.__class__ = _averaged(kind)  # type: ignore[arg-type]
    return model


def is_averaged(model: nn.Module) -> bool:
    """Return whether a model scores the mean over the tokens, as those of `averaged` do."""
    return isinstance(model, _Averaged)


class _Averaged:
    """Replaces the forward of a token classification model."""

    def forward(
        self: Any,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        backbone = getattr(self, self.base_model_prefix)
        found = backbone(input_ids=input_ids, attention_mask=attention_mask, **inputs)
        states = found.last_hidden_state.float()  # [B, T, H]
        mask = states.new_ones(states.shape[:2]) if attention_mask is None else attention_mask  # [B, T]
        means = pool(states, mask, Pooling.MEAN)  # [B, H]
        for dropout in (module for module in self.children() if isinstance(module, nn.Dropout)):
            means = dropout(means)
        [head] = head_modules(self)
        scores = self.get_submodule(head)(means)
        loss = None if labels is None else ForSequenceClassificationLoss(labels, scores, self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=scores, hidden_states=found.hidden_states, attentions=found.attentions
        )


@cache
def _averaged(of: type[PreTrainedModel]) -> type[PreTrainedModel]:
    return type(of.__name__, (_Averaged, of), {"__module__": of.__module__})


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the modules outside the backbone that have weights."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]
