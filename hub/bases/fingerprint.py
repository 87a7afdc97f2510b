"""The files of a base, and their fingerprint (sha256)."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from hub import untrusted
from hub.bases.tokenizer_files import TOKENIZER_FILES
from hub.errors import BadBase

__all__ = ["fingerprint", "is_model_file", "model_files", "read_json", "sha256_file"]

_NAMES = frozenset(
    {
        *TOKENIZER_FILES,
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
    }
)
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
# These keys depend on the library and the path that saved the file, not on the model.
_IGNORED_KEYS = frozenset(
    {
        "_name_or_path",
        "_model_name_or_path",
        "name_or_path",
        "transformers_version",
        "is_local",
        "local_files_only",
    }
)


def is_model_file(name: str) -> bool:
    """Return whether a file name belongs to a base: safetensors, config, tokenizer or image processor."""
    return name in _NAMES or _SHARD.fullmatch(name) is not None


def model_files(folder: Path) -> list[Path]:
    """Return the files of the base in `folder`, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_model_file(path.name) and path.is_file())


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folder: Path) -> str:
    """Return the sha256 over weights, config and tokenizer.

    JSON files are hashed by value, without layout and the keys of the saving library, so that a base has the
    same fingerprint from every source.
    """
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(f"{path.name}\0{_digest(path)}\n".encode())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or raise BadBase naming the file."""
    try:
        value = untrusted.read_json(path, unique_keys=False)
    except (OSError, ValueError) as error:
        raise BadBase(f"{path} cannot be read as JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BadBase(f"{path} is not a JSON object but {type(value).__name__}.")
    return value


def _digest(path: Path) -> str:
    if path.suffix != ".json":
        return sha256_file(path)
    value = {key: item for key, item in read_json(path).items() if key not in _IGNORED_KEYS}
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
