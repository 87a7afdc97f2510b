"""The constraint of a row with a response format: which tokens may come next."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache
from llguidance import LLMatcher, regex_to_lark

from hub.engine.generate.grammar import compile_grammar, rehearse, why
from hub.engine.generate.vocabulary import Vocabulary
from hub.errors import BadSampling
from hub.generation.response_format import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat
from hub.generation.sampling import Sampling

if TYPE_CHECKING:
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

__all__ = ["Constraint", "Constraints"]

MAX_GRAMMARS = 64  # that are kept
# Between the tokens of JSON. Without a limit, a weak model may write white space until its length limit.
WHITESPACE = r" |\n[ \t]{0,32}"


class Constraint:
    """The state of one constrained answer. Not thread-safe."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def complete(self) -> bool:
        """Whether the answer is complete and only an end token can follow."""
        return self._matcher.is_stopped()

    def allowed(self, size: int) -> npt.NDArray[np.bool_]:
        """Return which of the first `size` tokens may come next: [size].

        The end tokens may where the answer is complete.

        Raises:
            BadSampling: no token may, or the schema is too complex at this place.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, count=size, bitorder="little").view(np.bool_)

    def advance(self, token: int) -> None:
        """Append a token that is allowed."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise BadSampling(f"The response_format cannot be followed further: {why(self._matcher)}")


class Constraints:
    """Makes the constraints of the rows on one base; thread-safe.

    The table of the base's tokens is made with the first constraint, and compiled grammars are kept.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int, ends: Collection[int]) -> None:
        """Take the tokenizer, number of logits and end tokens of the base."""
        self._tokenizer = tokenizer
        self._size = size
        self._ends = ends
        self._vocabulary: Vocabulary | None = None
        self._compiled: LRUCache[str, LLMatcher] = LRUCache(MAX_GRAMMARS)
        self._lock = threading.Lock()

    def of(self, sampling: Sampling) -> Constraint | None:
        """Return the constraint of a new row; None if it may be any text.

        Raises:
            BadSampling: the base or the library cannot follow the response format.
        """
        asked = sampling.response_format
        if asked is None:
            return None
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = Vocabulary.of(self._tokenizer, self._size, self._ends)
            grammar = _grammar(asked, self._vocabulary.strips)
            compiled = self._compiled.get(grammar)
        if compiled is None:
            if isinstance(asked, JsonSchemaFormat):
                rehearse(grammar)
            compiled = compile_grammar(grammar, self._vocabulary.table)
            with self._lock:
                self._compiled[grammar] = compiled
        return Constraint(compiled.deep_copy())


def _grammar(asked: JsonObjectFormat | JsonSchemaFormat | ChoiceFormat, strips: bool) -> str:
    """Return a grammar as llguidance reads it; the text may begin with a space that decoding `strips`.

    With such a tokenizer, llguidance must not tokenize what can follow in one way only (`no_forcing`).
    """
    header = f'%llguidance {{"no_forcing": {json.dumps(strips)}}}\nSPACE: " "\n'
    if isinstance(asked, ChoiceFormat):
        choices = "|".join(_escaped(choice, strips) for choice in asked.choices)
        return f"{header}start: CHOICE\nCHOICE: /{regex_to_lark(choices, '')}/"
    options: dict[str, Any] = {"whitespace_pattern": WHITESPACE}
    schema: dict[str, Any] = {"type": "object"}
    if isinstance(asked, JsonSchemaFormat):
        schema = asked.json_schema.schema_
        options["lenient"] = asked.json_schema.strict is False
    json_schema = json.dumps({**schema, "x-guidance": options}, allow_nan=False)
    return f"{header}start: {'SPACE? ' if strips else ''}json\njson: %json {json_schema}"


def _escaped(choice: str, strips: bool) -> str:
    space = "" if not strips else " " if choice.startswith(" ") else " ?"
    return space + re.escape(choice)
