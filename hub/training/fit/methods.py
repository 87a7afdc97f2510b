# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Asks the recipe's training method for the PEFT model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PeftModel, TaskType
from pydantic import BaseModel, ValidationError
from torch import nn
from transformers import PreTrainedModel

from hub.api import MethodRequest, TrainingMethod
from hub.engine.peft.model import backbone_prefix
from hub.errors import BadPlugin, first_problem
from hub.recipe.recipe import Recipe
from hub.registry.active import active
from hub.registry.kinds import METHODS
from hub.registry.loaded import extension_call

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
        BadRecipe: `method.target` matches no module, the base has too few layers to freeze, `method.init`
            does not support the rank, or nothing would be trained.
        BadPlugin: the method of a plugin fails.
    """
    kind = recipe.method.type
    frozen = [*_frozen(model, recipe), *unused]
    avoided = [rf"({'|'.join(map(re.escape, paths))})(\..+)?" for paths in (heads, frozen) if paths]
    method = active().extensions.get(METHODS, kind)
    request = MethodRequest(
        method=recipe.method.model_dump(),
        options=_options(method, recipe),
        task_type=task_type,
        heads=tuple(heads),
        frozen=tuple(frozen),
        excluded="|".join(avoided) or None,
        backbone=backbone_prefix(model).rstrip("."),
        error=recipe.error,
    )
    with extension_call(METHODS.word, kind, "adapt()"):
        adapted = method.adapt(model, request)
    if not isinstance(adapted, PeftModel):
        raise BadPlugin(f"Training method {kind!r} returned {type(adapted).__name__}, not a PeftModel.")
    for name, parameter in _trained(adapted):
        if any(f".{path}." in _plain(name) for path in frozen):
            parameter.requires_grad_(False)
    if not any(True for _ in _trained(adapted)):
        raise recipe.error("method.type", f"the base has nothing that {kind} trains")
    return adapted


def _options(method: TrainingMethod[Any], recipe: Recipe) -> BaseModel:
    try:
        return method.options.model_validate(recipe.method.options)
    except ValidationError as error:
        key, reason = first_problem(error, "")
        raise recipe.error(f"method.options{'.' if key else ''}{key}", reason) from None


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


def _trained(model: nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _plain(name: str) -> str:
    """Return a parameter's name without PEFT's prefix of fully saved modules."""
    return "." + name.replace(".modules_to_save.default", "")
