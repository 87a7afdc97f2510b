# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The training methods that are built in.

A head alone, biases (BitFit, arXiv:2106.10199) and a whole base are saved in PEFT's format as full modules
next to a LoRA of no layer, for which PEFT 0.21 reserves the target name DUMMY_TARGET_MODULES.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD
from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as IA3_LAYERS
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from transformers import PreTrainedModel

from hub.api import MethodRequest, NoOptions, TrainingMethod

__all__ = ["BitFit", "FullTraining", "HeadOnly", "Ia3", "Lora"]


class Lora(TrainingMethod[NoOptions]):
    """Low-rank updates, with rsLoRA, DoRA and other initializations."""

    def adapt(self, model: PreTrainedModel, request: MethodRequest) -> PeftModel:
        method = request.method
        config = LoraConfig(
            r=method["rank"],
            lora_alpha=method["alpha"] if method["alpha"] is not None else 2 * method["rank"],
            lora_dropout=method["dropout"],
            target_modules=method["target"] if isinstance(method["target"], str) else list(method["target"]),
            use_rslora=method["rslora"],
            use_dora=method["dora"],
            init_lora_weights=True if method["init"] == "default" else method["init"],
            exclude_modules=request.excluded,
            **_shared(request),
        )
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            if "target" in str(error).lower():
                raise _no_target(model, request) from None
            if method["init"] != "default":
                raise request.error("method.init", str(error).rstrip(".")) from None
            raise


class Ia3(TrainingMethod[NoOptions]):
    """Learned scales of some layers' outputs (arXiv:2205.05638)."""

    def adapt(self, model: PreTrainedModel, request: MethodRequest) -> PeftModel:
        family, target = model.config.model_type, request.method["target"]
        if target == "all-linear" and family not in IA3_LAYERS:
            raise request.error(
                "method.target", f"name the layers: PEFT has no ia3 defaults for the family {family}"
            )
        layers = list(IA3_LAYERS[family] if isinstance(target, str) else target)
        config = IA3Config(
            target_modules=layers,
            feedforward_modules=[name for name in layers if name in FEEDFORWARD.get(family, ())],
            exclude_modules=request.excluded,
            **_shared(request),
        )
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            if "target" not in str(error).lower():
                raise
            raise _no_target(model, request) from None


class HeadOnly(TrainingMethod[NoOptions]):
    """The new head alone."""

    bias: ClassVar[Literal["none", "all"]] = "none"

    def adapt(self, model: PreTrainedModel, request: MethodRequest) -> PeftModel:
        saved = [*self.whole(model, request), *request.heads] or None
        shared = _shared(request) | {"modules_to_save": saved}
        return get_peft_model(
            model, LoraConfig(target_modules=DUMMY_TARGET_MODULES, bias=self.bias, **shared)
        )

    def whole(self, model: PreTrainedModel, request: MethodRequest) -> list[str]:
        """Return the modules of the backbone that are trained as a whole."""
        return []


class BitFit(HeadOnly):
    """The biases of the base, without that of the patches of an image, which no slot can hold."""

    bias = "all"

    def adapt(self, model: PreTrainedModel, request: MethodRequest) -> PeftModel:
        adapted = super().adapt(model, request)
        for module in adapted.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.requires_grad_(False)
        return adapted


class FullTraining(HeadOnly):
    """All weights of the base."""

    def whole(self, model: PreTrainedModel, request: MethodRequest) -> list[str]:
        if not request.backbone:
            raise request.error(
                "method.type", f"a base of type {model.config.model_type} cannot be trained in full"
            )
        return [request.backbone]


def _shared(request: MethodRequest) -> dict[str, Any]:
    return {"task_type": request.task_type, "modules_to_save": list(request.heads) or None}


def _no_target(model: PreTrainedModel, request: MethodRequest) -> Exception:
    linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    inside = (name for name in linear if name.startswith(request.backbone))
    names = sorted({name.rpartition(".")[2] for name in inside})
    asked = request.method["target"]
    listed = asked if isinstance(asked, str) else ", ".join(asked)
    return request.error("method.target", f"no linear layer is named {listed}. Available: {', '.join(names)}")
