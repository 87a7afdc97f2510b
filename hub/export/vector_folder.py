"""The files with which sentence-transformers, and servers that read its folders, load a model of vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hub.bases.pooling import POOLING_FILE, POOLING_MODES
from hub.store.manifest import Serving
from hub.vectors import Pooling

__all__ = ["write_modules"]

_POOLING, _NORMALIZE = POOLING_FILE.partition("/")[0], "2_Normalize"


def write_modules(folder: Path, serving: Serving, width: int) -> None:
    """Describe pooling, normalization and prompts beside a model whose hidden states are `width` wide."""
    settings = serving.settings
    pooling = Pooling(settings.get("pooling", Pooling.MEAN))
    kinds = [("", "Transformer"), (_POOLING, "Pooling")]
    if settings.get("normalize", True):
        kinds.append((_NORMALIZE, "Normalize"))
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    prompts = {"query": settings.get("query_prompt", ""), "document": settings.get("text_prompt", "")}
    modes = {mode: kind is pooling for kind, mode in POOLING_MODES.items()}
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": serving.max_length})
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    _write(folder / POOLING_FILE, {"word_embedding_dimension": width, **modes})
    if len(kinds) > 2:
        (folder / _NORMALIZE).mkdir()


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
