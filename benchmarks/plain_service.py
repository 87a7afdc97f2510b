"""What `benchmarks.serve` measures against: a minimal BentoML service that calls PEFT directly.

Adapters are loaded once with `load_adapter`, as PEFT's documentation has it, and a request is answered
in one of the two ways it shows: `set_adapter` under a lock, or a mixed batch with `adapter_names`, for
which BentoML's own adaptive batching gathers the requests. BENCH_BASE names the base's folder and
BENCH_ADAPTERS the folder that holds the adapters.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import bentoml
import torch
from peft import PeftModel
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

LABELS = ("negative", "positive")
MAX_LENGTH = 64


class Ask(BaseModel):
    """One request."""

    text: str
    adapter: str


class PeftModels:
    """One PEFT model with every adapter loaded."""

    def __init__(self) -> None:
        base, adapters = os.environ["BENCH_BASE"], sorted(Path(os.environ["BENCH_ADAPTERS"]).iterdir())
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(LABELS))
        self.model = PeftModel.from_pretrained(model, str(adapters[0]), adapter_name=adapters[0].name)
        for folder in adapters[1:]:
            self.model.load_adapter(str(folder), adapter_name=folder.name)
        self.model.eval()
        self.lock = threading.Lock()

    def run_one(self, ask: Ask) -> dict[str, Any]:
        """Make the adapter the active one, then run the text."""
        with self.lock, torch.inference_mode():
            self.model.set_adapter(ask.adapter)
            return _answers(self.model(**self._encode([ask.text])).logits)[0]

    def run_mixed(self, asks: list[Ask]) -> list[dict[str, Any]]:
        """Run requests for several adapters in one forward."""
        with self.lock, torch.inference_mode():
            encoded = self._encode([ask.text for ask in asks])
            return _answers(self.model(**encoded, adapter_names=[ask.adapter for ask in asks]).logits)

    def _encode(self, texts: list[str]) -> Any:
        return self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )


@bentoml.service(workers=1, http={"host": "127.0.0.1"}, logging={"access": {"enabled": False}})
class Plain:
    """The two ways, each a route."""

    def __init__(self) -> None:
        self.models = PeftModels()

    @bentoml.api
    def locked(self, text: str, adapter: str) -> dict[str, Any]:
        return self.models.run_one(Ask(text=text, adapter=adapter))

    @bentoml.api(batchable=True, max_batch_size=64)
    def mixed(self, asks: list[Ask]) -> list[dict[str, Any]]:
        return self.models.run_mixed(asks)


def _answers(logits: torch.Tensor) -> list[dict[str, Any]]:
    scores = logits.softmax(-1).tolist()
    return [
        {"label": LABELS[row.index(max(row))], "scores": dict(zip(LABELS, row, strict=True))}
        for row in scores
    ]
