# ruff: noqa: TID253 - compares with transformers
"""The pieces of a text are together what the tokenizer decodes from all tokens."""

from __future__ import annotations

import itertools
import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hub.engine.generate.text import MAX_SILENT_TOKENS, TextStream

PIECES = ["</s>", "<unk>", "▁a", "b", "▁c", "▁"]


def t5() -> PreTrainedTokenizerBase:
    made = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=1))
    made.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>")


def llama() -> PreTrainedTokenizerBase:
    made = Tokenizer(models.BPE({piece: id for id, piece in enumerate(PIECES)}, [], unk_token="<unk>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>")


def written(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    stream = TextStream(tokenizer, ())
    return "".join(map(stream.add, tokens)) + stream.end()


@pytest.mark.parametrize("tokenizer", [t5(), llama()], ids=["t5", "llama"])
def test_the_pieces_are_the_text_whatever_special_tokens_are_between(tokenizer) -> None:
    for tokens in itertools.product(range(1, len(PIECES)), repeat=5):
        assert written(tokenizer, list(tokens)) == tokenizer.decode(list(tokens), skip_special_tokens=True)


def test_few_of_many_special_tokens_are_decoded_again(monkeypatch) -> None:
    tokenizer = llama()
    stream = TextStream(tokenizer, ())
    longest = 0

    def decode(tokens: list[int], **options: bool) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return PreTrainedTokenizerFast.decode(tokenizer, tokens, **options)

    monkeypatch.setattr(tokenizer, "decode", decode)
    assert "".join(map(stream.add, [2, *[1] * 1000, 3])) + stream.end() == "ab"
    assert longest <= MAX_SILENT_TOKENS + 2


def test_the_pieces_are_the_text_whose_spaces_the_tokenizer_cleans() -> None:
    """As tokenizers that transformers 4 saved ask for, but BPE's: "dog 's" is "dog's"."""
    pieces = ["<unk>", "▁", "▁a", "b", "'", "▁'", "s", "▁n", "t", ".", "▁.", "ve"]
    made = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    made.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", clean_up_tokenization_spaces=True
    )
    assert tokenizer.decode([2, 5, 6]) == "a's"
    for tokens in itertools.product(range(1, len(pieces)), repeat=4):
        assert written(tokenizer, list(tokens)) == tokenizer.decode(list(tokens), skip_special_tokens=True)
    chance = random.Random(0)
    for _ in range(2000):
        tokens = chance.choices(range(1, len(pieces)), k=12)
        assert written(tokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=True)
    stream = TextStream(tokenizer, ())
    assert "".join(map(stream.add, [2, 5, 6, 2, 3, 5])) == "a's ab", "held back no longer than needed"
    assert stream.end() == " '"
