# ruff: noqa: TID253 - imported when a folder brings a tokenizer, and by nothing else
"""Compares the tokenizer in an adapter's folder with that of the base, which serves every adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.tokenizer_files import SETTINGS_FILE, TOKENIZER_FILES, VOCABULARY_FILES
from hub.engine.quiet import quiet
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BadAdapter

__all__ = ["check_tokenizer"]

_SHOWN = 3


def check_tokenizer(folder: Path, base: Base, kind: HeadKind) -> None:
    """Raise BadAdapter if the folder has a tokenizer that produces other tokens than the base's.

    Chat template, end token and decoder are compared for GENERATE only; the padding token never is, because
    padding is masked.
    """
    files = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not files:
        return
    ours, theirs = load_tokenizer(base), _load(folder, files, base)
    differences = _differences(_behaviour(ours, kind), _behaviour(theirs, kind))
    if not differences:
        return
    found = (
        f"The folder's own tokenizer differs from that of the base {base.name!r}: {'; '.join(differences)}."
    )
    remove = f"If the adapter was trained with the base's tokenizer, remove {', '.join(files)} from {folder}."
    rows = AutoConfig.from_pretrained(base.path, local_files_only=True).vocab_size
    if (needed := max(theirs.get_vocab().values(), default=-1) + 1) > rows:
        raise BadAdapter(
            f"{found} It needs {needed} embeddings and the base has {rows}, so the adapter cannot be served "
            f"on this base. {remove}"
        )
    raise BadAdapter(
        f"{found} Adapters are served with their base's tokenizer. {remove} Otherwise copy {base.path}, put "
        "these files in the copy in place of its own, pull the copy under another name (hub base pull) and "
        "import the adapter with that --base."
    )


def _load(folder: Path, files: list[str], base: Base) -> PreTrainedTokenizerBase:
    """Load the folder's tokenizer; files that it lacks are taken from the base."""
    whole = SETTINGS_FILE in files and any(name in VOCABULARY_FILES for name in files)
    with TemporaryDirectory(prefix="hub-tokenizer-") as aside:
        for name in ("config.json", *(() if whole else TOKENIZER_FILES)):
            if (base.path / name).is_file():
                shutil.copyfile(base.path / name, Path(aside) / name)
        for name in files:
            shutil.copyfile(folder / name, Path(aside) / name)
        try:
            with quiet():
                tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                    aside, local_files_only=True, trust_remote_code=False
                )
        except Exception as error:  # tokenizers raises plain Exception
            raise BadAdapter(
                f"The tokenizer in {folder} cannot be loaded: {str(error).replace(aside, str(folder))[:300]} "
                f"Copy its files again, or, if the adapter was trained with the base's tokenizer, remove "
                f"{', '.join(files)}."
            ) from None
    if not tokenizer.is_fast:
        raise BadAdapter(
            f"The tokenizer in {folder} is not a fast one (tokenizer.json), so it cannot be compared with "
            f"the base's. If it is the base's, remove {', '.join(files)}."
        )
    return tokenizer


def _behaviour(tokenizer: PreTrainedTokenizerBase, kind: HeadKind) -> dict[str, Any]:
    """Return everything that determines the tokens of a text, and for GENERATE the text of tokens."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    model = dict(backend["model"])
    vocabulary = model.pop("vocab")
    added = {entry["content"]: entry for entry in backend["added_tokens"]}
    behaviour: dict[str, Any] = {
        "vocabulary": tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False),
        "added tokens": added,
        "merges": model.pop("merges", None),
        "scores": vocabulary if isinstance(vocabulary, list) else None,
        "model settings": model,
        "normalizer": backend["normalizer"],
        "pre-tokenizer": backend["pre_tokenizer"],
        "special tokens around a text": backend["post_processor"],
        "truncation side": tokenizer.truncation_side,
        "token types": "token_type_ids" in tokenizer.model_input_names,
        "splitting of special tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
    }
    if kind is HeadKind.GENERATE:
        behaviour |= {
            "decoder": backend["decoder"],
            "end token": tokenizer.eos_token_id,
            "special tokens removed from answers": sorted(set(tokenizer.all_special_ids)),
            "chat template": tokenizer.chat_template,
        }
    return behaviour


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [_difference(part, own, theirs[part]) for part, own in ours.items() if own != theirs[part]]


def _difference(part: str, ours: Any, theirs: Any) -> str:
    """Describe one difference: the tokens where a part has tokens, the values where they are short."""
    if part in ("vocabulary", "added tokens"):
        changed = [token for token in {**theirs, **ours} if ours.get(token) != theirs.get(token)]
        shown = ", ".join(f"{token[:40]!r}" for token in changed[:_SHOWN])
        return f"{part} ({len(changed)} differ, such as {shown})"
    values = f"{theirs!r}, the base's: {ours!r}"
    return f"{part} ({values})" if len(values) <= 200 else part
