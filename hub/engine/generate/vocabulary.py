"""The tokens of a base as bytes, as llguidance needs them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llguidance import LLTokenizer, TokenizerWrapper

from hub.errors import BadSampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Vocabulary"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The table of a base's tokens; `strips`: a decoded text loses the space that it begins with."""

    table: LLTokenizer
    strips: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, size: int, ends: Collection[int]) -> Vocabulary:
        """Make the table for a model with `size` logits whose texts end with one of `ends`.

        It takes 0.4 s for 49,000 tokens.

        Raises:
            BadSampling: the tokenizer does not show the bytes of its tokens, or has no end token.
        """
        size = max(size, len(tokenizer))
        if not ends:
            raise BadSampling("This base has no end token, so it cannot follow a response_format.")
        table = _table(tokenizer, size, sorted(ends))
        space = next((token for token in range(size) if table.decode_bytes([token])[:1] == b" "), None)
        return cls(table, space is not None and not tokenizer.decode([space]).startswith(" "))


def _table(tokenizer: PreTrainedTokenizerBase, size: int, ends: list[int]) -> LLTokenizer:
    from llguidance.hf import from_tokenizer

    if max(tokenizer.get_vocab().values()) >= len(tokenizer):  # llguidance 1.9 panics
        raise BadSampling("The token ids of this base have gaps, so it cannot follow a response_format.")
    try:
        return from_tokenizer(tokenizer, n_vocab=size, eos_token=ends)
    except ValueError:  # neither byte-level nor with byte fallback
        return LLTokenizer(TokenizerWrapper(_Pieces(tokenizer, size, ends[0])), eos_token=ends)


class _Pieces:
    """The tokens of a SentencePiece tokenizer without byte fallback (T5), for `TokenizerWrapper`."""

    bos_token_id = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int, end: int) -> None:
        from tokenizers.decoders import Metaspace

        decoder = tokenizer.backend_tokenizer.decoder
        if not isinstance(decoder, Metaspace):
            raise BadSampling(
                f"The tokenizer of this base ({type(decoder).__name__}) cannot follow a response_format."
            )
        space = decoder.replacement
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.tokens = [piece.replace(space, " ").encode() for piece in pieces] + [b""] * (size - len(pieces))
        # At the start of a text, the decoder drops all spaces of a piece.
        odd = (token for token, piece in enumerate(pieces) if piece.rfind(space) > 0)
        self.special_token_ids = [*tokenizer.added_tokens_decoder, *odd, *range(len(pieces), size)]
        self.eos_token_id = end

    def __call__(self, text: str) -> Sequence[int]:
        """Tokenize a text: for a grammar with `no_forcing` never called."""
        raise NotImplementedError
