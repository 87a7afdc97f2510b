"""Decodes tokens to pieces of text, and finds stop strings; free of torch."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

from hub.api import Tokenizer

__all__ = ["TextStream"]

UNFINISHED = "\ufffd"  # the text of a token that ends inside a UTF-8 character
MAX_UNFINISHED_TOKENS = (
    64  # after so many undecodable tokens the text is no UTF-8, and is not held back any more
)
MAX_SILENT_TOKENS = 64  # without text, such as special ones, that are decoded again with the next token
# A space and what may follow it in what `clean_up_tokenization` of transformers 5.23 replaces.
_MAY_BE_CLEANED = re.compile(r"(?: [n'tmsver]{0,3})+\Z")


class TextStream:
    """The text of one answer. A piece is returned once no later token can change it.

    The end of the text is held back while it is an incomplete UTF-8 character, may become a stop string, or
    has spaces that the tokenizer may remove (" 's").
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._tokens: list[int] = []
        self._start = 0  # tokens before it are not decoded again
        self._read = 0  # the text of tokens before it is returned or held
        self._held = ""  # decoded, not yet returned
        self._clean = _cleaning(tokenizer)
        self._unclean = ""  # decoded, not yet cleaned
        self.stopped = False
        """Whether a stop string was found; the text ends before it."""

    def copy(self) -> TextStream:
        """Return a stream that goes on from here on its own."""
        other = copy.copy(self)
        other._tokens = list(self._tokens)
        return other

    def add(self, token: int) -> str:
        """Add a token, and return the text that is now final."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._start : self._read])
        after = self._decode(self._tokens[self._start :])
        unfinished = len(self._tokens) - self._read < MAX_UNFINISHED_TOKENS and after.endswith(UNFINISHED)
        if unfinished or not after.startswith(before):
            return ""
        piece = after[len(before) :]
        # A token is decoded after text: some tokenizers drop the space that a text begins with.
        if piece or self._read - self._start >= MAX_SILENT_TOKENS:
            self._start = self._read
        self._read = len(self._tokens)
        return self._release(self._cleaned(piece))

    def end(self) -> str:
        """Return the text that was held back."""
        if self.stopped:
            return ""
        before = self._decode(self._tokens[self._start : self._read])
        rest = self._decode(self._tokens[self._start :])[len(before) :]
        piece = self._release(self._cleaned(rest, last=True))
        held, self._held = self._held, ""
        return piece + held

    def _decode(self, tokens: Sequence[int]) -> str:
        options = {"clean_up_tokenization_spaces": False} if self._clean else {}
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, **options)
        return text

    def _cleaned(self, text: str, *, last: bool = False) -> str:
        """Return text with its spaces cleaned, without an end that later text may change."""
        if self._clean is None:
            return text
        text = self._unclean + text
        found = None if last else _MAY_BE_CLEANED.search(text)
        cut = found.start() if found else len(text)
        self._unclean = text[cut:]
        return self._clean(text[:cut])

    def _release(self, text: str) -> str:
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            piece, self._held = self._held[: min(found)], ""
            return piece
        keep = next(
            (
                size
                for size in range(min(self._longest - 1, len(self._held)), 0, -1)
                if any(stop.startswith(self._held[-size:]) for stop in self._stops)
            ),
            0,
        )
        cut = len(self._held) - keep
        piece, self._held = self._held[:cut], self._held[cut:]
        return piece


def _cleaning(tokenizer: Any) -> Callable[[str], str] | None:
    """Return what the tokenizer does to the spaces of a decoded text: in transformers 5.23 nothing if BPE."""
    if not getattr(tokenizer, "clean_up_tokenization_spaces", False):
        return None
    forced = getattr(
        tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False
    )
    if type(tokenizer.backend_tokenizer.model).__name__ == "BPE" and not forced:
        return None
    clean: Callable[[str], str] = tokenizer.clean_up_tokenization
    return clean
