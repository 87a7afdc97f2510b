# ruff: noqa: TID253 - imported when an adapter is to be merged, and by nothing else
"""Merges adapters that do not fit in a slot into the base with PEFT, and returns the changed parameters."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.config import method_of
from hub.engine.peft.format import outputs_of
from hub.engine.peft.model import adapt, head_model
from hub.engine.protocol import AdapterWeights
from hub.engine.quiet import known_warnings, quiet
from hub.engine.torch.loading import one_load_at_a_time
from hub.errors import BadAdapter, UnsupportedAdapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["merge", "merged_weights"]

TOLERANCE = 1e-4  # of the largest value, or of 1 where all are smaller
_PROBE = 12  # tokens
_one_at_a_time = threading.Lock()  # each holds two copies of the base


def merged_weights(
    base: Base,
    config: Mapping[str, Any],
    tensors: Mapping[str, Array],
    *,
    kind: HeadKind,
    num_labels: int,
    sha256: str,
) -> AdapterWeights:
    """Merge an adapter into its base; `full` holds the head and every parameter that changed.

    `num_labels` is read for SEQUENCE and TOKEN.

    Raises:
        UnsupportedAdapter: PEFT cannot merge the method, or it is not allowed here.
        BadAdapter: the adapter is unsound, lacks a head, or changes nothing.
        EngineFailed: the base could not be loaded.
    """
    labels = outputs_of(kind, num_labels)
    with _one_at_a_time, torch.no_grad():
        model, missing = head_model(base, kind, labels)
        before = {name: value.clone() for name, value in _parameters(model).items() if name not in missing}
        adapted = adapt(model, config, tensors)
        inputs = _probe(model, base)
        expected = _answers(adapted.base_model, inputs)
        merged = merge(adapted)
        _check_equal(expected, _answers(merged, inputs), method_of(config))
        after = _parameters(merged)
    full = {name: value for name, value in after.items() if not _same(value, before.get(name))}
    if absent := sorted(name for name, value in full.items() if not value.isfinite().all()):
        raise BadAdapter(
            f"Neither the base {base.name!r} nor the adapter has {', '.join(absent[:3])}. PEFT saves a head "
            "that task_type implies or modules_to_save names."
        )
    if not full.keys() - missing:
        raise BadAdapter("The adapter changes nothing in its base. Train it first.")
    arrays = {name: value.numpy().copy() for name, value in sorted(full.items())}
    return AdapterWeights(kind, {}, arrays, labels, sha256, merged=True)


def merge(adapted: PeftModel) -> PreTrainedModel:
    """Merge an adapter into its model, in place.

    Raises:
        UnsupportedAdapter: PEFT cannot merge this kind of adapter.
    """
    _untie(adapted)
    try:
        with one_load_at_a_time, quiet(), known_warnings():
            merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except (NotImplementedError, ValueError, AttributeError) as error:
        method = adapted.active_peft_config.peft_type.value
        raise UnsupportedAdapter(
            f"A {method} adapter cannot be merged into its base: {str(error)[:300]}"
        ) from error
    return merged.eval()


def _untie(model: nn.Module) -> None:
    """Untie shared weights: PEFT applies an adapter to one of the modules only."""
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) in seen:
                setattr(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
            seen.add(id(parameter))


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in model.named_parameters(remove_duplicate=False)}


def _same(value: Tensor, before: Tensor | None) -> bool:
    return before is not None and torch.equal(value, before)


def _probe(model: PreTrainedModel, base: Base) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    if base.image:
        return {"pixel_values": torch.randn(1, *base.image.shape, generator=random)}
    ids = torch.randint(3, model.config.vocab_size, (1, _PROBE), generator=random)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})


def _answers(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    with torch.inference_mode():
        outputs = model(**inputs)
    return [value for value in outputs.values() if isinstance(value, Tensor)]


def _check_equal(expected: list[Tensor], got: list[Tensor], method: str) -> None:
    for first, second in zip(expected, got, strict=True):
        difference = (first - second).abs().max().item()
        if difference > TOLERANCE * max(1.0, first.abs().max().item()):
            raise UnsupportedAdapter(
                f"Merged into its base, this {method} adapter differs from PEFT's own output by "
                f"{difference:.2g}, so it cannot be served as a merged copy."
            )
