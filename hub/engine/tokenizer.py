# ruff: noqa: TID253 - imported when a base is loaded, and by nothing else
"""Loads tokenizers. A module of its own, as importing the models takes seconds that the fake engine saves."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hub.bases.base import Base
from hub.errors import BadBase

__all__ = ["NoTokenizer", "load_tokenizer"]


class NoTokenizer:
    """Takes the place of the tokenizer of a base that reads images: it tokenizes nothing."""

    is_fast = True
    truncation_side = padding_side = "right"
    pad_token_id: int | None = None
    eos_token_id: int | None = None
    bos_token_id: int | None = None
    cls_token_id: int | None = None

    def __len__(self) -> int:
        return 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise BadBase(
            "The base reads images and has no tokenizer. A task that reads text needs another base."
        )

    decode = apply_chat_template = convert_tokens_to_ids = __call__

    def get_vocab(self) -> dict[str, int]:
        return {}


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase | NoTokenizer:
    """Load the base's fast tokenizer; a base that reads images has a `NoTokenizer`.

    Raises:
        BadBase: it has none, and tasks need its offsets; or its files are invalid.
    """
    if base.image:
        return NoTokenizer()
    # transformers 5.23 has no fast class for Marian, and with the slow one it would not read tokenizer.json.
    factory = PreTrainedTokenizerFast if base.model_type == "marian" else AutoTokenizer
    try:
        tokenizer = factory.from_pretrained(base.path, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise errors of many types for invalid files
        raise BadBase(
            f"The tokenizer of base {base.name!r} cannot be loaded ({type(error).__name__}: "
            f"{str(error)[:200]}). Pull a base with a sound tokenizer.json."
        ) from error
    if not tokenizer.is_fast:
        raise BadBase(f"Base {base.name!r} has no fast tokenizer (tokenizer.json), which tasks need.")
    return tokenizer
