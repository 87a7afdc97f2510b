"""What goes into the model and comes out: tokens, rows, outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict

from hub.errors import TooLarge
from hub.generation.sampling import GREEDY, FinishReason, Sampling
from hub.vectors import Pooling

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Features = dict[str, Any]


class HeadKind(StrEnum):
    """The head that the engine computes for a row; determines the shape of `Output.values`."""

    SEQUENCE = "sequence"  # [C]     one score per label, or [1] a number (see TargetKind)
    SEQUENCE_MEAN = "sequence-mean"  # [C]     the same from the mean over the tokens; see `declared`
    TOKEN = "token"  # [T, C]  one score per token and label
    SPAN = "span"  # [T, 2]  start and end score per token
    EMBEDDING = "embedding"  # [H]     the pooled vector; without pooling, [T, H]
    GENERATE = "generate"  # text    no values: `Output.text`

    @property
    def declared(self) -> HeadKind:
        """The kind that a task declares for such outputs; whether tokens are averaged, training decides."""
        return HeadKind.SEQUENCE if self is HeadKind.SEQUENCE_MEAN else self

    @property
    def layered(self) -> HeadKind:
        """The kind whose class in transformers has the layers: a head of tokens also scores their mean."""
        return HeadKind.TOKEN if self is HeadKind.SEQUENCE_MEAN else self


class TargetKind(StrEnum):
    """What a SEQUENCE head learns."""

    LABELS = "labels"  # which of C labels a text has: one, or several
    NUMBER = "number"  # a number; one output, in the units of the data
    ORDINAL = "ordinal"  # one of ordered levels that are numbers, such as stars; one output


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenized sequence, or one image.

    `input_ids` and `token_type_ids` are [T]. An image is `pixel_values`, [3, H, W] as `ImageInput` describes
    it, and its `input_ids` are T zeros, one for each token that the base makes of it; `ImageInput.row`
    returns such a row. Rows are compared by everything but `pixel_values`. `max_new_tokens` and `sampling`
    are read for GENERATE only, `pooling` for EMBEDDING only; None asks for the vector of each token. `meta`
    is carried to `decode` untouched; the engine never reads it.
    """

    input_ids: Sequence[int]
    token_type_ids: Sequence[int] | None = None
    max_new_tokens: int = 0
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    sampling: Sampling = GREEDY
    pooling: Pooling | None = Pooling.MEAN
    pixel_values: npt.NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Output:
    """The model's output for one row: raw scores (float32, see HeadKind), or generated text.

    `tokens` counts those that were generated, an end token included; `cached_tokens` those of the prompt that
    were not computed again.
    """

    row: Row
    values: npt.NDArray[np.float32] | None = None
    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0


class Tokenizer(Protocol):
    """The part of a Hugging Face fast tokenizer that tasks use."""

    is_fast: bool
    truncation_side: str
    pad_token_id: int | None
    eos_token_id: int | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __len__(self) -> int: ...
    def decode(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any: ...
    def get_vocab(self) -> dict[str, int]: ...
    def convert_tokens_to_ids(self, *args: Any, **kwargs: Any) -> Any: ...


class Tokens(TypedDict):
    """The token lists of a row, each [T]; spread them into `Row` or into features."""

    input_ids: list[int]
    token_type_ids: NotRequired[list[int]]


def truncate(encoding: Any, limit: int, *, side: str = "right", refuse: bool = False) -> Tokens:
    """Truncate an encoding to `limit` tokens exactly as the tokenizer's own `longest_first` would.

    `encoding` is the output of a fast tokenizer for a text or a pair of texts, without truncation. `side`
    is the tokenizer's `truncation_side`: the end that loses tokens. Special tokens are kept, and under a
    `limit` that they alone exceed, nothing is cut. A tokenizer's own `truncation` must not be used: it
    sets state that all threads share, and one request would be cut to another request's length.

    Raises:
        TooLarge: with `refuse`, instead of truncating.
    """
    size = len(encoding["input_ids"])
    keep: Sequence[int] = range(size)
    if size > limit and refuse:
        raise TooLarge(
            f"The text has {size:,} tokens and the limit is {limit:,} (max_length). Shorten it, or leave out "
            "`truncate`."
        )
    if size > limit:
        texts = encoding.sequence_ids(0)  # [T]: None at special tokens, else 0 or 1
        first = [index for index in range(size) if texts[index] == 0]
        second = [index for index in range(size) if texts[index] == 1]
        room = limit - (size - len(first) - len(second))
        if room >= 0:
            kept = _longest_first(len(first), len(second), room)
            dropped: set[int] = set()
            for text, count in zip((first, second), kept, strict=True):
                dropped.update(text[: len(text) - count] if side == "left" else text[count:])
            keep = [index for index in range(size) if index not in dropped]
    tokens = Tokens(input_ids=[encoding["input_ids"][index] for index in keep])
    if "token_type_ids" in encoding:
        tokens["token_type_ids"] = [encoding["token_type_ids"][index] for index in keep]
    return tokens


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each of two texts fit in `room`, which is fewer than both have.

    The rule is that of the Rust library `tokenizers`: the longer text, or of equal ones the second, gets
    the odd token.
    """
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
