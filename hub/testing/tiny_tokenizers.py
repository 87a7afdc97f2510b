# ruff: noqa: TID253 - builds tokenizers of transformers; product code never imports it
"""Tiny fast tokenizers: word pieces or bytes, which cover any text.

There are fewer tokens than in a real tokenizer; special tokens have the ids of the model family, and surround
a text as in the family.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

__all__ = ["BERT", "LLAMA", "TokenizerStyle", "tiny_tokenizer"]

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
class TokenizerStyle:
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


BERT = TokenizerStyle(
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    words=True,
    token_types=True,
)
LLAMA = TokenizerStyle(
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    },
    chat=True,
)


def tiny_tokenizer(style: TokenizerStyle, max_length: int = 256) -> PreTrainedTokenizerFast:
    """Build a tokenizer of a style; `max_length` is its `model_max_length`."""
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
        model_max_length=max_length,
        model_input_names=["input_ids", *types, "attention_mask"],
        **style.names,
    )
    if style.chat:
        fast.chat_template = _CHATML
    return fast


def _word_pieces(style: TokenizerStyle) -> Tokenizer:
    characters = string.ascii_lowercase + string.digits
    pieces = [*string.punctuation, *characters, *(f"##{c}" for c in characters), *_WORDS.split()]
    tokenizer = Tokenizer(models.WordPiece(_vocab(style, pieces), unk_token=style.names["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _bytes(style: TokenizerStyle) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(_vocab(style, alphabet), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _vocab(style: TokenizerStyle, pieces: list[str]) -> dict[str, int]:
    ordered = dict.fromkeys((*style.special, *pieces, *style.last))
    return {piece: index for index, piece in enumerate(ordered)}
