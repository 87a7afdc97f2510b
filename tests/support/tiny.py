# ruff: noqa: TID253 - builds models, so it needs torch; product code never imports it
"""Tiny random bases and adapters for tests: real configs, real fast tokenizers, no network.

An adapter is what plain PEFT saves, for any head that transformers has for the base's family. A model for
SEQUENCE_MEAN scores tokens, as plain transformers does; the caller takes the mean.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import (
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from hub.api import HeadKind
from hub.bases.base import Base, BaseKind
from tests.support.tiny_bases import (
    DECODERS,
    ENCODER_DECODERS,
    ENCODERS,
    VISION,
    tiny_decoder,
    tiny_encoder,
    tiny_encoder_decoder,
    tiny_vision,
)

__all__ = [
    "DECODERS",
    "ENCODERS",
    "ENCODER_DECODERS",
    "VISION",
    "drawn_model",
    "head_kinds",
    "head_model",
    "peft_model",
    "save_drawn",
    "tiny_adapter",
    "tiny_decoder",
    "tiny_encoder",
    "tiny_encoder_decoder",
    "tiny_vision",
]

_HEADS: Mapping[HeadKind, tuple[type, TaskType]] = {
    HeadKind.SEQUENCE: (AutoModelForSequenceClassification, TaskType.SEQ_CLS),
    HeadKind.SEQUENCE_MEAN: (AutoModelForTokenClassification, TaskType.TOKEN_CLS),
    HeadKind.TOKEN: (AutoModelForTokenClassification, TaskType.TOKEN_CLS),
    HeadKind.SPAN: (AutoModelForQuestionAnswering, TaskType.QUESTION_ANS),
    HeadKind.EMBEDDING: (AutoModel, TaskType.FEATURE_EXTRACTION),
    HeadKind.GENERATE: (AutoModelForCausalLM, TaskType.CAUSAL_LM),
}
_IMAGES: tuple[type, None] = (AutoModelForImageClassification, None)  # PEFT has no type for them
_SEQ_TO_SEQ = (AutoModelForSeq2SeqLM, TaskType.SEQ_2_SEQ_LM)
_MAPPINGS = {
    HeadKind.SEQUENCE: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    HeadKind.TOKEN: MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    HeadKind.SPAN: MODEL_FOR_QUESTION_ANSWERING_MAPPING,
}
_DEEP_HEADS = ("modernbert",)  # whose head of tokens is more than one layer
# The last layer of the feed-forward block, whose input IA3 scales.
_FEED_FORWARD = {
    "distilbert": "ffn.lin2",
    "modernbert": "mlp.Wo",
    "llama": "down_proj",
    "qwen2": "down_proj",
    "t5": "wo",
    "bart": "fc2",
    "marian": "fc2",
    "vit": "fc2",
    "deit": "fc2",
    "dinov2": "fc2",
}


def head_kinds(base: Base) -> tuple[HeadKind, ...]:
    """Return the heads that transformers has for the base's family: what the functions below take."""
    if base.kind is BaseKind.VISION:
        return HeadKind.SEQUENCE, HeadKind.EMBEDDING
    config = type(AutoConfig.from_pretrained(base.path))
    kinds = [kind for kind, mapping in _MAPPINGS.items() if config in mapping]
    if base.kind is BaseKind.ENCODER and base.model_type not in _DEEP_HEADS:
        kinds.append(HeadKind.SEQUENCE_MEAN)
    if base.kind is not BaseKind.ENCODER_DECODER:
        kinds.append(HeadKind.EMBEDDING)
    if base.kind is not BaseKind.ENCODER:
        kinds.append(HeadKind.GENERATE)
    return tuple(kinds)


def tiny_adapter(base: Base, folder: Path, *, kind: HeadKind, labels: Sequence[str], **settings: Any) -> Path:
    """Save in `folder` what plain PEFT saves, with random weights; `settings` are those of `drawn_model`."""
    save_drawn(drawn_model(base, kind=kind, labels=labels, **settings), folder)
    return folder


def save_drawn(model: PeftModel, folder: Path) -> None:
    """Save an adapter without PEFT's model card, which takes a third of the time."""
    model.create_or_update_model_card = lambda folder: None
    with _known_warnings():
        model.save_pretrained(folder)


def drawn_model(
    base: Base,
    *,
    kind: HeadKind,
    labels: Sequence[str],
    rank: int = 4,
    targets: str | Sequence[str] = "all-linear",
    seed: int = 0,
    spread: float = 0.1,
    method: Literal["lora", "ia3"] = "lora",
    **settings: object,
) -> PeftModel:
    """Return the base with a new adapter of plain PEFT, with random weights.

    The layers beside the backbone are no targets; those that the base's checkpoint lacks are trained in
    full, besides what `modules_to_save` names. `spread` is the standard deviation of A and B, and of what
    is added to IA3 vectors, DoRA magnitudes (there relative) and trained biases. `settings` go to
    LoraConfig or IA3Config; IA3 has no rank.
    """
    model, missing = _load(base, kind, len(labels))
    outside = _outside(model, missing)
    # A pooler that the checkpoint lacks gives an embedding nothing, so it is no part of the adapter.
    new = set() if kind is HeadKind.EMBEDDING else {name.partition(".")[0] for name in missing}
    config = _adapter_config(base, method, targets, rank, settings) | {"task_type": _head(base, kind)[1]}
    # PEFT refuses targets inside a layer that is trained in full, and does not leave them out by itself.
    config.setdefault("exclude_modules", rf"({'|'.join(outside)})(\..+)?" if outside else None)
    config["modules_to_save"] = sorted(new.union(config.get("modules_to_save") or ())) or None
    cls: type[PeftConfig] = IA3Config if method == "ia3" else LoraConfig
    with torch.random.fork_rng(), _known_warnings():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, cls(**config))
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                _perturb(name, parameter, spread)
    return adapted


