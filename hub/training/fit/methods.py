# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Builds the PEFT model for the recipe's `method`.

A head alone, biases (BitFit, arXiv:2106.10199) and a whole base are saved in PEFT's format as full modules
next to a LoRA of no layer, for which PEFT 0.21 reserves the target name DUMMY_TARGET_MODULES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD
from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as IA3_LAYERS
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn
from transformers import PreTrainedModel

from hub.engine.peft.model import backbone_prefix
from hub.recipe.recipe import Recipe

__all__ = ["adapt", "embeddings_of", "layers_of"]


def adapt(
    model: PreTrainedModel,
    recipe: Recipe,
    task_type: TaskType | None,
    heads: Sequence[str],
    unused: Sequence[str] = (),
) -> PeftModel:
    """Return the PEFT model of the recipe; `heads` are the new modules outside the backbone.

    `unused` are modules that no output depends on, and that are not trained.

    Raises:
        BadRecipe: `method.target` matches no module, the base has too few layers to freeze, or `method.init`
            does not support the rank.
    """
    method = recipe.method
    frozen = [*_frozen(model, recipe), *unused]
    shared: dict[str, Any] = {"task_type": task_type, "modules_to_save": list(heads) or None}
    avoided = [rf"({'|'.join(map(re.escape, heads))})(\..+)?"] if heads else []
    if frozen:
        avoided.append(rf"({'|'.join(map(re.escape, frozen))})(\..+)?")
    if method.type in ("lora", "few-shot"):
        return _lora(model, recipe, shared | {"exclude_modules": "|".join(avoided) or None})
    if method.type == "ia3":
        return _ia3(model, recipe, shared | {"exclude_modules": "|".join(avoided) or None})
    backbone = [backbone_prefix(model).rstrip(".")] if method.type == "full" else []
    if backbone == [""]:
        raise recipe.error(
            "method.type", f"a base of type {model.config.model_type} cannot be trained in full"
        )
    nothing = LoraConfig(
        target_modules=DUMMY_TARGET_MODULES,
        bias="all" if method.type == "bitfit" else "none",
        **shared | {"modules_to_save": [*backbone, *heads] or None},
    )
    adapted = get_peft_model(model, nothing)
    for name, parameter in _trained(adapted):
        if any(f".{path}." in _plain(name) for path in frozen):
            parameter.requires_grad_(False)
    if not any(True for _ in _trained(adapted)):
        raise recipe.error("method.type", f"the base has nothing that {method.type} trains")
    return adapted


def layers_of(model: PreTrainedModel) -> tuple[str, Sequence[nn.Module]]:
    """Return the path and the modules of the backbone's layers, its longest module list, or ("", [])."""
    lists: list[tuple[str, Any]] = [
        (name, module) for name, module in _backbone(model) if isinstance(module, nn.ModuleList)
    ]
    return max(lists, key=lambda found: len(found[1]), default=("", []))


def embeddings_of(model: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """Return the paths and the modules of the backbone's embeddings."""
    return [
        (name, module) for name, module in _backbone(model) if name.rpartition(".")[2].startswith("embed")
    ]


def _backbone(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of the backbone, without PEFT's copies of the original ones."""
    prefix = backbone_prefix(model)
    for name, module in model.named_modules():
        if name.startswith(prefix) and ".original_module." not in name:
            yield name, module


def _frozen(model: PreTrainedModel, recipe: Recipe) -> list[str]:
    """Return the paths of the modules that `method.freeze` freezes: the lowest layers and the embeddings."""
    count = recipe.method.freeze
    if not count:
        return []
    path, modules = layers_of(model)
    layers = len(modules)
    count = count if count > 0 else max(0, layers + count)
    if count >= layers:
        raise recipe.error("method.freeze", f"the base has {layers} layers, and at least one must be trained")
    embeddings = [name for name, _ in embeddings_of(model)]
    return [*embeddings, *(f"{path}.{number}" for number in range(count))]


def _lora(model: PreTrainedModel, recipe: Recipe, shared: dict[str, Any]) -> PeftModel:
    method = recipe.method
    config = LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha if method.alpha is not None else 2 * method.rank,
        lora_dropout=method.dropout,
        target_modules=method.target if isinstance(method.target, str) else list(method.target),
        use_rslora=method.rslora,
        use_dora=method.dora,
        init_lora_weights=True if method.init == "default" else method.init,
        **shared,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        if "target" in str(error).lower():
            raise _no_target(model, recipe) from None
        if method.init != "default":
            raise recipe.error("method.init", str(error).rstrip(".")) from None
        raise


def _ia3(model: PreTrainedModel, recipe: Recipe, shared: dict[str, Any]) -> PeftModel:
    family, target = model.config.model_type, recipe.method.target
    if target == "all-linear" and family not in IA3_LAYERS:
        raise recipe.error(
            "method.target", f"name the layers: PEFT has no ia3 defaults for the family {family}"
        )
    layers = list(IA3_LAYERS[family] if isinstance(target, str) else target)
    config: PeftConfig = IA3Config(
        target_modules=layers,
        feedforward_modules=[name for name in layers if name in FEEDFORWARD.get(family, ())],
        **shared,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        if "target" not in str(error).lower():
            raise
        raise _no_target(model, recipe) from None


def _no_target(model: PreTrainedModel, recipe: Recipe) -> Exception:
    linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    prefix = backbone_prefix(model)
    inside = (name for name in linear if name.startswith(prefix))
    names = sorted({name.rpartition(".")[2] for name in inside})
    asked = recipe.method.target
    listed = asked if isinstance(asked, str) else ", ".join(asked)
    return recipe.error("method.target", f"no linear layer is named {listed}. Available: {', '.join(names)}")


def _trained(model: nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _plain(name: str) -> str:
    """Return a parameter's name without PEFT's prefix of fully saved modules."""
    return "." + name.replace(".modules_to_save.default", "")
