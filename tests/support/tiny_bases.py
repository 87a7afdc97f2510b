# ruff: noqa: TID253 - builds models, so it needs torch; product code never imports it
"""Tiny random bases of the families that must work, saved the way real ones are published.

Weights are drawn from a fixed seed, with a larger spread than a fresh model has, so that adapters and
rows differ visibly. No bias is zero and no norm is one, so that leaving one out shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from hub.bases.base import Base
from hub.bases.fingerprint import fingerprint
from hub.bases.inspect import inspect_folder
from tests.support.tiny_tokenizers import MAX_LENGTHS, tiny_tokenizer

__all__ = [
    "DECODERS",
    "ENCODERS",
    "ENCODER_DECODERS",
    "VISION",
    "tiny_decoder",
    "tiny_encoder",
    "tiny_encoder_decoder",
    "tiny_vision",
]

_BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
_LLAMA = _BERT | {"num_key_value_heads": 2, "tie_word_embeddings": True}
ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "bert": _BERT,
    "roberta": _BERT | {"type_vocab_size": 1},
    "xlm-roberta": _BERT | {"type_vocab_size": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    # As in the small ELECTRA, embeddings are narrower than the layers.
    "electra": _BERT | {"embedding_size": 16},
    # As DeBERTa-v3.
    "deberta-v2": _BERT
    | {
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    },
    # One global layer, then one that sees four tokens either way.
    "modernbert": _BERT
    | {"global_attn_every_n_layers": 2, "local_attention": 8, "classifier_pooling": "mean"},
}
DECODERS: Mapping[str, Mapping[str, Any]] = {"llama": _LLAMA, "qwen2": _LLAMA}
ENCODER_DECODERS: Mapping[str, Mapping[str, Any]] = {
    "t5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 16,
    },
    "bart": _BART,
    "marian": _BART | {"scale_embedding": True},
}
# Sixteen patches of four pixels, and a size that is not the square of one.
_VIT = _BERT | {"image_size": [16, 20], "patch_size": 4}
_DINOV2 = {key: value for key, value in _VIT.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
VISION: Mapping[str, Mapping[str, Any]] = {
    "vit": _VIT,
    "deit": _VIT | {"image_size": 16},
    "dinov2": _DINOV2 | {"image_size": 24},
}
_PROCESSOR = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
}
# Published with the head of their pretraining; the other encoders are saved as bare backbones.
_MASKED_LM = frozenset({"modernbert", "xlm-roberta"})
_POSITIONS_AFTER_PAD = frozenset({"roberta", "xlm-roberta"})


def tiny_encoder(folder: Path, model_type: str = "bert") -> Base:
    """Save a two-layer random encoder, of a type in ENCODERS, and its tokenizer in `folder`.

    Raises:
        ValueError: there is no tiny encoder of this type.
    """
    settings = _settings("encoder", ENCODERS, model_type)
    length = MAX_LENGTHS[model_type]
    if model_type in _POSITIONS_AFTER_PAD:
        length += tiny_tokenizer(model_type).pad_token_id + 1
    factory = AutoModelForMaskedLM if model_type in _MASKED_LM else AutoModel
    return _save(folder, factory, model_type, settings | {"max_position_embeddings": length})


def tiny_decoder(folder: Path, model_type: str = "llama") -> Base:
    """Save a two-layer random decoder, of a type in DECODERS, whose tokens are bytes, in `folder`.

    Raises:
        ValueError: there is no tiny decoder of this type.
    """
    settings = _settings("decoder", DECODERS, model_type)
    length = {"max_position_embeddings": MAX_LENGTHS[model_type]}
    return _save(folder, AutoModelForCausalLM, model_type, settings | length)


def tiny_encoder_decoder(folder: Path, model_type: str) -> Base:
    """Save a random model of two and two layers, of a type in ENCODER_DECODERS; its tokens are bytes.

    Raises:
        ValueError: there is no tiny encoder-decoder of this type.
    """
    settings = _settings("encoder-decoder", ENCODER_DECODERS, model_type)
    tokenizer = tiny_tokenizer(model_type)
    settings["decoder_start_token_id"] = (
        tokenizer.eos_token_id if model_type == "bart" else tokenizer.pad_token_id
    )
    if model_type != "t5":
        settings["max_position_embeddings"] = MAX_LENGTHS[model_type]
        settings["forced_eos_token_id"] = tokenizer.eos_token_id
    return _save(folder, AutoModelForSeq2SeqLM, model_type, settings)


def tiny_vision(folder: Path, model_type: str = "vit", **more: Any) -> Base:
    """Save a two-layer random model of images, of a type in VISION, and its image processor's settings.

    A ViT resizes to what it takes, and a DeiT crops the center of what it resizes to, as published; a DINOv2
    does so with the shorter side, and takes smaller images than its positions are for. `more` goes into the
    config.

    Raises:
        ValueError: there is no tiny model of images of this type.
    """
    settings = _settings("model of images", VISION, model_type) | more
    model = _made(AutoModel, AutoConfig.for_model(model_type, **settings))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    height, width = (16, 20) if model_type == "vit" else (16, 16)
    sizes: dict[str, Any] = {"size": {"height": height, "width": width}, "resample": 2}
    if model_type != "vit":
        size = {"shortest_edge": 20} if model_type == "dinov2" else {"height": 20, "width": 20}
        sizes = {"size": size, "resample": 3, "do_center_crop": True}
        sizes["crop_size"] = {"height": height, "width": width}
    (folder / "preprocessor_config.json").write_text(json.dumps(_PROCESSOR | sizes))
    return _described(folder)


def _settings(noun: str, families: Mapping[str, Mapping[str, Any]], model_type: str) -> dict[str, Any]:
    if model_type not in families:
        raise ValueError(f"No tiny {noun} of type {model_type!r}; available: {', '.join(families)}.")
    return dict(families[model_type])


def _save(folder: Path, factory: Any, model_type: str, settings: Mapping[str, Any]) -> Base:
    tokenizer = tiny_tokenizer(model_type)
    config = AutoConfig.for_model(
        model_type, vocab_size=len(tokenizer), **_special_ids(model_type, tokenizer), **settings
    )
    model = _made(factory, config)
    if model_type == "marian":  # as published: its first token is padding, which it must not write
        model.generation_config.bad_words_ids = [[tokenizer.pad_token_id]]
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _described(folder)


def _made(factory: Any, config: PreTrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = factory.from_config(config)
        _draw(model)
    return model


def _described(folder: Path) -> Base:
    facts = inspect_folder(folder)
    return Base(
        name=folder.name,
        source=str(folder),
        fingerprint=fingerprint(folder),
        kind=facts.kind,
        model_type=facts.model_type,
        max_length=facts.max_length,
        path=folder,
        image=facts.image,
    )


def _special_ids(model_type: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    if model_type == "modernbert":
        ids |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
        ids |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    return ids


def _draw(model: PreTrainedModel) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.15)
    biases = [buffer for name, buffer in model.named_buffers() if name == "final_logits_bias"]
    with torch.no_grad():
        for tensor in [*(parameter for parameter in parameters if parameter.dim() == 1), *biases]:
            tensor.add_(0.1 * torch.randn_like(tensor))