def peft_model(base: Base, folder: Path, kind: HeadKind, num_labels: int = 0) -> PeftModel:
    """Load the base with one adapter as plain PEFT does: what every engine is compared with."""
    with _known_warnings():
        return PeftModel.from_pretrained(head_model(base, kind, num_labels), folder).eval()


def head_model(base: Base, kind: HeadKind, num_labels: int = 0) -> PreTrainedModel:
    """Load the base in fp32 under the Hugging Face head of `kind`; a new head has fixed weights."""
    return _load(base, kind, num_labels)[0]


def _load(base: Base, kind: HeadKind, num_labels: int) -> tuple[PreTrainedModel, list[str]]:
    """Return a model of the caller's own, and the names of its parameters that the checkpoint lacks."""
    return copy.deepcopy(_loaded(base, kind, num_labels))


@lru_cache(maxsize=8)  # a copy takes a fifth of the time
def _loaded(base: Base, kind: HeadKind, num_labels: int) -> tuple[PreTrainedModel, list[str]]:
    if kind not in head_kinds(base):
        raise ValueError(f"transformers has no {kind} head for {base.model_type}: {head_kinds(base)}.")
    factory: Any = _head(base, kind)[0]
    extra = {"num_labels": num_labels} if num_labels and kind is not HeadKind.SPAN else {}
    settings: dict[str, Any] = {"dtype": torch.float32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, report = factory.from_pretrained(base.path, output_loading_info=True, **settings, **extra)
    backbone = model.base_model_prefix
    missing = sorted(report["missing_keys"])
    if any(name.startswith(f"{backbone}.") for name in missing):
        # transformers 5.23 does not find the backbone of Llama and Qwen2 under their question-answering head.
        loaded = AutoModel.from_pretrained(base.path, **settings)
        getattr(model, backbone).load_state_dict(loaded.state_dict())
        missing = [name for name in missing if not name.startswith(f"{backbone}.")]
    return model.eval(), missing


def _head(base: Base, kind: HeadKind) -> tuple[type, TaskType | None]:
    if base.kind is BaseKind.VISION and kind is HeadKind.SEQUENCE:
        return _IMAGES
    seq_to_seq = kind is HeadKind.GENERATE and base.kind is BaseKind.ENCODER_DECODER
    return _SEQ_TO_SEQ if seq_to_seq else _HEADS[kind]


def _outside(model: PreTrainedModel, missing: Sequence[str]) -> list[str]:
    """Return the modules beside the backbone; where it has no name of its own, those with new weights."""
    if not hasattr(model, model.base_model_prefix):
        return sorted({name.partition(".")[0] for name in missing})
    return sorted(
        {name.partition(".")[0] for name, _ in model.named_parameters()} - {model.base_model_prefix}
    )


def _adapter_config(
    base: Base, method: str, targets: str | Sequence[str], rank: int, settings: Mapping[str, object]
) -> dict[str, Any]:
    names = targets if isinstance(targets, str) else list(targets)
    config: dict[str, Any] = {"target_modules": names}
    if method == "ia3":
        last = _FEED_FORWARD.get(base.model_type, "output.dense")
        # A pattern, because PEFT 0.21 cannot read back a list that it saved beside "all-linear".
        config["feedforward_modules"] = rf"(.*\.)?{re.escape(last)}"
    else:
        config |= {"r": rank, "lora_alpha": 2 * rank}
    return config | dict(settings)


def _perturb(name: str, parameter: nn.Parameter, spread: float) -> None:
    """Draw a weight anew, or move one that starts at a value with a meaning away from that."""
    drawn = torch.randn_like(parameter)
    with torch.no_grad():
        if "lora_magnitude_vector" in name:
            parameter.mul_(1 + spread * drawn)
        elif "ia3_" in name or (parameter.dim() == 1 and "modules_to_save" not in name):
            parameter.add_(spread * drawn)
        elif re.search(r"norm[^.]*\.weight$", name, re.IGNORECASE):
            parameter.add_(0.3 * drawn)
        else:
            parameter.copy_((spread if "lora_" in name else 0.3) * drawn)


@contextmanager
def _known_warnings() -> Iterator[None]:
    """PEFT 0.21 reads an attribute that transformers 5.23 deprecates, and takes a LoRA bias for a shard."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"Adapter .* invalid shape: \S+\.lora_B\.bias")
        yield
