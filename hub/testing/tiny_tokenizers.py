# ruff: noqa: TID253 - builds tokenizers of transformers; product code never imports it
"""Tiny fast tokenizers: word pieces or bytes, with the special tokens and inputs of each model family.

Both kinds cover any text. There are fewer tokens than in a real tokenizer; special tokens have the ids of the
family (RoBERTa pads with 1, Marian with its last id), and surround a text as in the family.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

__all__ = ["MAX_LENGTHS", "tiny_tokenizer"]

_WORDS = """
    the a an is was of to and in it that this good bad great poor fine awful movie film book phone food
    news price story actor plot service love hate like not very paris london france who what where when
    won lost team game market rain sun river city
"""
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class _Style:
    """Special tokens by the name transformers has for them, in the order of their ids.

    `last` are the tokens with the highest ids. `frame` has the templates of one text and of a pair; "" adds
    nothing.
    """

    special: tuple[str, ...]
    names: Mapping[str, str]
    frame: tuple[str, str] = ("", "")
    last: tuple[str, ...] = ()
    words: bool = False
    token_types: bool = False
    chat: bool = False


_BERT_NAMES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_BERT_FRAME = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
_BERT_ORDER = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_BERT = _Style(_BERT_ORDER, _BERT_NAMES, _BERT_FRAME, words=True, token_types=True)
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
_ROBERTA = _Style(_ROBERTA_ORDER, _ROBERTA_NAMES, _ROBERTA_FRAME, last=("<mask>",))
_CHAT_NAMES = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
_CHAT_ORDER = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEXT_NAMES = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
_TEXT_FRAME = ("$A </s>", "$A </s> $B </s>")

_STYLES = {
    "bert": _BERT,
    "electra": _BERT,
    # The tokenizer returns token types; the model has no embedding for them and ignores them.
    "deberta-v2": _Style(
        ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
        _BERT_NAMES,
        _BERT_FRAME,
        last=("[MASK]",),
        words=True,
        token_types=True,
    ),
    "distilbert": _Style(_BERT_ORDER, _BERT_NAMES, _BERT_FRAME, words=True),
    "modernbert": _Style((), _BERT_NAMES, _BERT_FRAME, last=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")),
    "roberta": _ROBERTA,
    "bart": _ROBERTA,
    "xlm-roberta": _Style(_ROBERTA_ORDER, _ROBERTA_NAMES, _ROBERTA_FRAME, last=("<mask>",), words=True),
    "llama": _Style(_CHAT_ORDER, _CHAT_NAMES | {"bos_token": "<|im_start|>"}, chat=True),
    "qwen2": _Style(_CHAT_ORDER, _CHAT_NAMES, chat=True),
    "t5": _Style(("<pad>", "</s>", "<unk>"), _TEXT_NAMES, _TEXT_FRAME),
    "marian": _Style(("</s>", "<unk>"), _TEXT_NAMES, _TEXT_FRAME, last=("<pad>",)),
}
_GENERATES = frozenset({"bart", "llama", "marian", "qwen2", "t5"})
MAX_LENGTHS = {model_type: 256 if model_type in _GENERATES else 64 for model_type in _STYLES}


def tiny_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    """Build the tokenizer of a family; it truncates at MAX_LENGTHS[model_type]."""
    style = _STYLES[model_type]
    tokenizer = _word_pieces(style) if style.words else _bytes(style)
    if any(style.frame):
        vocab = tokenizer.get_vocab()
        tokenizer.post_processor = processors.TemplateProcessing(
            single=style.frame[0],
            pair=style.frame[1],
            special_tokens=[(token, vocab[token]) for token in (*style.special, *style.last)],
        )
    types = ["token_type_ids"] if style.token_types else []
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTHS[model_type],
        model_input_names=["input_ids", *types, "attention_mask"],
        **style.names,
    )
    if style.chat:
        fast.chat_template = _CHATML
    return fast


def _word_pieces(style: _Style) -> Tokenizer:
    characters = string.ascii_lowercase + string.digits
    pieces = [*string.punctuation, *characters, *(f"##{c}" for c in characters), *_WORDS.split()]
    tokenizer = Tokenizer(models.WordPiece(_vocab(style, pieces), unk_token=style.names["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _bytes(style: _Style) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(_vocab(style, alphabet), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _vocab(style: _Style, pieces: list[str]) -> dict[str, int]:
    ordered = dict.fromkeys((*style.special, *pieces, *style.last))
    return {piece: index for index, piece in enumerate(ordered)}
