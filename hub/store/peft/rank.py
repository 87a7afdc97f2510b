"""Checks rank and label count of adapters against their limits, from the header of the weights file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.bases.weights_file import read_header
from hub.errors import BadAdapter
from hub.store.content.weights import find_weights
from hub.store.manifest import too_many_labels
from hub.store.peft.peft_folder import is_output_layer

__all__ = ["MAX_RANK", "check_head", "check_rank", "check_ranks"]

MAX_RANK = 256  # the default of serve.max_rank, and the largest rank in a recipe
_FACTOR = re.compile(r"\.lora_(?:embedding_)?(?P<side>[AB])(?:\.|$)")


def check_rank(folder: Path, most: int) -> None:
    """Refuse an adapter with a LoRA rank above `most`; no weights are read.

    Every slot of a layer's stack takes as much memory as the largest rank in that layer.

    Raises:
        BadAdapter: a rank is too large, or the folder has no sound weights file.
        UnsafeWeights: the weights file is of another format.
    """
    check_ranks(read_header(find_weights(folder), BadAdapter), most)


def check_ranks(header: Mapping[str, Any], most: int) -> None:
    """Refuse a weights file whose header has a LoRA rank above `most`.

    Raises:
        BadAdapter: a rank is too large.
    """
    for name, entry in header.items():
        match = _FACTOR.search(name)
        if not match or len(entry["shape"]) < 2:
            continue
        rank = int(entry["shape"][0 if match["side"] == "A" else 1])
        if rank > most:
            raise BadAdapter(
                f"The adapter has rank {rank:,} in {name[:120]!r}, and the limit is {most:,}: each slot of "
                "that layer would take memory for this rank. Train it with a smaller rank, import it with "
                "--merged, or raise serve.max_rank."
            )


def check_head(folder: Path) -> None:
    """Refuse an adapter whose head has more outputs than an adapter may have labels; no weights are read.

    Raises:
        BadAdapter: it has too many, or the folder has no sound weights file.
        UnsafeWeights: the weights file is of another format.
    """
    for name, entry in read_header(find_weights(folder), BadAdapter).items():
        if not is_output_layer(name) or len(entry["shape"]) != 2:
            continue
        if reason := too_many_labels(int(entry["shape"][0])):
            raise BadAdapter(f"The adapter's head {name[:120]!r} is too large: {reason}.")
