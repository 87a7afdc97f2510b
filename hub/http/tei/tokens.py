"""Texts to tokens and back, by the tokenizer of a deployment's base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.http.tei.errors import TokenizerError
from hub.serving.batching.base_workers import Tokenizers

__all__ = ["decode", "tokenize"]

Json = dict[str, Any]


def tokenize(tokenizers: Tokenizers, texts: Sequence[str], *, special: bool) -> list[list[Json]]:
    """Return the tokens of each text; `special`: with the ones that the model adds."""
    with tokenizers.borrow() as tokenizer:
        return [_tokens(tokenizer, text, special) for text in texts]


def decode(tokenizers: Tokenizers, batch: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
    """Return the text of each list of token ids.

    Raises:
        TokenizerError: the tokenizer does not have an id.
    """
    with tokenizers.borrow() as tokenizer:
        lent: Any = tokenizer
        known = len(lent)
        if unknown := [one for ids in batch for one in ids if one >= known]:
            raise TokenizerError(f"Token id {unknown[0]} is not one of the base, which has {known:,}.")
        return [str(lent.decode(list(ids), skip_special_tokens=skip_special)) for ids in batch]


def _tokens(tokenizer: Any, text: str, special: bool) -> list[Json]:
    encoding = tokenizer(
        text,
        add_special_tokens=special,
        return_offsets_mapping=tokenizer.is_fast,
        return_special_tokens_mask=True,
        verbose=False,  # a text may be longer than a row
    )
    ids, masks = encoding["input_ids"], encoding["special_tokens_mask"]
    spans = encoding["offset_mapping"] if tokenizer.is_fast else [None] * len(ids)
    names = tokenizer.convert_ids_to_tokens(ids)
    return [_token(text, *one) for one in zip(ids, names, masks, spans, strict=True)]


def _token(text: str, number: int, name: str, mask: int, span: tuple[int, int] | None) -> Json:
    if mask or span is None:
        return {"id": number, "text": name, "special": bool(mask), "start": None, "stop": None}
    start, stop = span
    return {"id": number, "text": text[start:stop], "special": False, "start": start, "stop": stop}
