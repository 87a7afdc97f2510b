# ruff: noqa: TID253 - builds tokenizers of transformers
"""Tiny fast tokenizers of all model families, with their special tokens and inputs."""

from __future__ import annotations

from dataclasses import replace

from transformers import PreTrainedTokenizerFast

from hub.testing import tiny_tokenizers
from hub.testing.tiny_tokenizers import BERT, LLAMA, TokenizerStyle

_ROBERTA_NAMES = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
_ROBERTA_FRAME = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
_ROBERTA_ORDER = ("<s>", "<pad>", "</s>", "<unk>")
_ROBERTA = TokenizerStyle(_ROBERTA_ORDER, _ROBERTA_NAMES, _ROBERTA_FRAME, last=("<mask>",))
_TEXT_NAMES = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
_TEXT_FRAME = ("$A </s>", "$A </s> $B </s>")

_STYLES = {
    "bert": BERT,
    "electra": BERT,
    # The tokenizer returns token types; the model has no embedding for them and ignores them.
    "deberta-v2": TokenizerStyle(
        ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
        BERT.names,
        BERT.frame,
        last=("[MASK]",),
        words=True,
        token_types=True,
    ),
    "distilbert": replace(BERT, token_types=False),
    "modernbert": TokenizerStyle(
        (), BERT.names, BERT.frame, last=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
    ),
    "roberta": _ROBERTA,
    "bart": _ROBERTA,
    "xlm-roberta": TokenizerStyle(
        _ROBERTA_ORDER, _ROBERTA_NAMES, _ROBERTA_FRAME, last=("<mask>",), words=True
    ),
    "llama": LLAMA,
    "qwen2": replace(LLAMA, names={key: name for key, name in LLAMA.names.items() if key != "bos_token"}),
    "t5": TokenizerStyle(("<pad>", "</s>", "<unk>"), _TEXT_NAMES, _TEXT_FRAME),
    "marian": TokenizerStyle(("</s>", "<unk>"), _TEXT_NAMES, _TEXT_FRAME, last=("<pad>",)),
}
_GENERATES = frozenset({"bart", "llama", "marian", "qwen2", "t5"})
MAX_LENGTHS = {model_type: 256 if model_type in _GENERATES else 64 for model_type in _STYLES}


def tiny_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a family; it truncates at MAX_LENGTHS[model_type]."""
    return tiny_tokenizers.tiny_tokenizer(_STYLES[model_type], MAX_LENGTHS[model_type])
