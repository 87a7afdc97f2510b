# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Heads that give a number: standardized targets, their losses, and the scale that is stored with the head.

The head's last layer learns standardized targets (mean 0, standard deviation 1), so that a learning rate
suits any unit. While it trains, a hook converts its output to the units of the data, which the task's answers
have; afterwards the layer itself is scaled, and a server, PEFT and an exported graph need not know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from hub.errors import BadRecipe
from hub.evaluation.temperature import output_layer
from hub.store.manifest import NumberScale
from hub.training.fit.loss import Loss, Share

__all__ = ["NumberHead", "NumberLoss", "OrdinalLoss"]


@dataclass(frozen=True, slots=True)
class NumberHead:
    """The last layer of a head with one output, which a hook scales until `fold` scales its weights."""

    layer: nn.Linear
    scale: NumberScale
    hook: RemovableHandle

    @classmethod
    def of(cls, model: PeftModel, scale: NumberScale | None) -> NumberHead | None:
        """Add the hook to a model with a new head; None without a scale.

        Raises:
            BadRecipe: the head has no such layer with a bias.
        """
        if scale is None:
            return None
        layer = output_layer(model, 1)
        if layer is None or layer.bias is None:
            family = model.get_base_model().config.model_type
            raise BadRecipe(
                f"base: the head of {family} has no bias, and numbers need one: use another base."
            )

        def scaled(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            return output.float() * scale.spread + scale.center

        return cls(layer, scale, layer.register_forward_hook(scaled))

    def fold(self) -> None:
        """Scale the layer's weights, and remove the hook: the output stays the same."""
        self.hook.remove()
        assert self.layer.bias is not None
        with torch.no_grad():
            self.layer.weight.mul_(self.scale.spread)
            self.layer.bias.mul_(self.scale.spread).add_(self.scale.center)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberLoss(Loss):
    """The squared or, with `huber`, the Huber loss of errors in standard deviations of the targets.

    Huber (1964) is linear beyond one standard deviation, so that outliers weigh less.
    """

    scale: NumberScale
    huber: bool = False

    def _mean(self, model: Any, inputs: dict[str, Any], share: Share) -> tuple[Tensor, Any]:
        targets = inputs["labels"].float()  # [B]
        outputs = model(**{key: value for key, value in inputs.items() if key != "labels"})
        return self._of_numbers(outputs.logits.float().squeeze(-1), targets), outputs

    def _of_numbers(self, numbers: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of numbers [B] in the units of the data."""
        of = functional.huber_loss if self.huber else functional.mse_loss
        return of(
            (numbers - self.scale.center) / self.scale.spread,
            (targets - self.scale.center) / self.scale.spread,
        )

    def _count(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.tensor(float(len(inputs["labels"])), device=inputs["labels"].device)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdinalLoss(NumberLoss):
    """The logistic loss of a number against the thresholds halfway between neighbouring levels.

    It is the all-threshold loss of Rennie and Srebro (2005), "Loss functions for preference levels", with
    fixed thresholds: the nearest level is the prediction. Half the mean distance of levels is one logit.
    """

    def _of_numbers(self, numbers: Tensor, targets: Tensor) -> Tensor:
        levels = torch.tensor(self.scale.levels, device=numbers.device)  # [K]
        thresholds = (levels[1:] + levels[:-1]) / 2  # [K - 1]
        logit = (levels[-1] - levels[0]) / (len(levels) - 1) / 2
        above = torch.where(targets[:, None] > thresholds, 1.0, -1.0)  # [B, K - 1]
        return functional.softplus(-above * (numbers[:, None] - thresholds) / logit).sum(1).mean()
