"""What each adapter that generates text writes after each prompt, and what a stream of events says.

A content is a LoRA of noise, on every linear layer of a decoder in float32. What it writes comes from PEFT
with that adapter alone, token by token the most likely one, so an answer is right only if it is equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.api import HeadKind
from hub.bases.base import Base

__all__ = ["STORED", "GeneratedTexts", "broken"]

TOKENS = 48
STORED: Mapping[str, Any] = {  # for `Store.import_peft`
    "task": "generation",
    "head": HeadKind.GENERATE,
    "settings": {"max_new_tokens": TOKENS},
    "max_length": 200,
}


class GeneratedTexts:
    """The truth about contents that generate text; a content is known by its number."""

    def __init__(self, base: Base, prompts: Sequence[str]) -> None:
        from transformers import AutoTokenizer

        self._base = base
        self._tokenizer: Any = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
        self._prompts = prompts
        self._texts: dict[int, dict[str, str]] = {}  # by number and prompt
        self._numbers: dict[str, int] = {}  # by sha256

    def draw(self, number: int, folder: Path) -> Path:
        """Save the content of a number as PEFT does, and work out what it writes."""
        from tests.support.tiny import peft_model, tiny_adapter

        rank = 4 + 4 * (number % 2)
        kind = HeadKind.GENERATE
        tiny_adapter(self._base, folder, kind=kind, labels=(), rank=rank, seed=number, spread=0.3)
        model = peft_model(self._base, folder, kind, 0)
        self._texts[number] = {prompt: self._written(model, prompt) for prompt in self._prompts}
        return folder

    def stored(self, sha256: str, number: int) -> None:
        """Note the hash under which a content was stored."""
        self._numbers[sha256] = number

    def fault(self, sha256: str, prompt: str, body: bytes) -> str | None:
        """Say what is wrong with a stream that names the content of this hash; None: nothing."""
        number = self._numbers.get(sha256)
        if number is None:
            return "not a content of ours"
        text = _events(body)[-1][1]["response"]["text"]
        return None if text == self._texts[number][prompt] else "the text of another content, or of none"

    def separation(self) -> float:
        """Return 1 if no two contents write the same after any prompt, else 0."""
        for prompt in self._prompts:
            if len({texts[prompt] for texts in self._texts.values()}) < len(self._texts):
                return 0.0
        return 1.0

    def _written(self, model: Any, prompt: str) -> str:
        import torch

        ids = torch.tensor([self._tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            tokens = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False
            )
        return str(self._tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True))


def broken(body: bytes, version: str) -> str:
    """Say why a stream of events is not a whole answer of the version in its headers; empty: it is one."""
    events = _events(body)
    if not events or events[0][0] != "start" or events[0][1]["version"] != version:
        return "a stream that names no version, or another one"
    kind, last = events[-1]
    if kind != "end":
        return f"a stream that ends with {kind}: {last.get('code', '')}"
    text = "".join(data["text"] for kind, data in events if kind == "text")
    return "" if text == last["response"]["text"] else "a stream whose pieces are not its answer"


def _events(body: bytes) -> list[tuple[str, Mapping[str, Any]]]:
    found = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found
