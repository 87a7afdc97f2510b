"""What each fingerprinted adapter answers: see benchmarks/fingerprinted.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.fingerprinted import LABELS, SETTINGS, Oracle, Truth, draw, save
from hub.api import HeadKind

__all__ = ["STORED", "Scores"]

STORED: Mapping[str, Any] = {  # for `Store.import_peft`
    "task": "classification",
    "head": HeadKind.SEQUENCE,
    "labels": LABELS,
    "settings": SETTINGS,
    "max_length": 64,
}


class Scores:
    """Draws fingerprinted adapters and judges their scores."""

    def __init__(self, oracle: Oracle, truth: Truth | None = None) -> None:
        self.truth = truth or Truth(oracle)
        self._oracle = oracle

    def draw(self, number: int, folder: Path) -> Path:
        """Save the content of a number as PEFT would, and work out its answers."""
        content = draw(self._oracle, number)
        self.truth.add(content)
        return save(content, folder)

    def stored(self, sha256: str, number: int) -> None:
        """Note the hash under which a content was stored."""
        self.truth.stored(sha256, number)

    def fault(self, sha256: str, text: str, body: bytes) -> str | None:
        """Say what is wrong with an answer that names the content of this hash; None: nothing."""
        return self.truth.fault(sha256, text, json.loads(body)["scores"])

    def separation(self) -> float:
        """Return the least distance of a head over a wrong LoRA, or none, from the truth."""
        return self.truth.separation()
