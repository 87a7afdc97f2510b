# ruff: noqa: TID253 - imported when PEFT itself has to run an adapter, and by nothing else
"""Builds PEFT models from arrays, without unpickling or downloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import peft
import torch
import transformers
from peft import PeftModel
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from hub.api import HeadKind
from hub.bases.auto_classes import auto_class
from hub.bases.base import Base
from hub.engine.peft.allowed import read_config
from hub.engine.peft.averaged import averaged
from hub.engine.peft.config import method_of
from hub.engine.peft.format import COPIES
from hub.engine.peft.patterns import explicit_config
from hub.engine.quiet import known_warnings, quiet
from hub.engine.torch.loading import one_load_at_a_time
from hub.errors import BadAdapter, BadBase, EngineFailed

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = [
    "HeadModel",
    "adapt",
    "backbone_prefix",
    "complete",
    "fresh_adapter",
    "head_model",
    "initial_tensors",
    "load_adapted",
    "load_folder",
    "load_with_head",
]

_LABELLED = frozenset({HeadKind.SEQUENCE, HeadKind.SEQUENCE_MEAN, HeadKind.TOKEN})
_POOLER = "pooler."
_WEIGHTS = "adapter_model.safetensors"
_ADAPTER = "default"  # PEFT's name for the only adapter of a model
_DERIVED = ".ranknum."  # of AdaLoRA; PEFT saves none, and sets it by the config


class HeadModel(NamedTuple):
    """A base with a head, and the names of the parameters that are missing in its files."""

    model: PreTrainedModel
    missing: frozenset[str]


def load_with_head(base: Base, kind: HeadKind, num_labels: int, dropout: float | None = None) -> HeadModel:
    """Load the base in float32 with the Hugging Face head of `kind`; missing parameters are random.

    `dropout` replaces every dropout rate in its config. A missing pooler is removed from the bare model of an
    embedding, which does not use it.

    Raises:
        EngineFailed: the folder does not hold a model of this kind.
        UnsupportedAdapter: as `averaged`.
    """
    factory = getattr(transformers, auto_class(kind, base.kind))
    config = AutoConfig.from_pretrained(base.path, local_files_only=True)
    if kind in _LABELLED:
        config.num_labels = num_labels
    if dropout is not None:
        _set_dropout(config, dropout)
    settings: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    if base.image:  # published with a classifier of other labels; a head of text is refused instead
        settings["ignore_mismatched_sizes"] = True
    try:
        with one_load_at_a_time, quiet():
            model, report = factory.from_pretrained(
                base.path, config=config, output_loading_info=True, **settings
            )
            missing = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
            prefix = f"{model.base_model_prefix}."
            if kind is HeadKind.SPAN and any(name.startswith(f"{prefix}layers.") for name in missing):
                # transformers 5.23 does not find the backbone of Llama and Qwen2 under this head.
                backbone = AutoModel.from_pretrained(base.path, **settings)
                getattr(model, model.base_model_prefix).load_state_dict(backbone.state_dict())
                missing = {name for name in missing if not name.startswith(prefix)}
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineFailed(f"Base {base.name!r} cannot be loaded under a {kind} head: {error}") from error
    if kind is HeadKind.EMBEDDING and any(name.startswith(_POOLER) for name in missing):
        model.pooler = None
        missing = {name for name in missing if not name.startswith(_POOLER)}
    if kind is HeadKind.SEQUENCE_MEAN:
        averaged(model)
    return HeadModel(model, frozenset(missing))


def head_model(base: Base, kind: HeadKind, num_labels: int) -> HeadModel:
    """Load the base with a head for inference; missing parameters, which the adapter must bring, are NaN.

    Raises:
        EngineFailed: the folder does not hold a model of this kind.
    """
    model, missing = load_with_head(base, kind, num_labels)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in missing:
            nn.init.constant_(parameter, float("nan"))
    return HeadModel(model.requires_grad_(False).eval(), missing)


def load_adapted(folder: Path, base: Base, head: HeadKind, num_labels: int, device: Any) -> PeftModel:
    """Load a PEFT folder on a fresh base with plain PEFT.

    Raises:
        BadAdapter, UnsupportedAdapter: as `load_folder`.
        BadBase: the base lacks weights of its backbone.
    """
    model = complete(base, load_with_head(base, head, num_labels))
    with one_load_at_a_time, quiet(), known_warnings():
        return load_folder(model, folder).eval().to(device)


def complete(base: Base, loaded: HeadModel) -> PreTrainedModel:
    """Return the model if no weight of its backbone is missing.

    Raises:
        BadBase: some are missing and would be random.
    """
    backbone = backbone_prefix(loaded.model)
    if missing := sorted(name for name in loaded.missing if name.startswith(backbone)):
        raise BadBase(
            f"Base {base.name!r} lacks weights that this task needs ({', '.join(missing[:3])}), "
            "and untrained ones would differ from server to server. Choose another base."
        )
    return loaded.model


def backbone_prefix(model: PreTrainedModel) -> str:
    """Return the prefix of the names of the backbone's parameters: "" if the model is its own backbone."""
    prefix = f"{model.base_model_prefix}."
    inside = any(name.startswith(prefix) for name, _ in model.named_parameters())
    return prefix if inside else ""


