# ruff: noqa: TID253 - imported when a base is loaded, and by nothing else
"""Loads tokenizers. A module of its own, as importing the models takes seconds that the fake engine saves."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hub.bases.base import Base
from hub.errors import BadBase

__all__ = ["load_tokenizer"]


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """Load the base's fast tokenizer.

    Raises:
        BadBase: it has none, and tasks need its offsets.
    """
    # transformers 5.23 has no fast class for Marian, and with the slow one it would not read tokenizer.json.
    factory = PreTrainedTokenizerFast if base.model_type == "marian" else AutoTokenizer
    tokenizer = factory.from_pretrained(base.path, local_files_only=True)
    if not tokenizer.is_fast:
        raise BadBase(f"Base {base.name!r} has no fast tokenizer (tokenizer.json), which tasks need.")
    return tokenizer
