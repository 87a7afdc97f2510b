"""The file names of a tokenizer."""

from __future__ import annotations

__all__ = ["SETTINGS_FILE", "TOKENIZER_FILES", "VOCABULARY_FILES"]

SETTINGS_FILE = "tokenizer_config.json"
VOCABULARY_FILES = (
    "sentencepiece.bpe.model",
    "source.spm",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    SETTINGS_FILE,
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "target.spm",
)