def adapt(model: PreTrainedModel, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> PeftModel:
    """Add an adapter to a model, in place, as `PeftModel.from_pretrained` does from files.

    Raises:
        UnsupportedAdapter: PEFT cannot merge the method or an option in its config.
        BadAdapter: config and tensors do not fit each other or the model.
    """
    adapted = fresh_adapter(model, config, tensors)
    state = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    with one_load_at_a_time, quiet(), known_warnings(), _put_on_base(config):
        result = peft.set_peft_model_state_dict(adapted, state)
    own = {name for name, _ in adapted.named_parameters() if f".{_ADAPTER}" in name and _DERIVED not in name}
    if missing := sorted(own.intersection(result.missing_keys)):
        raise BadAdapter(f"The adapter lacks tensors that its config asks for: {', '.join(missing[:3])}.")
    unknown = sorted(name for name in result.unexpected_keys if not any(copy in name for copy in COPIES))
    if unknown:
        raise BadAdapter(
            f"The adapter has tensors that its config does not explain: {', '.join(unknown[:3])}."
        )
    return adapted.eval()


def fresh_adapter(model: PreTrainedModel, config: Mapping[str, Any], names: Iterable[str]) -> PeftModel:
    """Add an adapter to a model in its initial state, as far as that is deterministic.

    `names` are those of its tensors, which determine the adapted modules.

    Raises: as `adapt`.
    """
    wanted = read_config(explicit_config(config, names))
    with one_load_at_a_time, quiet(), known_warnings(), _put_on_base(config):
        return peft.get_peft_model(model, wanted)


def load_folder(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Load a PEFT folder on a model with PEFT alone; its patterns are replaced by the modules they match.

    Raises:
        BadAdapter, UnsupportedAdapter: as `explicit_config`.
    """
    config = peft.PeftConfig.from_pretrained(str(folder))
    with safe_open(folder / _WEIGHTS, framework="np") as file:
        names = list(file.keys())
    for key, value in explicit_config(vars(config), names).items():
        setattr(config, key, value)
    return peft.PeftModel.from_pretrained(model, folder, config=config)


def _set_dropout(config: PreTrainedConfig, rate: float) -> None:
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, key, rate)


@contextmanager
def _put_on_base(config: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise BadAdapter(
            f"PEFT cannot put this {method_of(config)} adapter on the base: {str(error)[:300]}"
        ) from error


def initial_tensors(
    base: Base, config: Mapping[str, Any], names: Iterable[str], *, kind: HeadKind, num_labels: int
) -> dict[str, Array]:
    """Return the tensors of a PiSSA or OLoRA adapter as PEFT initialises it, by the names PEFT saves.

    `names` are those of the adapter's tensors.

    Raises:
        UnsupportedAdapter: the initialisation uses random numbers or data.
        BadAdapter: the config is unsound, or not of an adapter on this base.
        EngineFailed: the base could not be loaded.
    """
    with torch.no_grad():
        adapted = fresh_adapter(head_model(base, kind, num_labels).model, config, names)
        state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: value.float().numpy() for name, value in state.items()}
