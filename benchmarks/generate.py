"""Sixteen requests on sixteen adapters that generate text: ours, PEFT and transformers, in one run.

    python -m benchmarks.generate [--rounds N] [--threads N] [--quick]

The base is smollm2-135m in its own dtype. Adapters are random, rank 8 on the query and value layers. Prompts
have 16 to 128 tokens and answers 16 to 64, drawn once. Every way generates greedily and takes its turn in
each round; figures are ratios of medians:

- ours: the engine's loop, all requests at once;
- bare: the same loop on the base without any adapter, so without slotted layers;
- static: PEFT's `adapter_names` in one padded batch, which runs until its longest answer is complete;
- solo: PEFT, one request after another with `set_adapter`;
- manager: transformers' continuous batching on the bare base (it takes no adapters).

None of them reuses the beginnings of earlier prompts: every round has the same ones. `shared_instruction` is
measured apart: requests whose prompts begin with the same 256 tokens, without the prefix cache over with it.

A token counts if its request asked for it: what a static batch generates beyond a row's limit does not.
`short_beside_long`: the p99 time of a 16-token answer beside four of 512 tokens, over its median alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from benchmarks.report import Target, report
from hub.api import HeadKind, Output, Row
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.config import find_home
from hub.engine.protocol import AdapterWeights, EngineRow, GenerationLimits

TARGETS: dict[str, Target] = {
    "vs_peft_solo": (">=", 4.0),
    "vs_peft_static": (">=", 1.3),
    "slot_overhead": ("<=", 1.15),
    "short_beside_long": ("<=", 3.0),
}
ADAPTERS = 16
TARGET_LAYERS = ["q_proj", "v_proj"]
LONG, SHORT = 512, 16
SHORT_TURNS = 40
INSTRUCTION = 256  # tokens
INSTRUCTIONS = 4


@dataclass(frozen=True)
class Prompt:
    """One request: its adapter's number, from 0, its tokens, and how many it asks for."""

    adapter: int
    ids: list[int]
    tokens: int


@dataclass
class Timed:
    """What one turn took, in seconds: all of it, to each first token, between later ones."""

    tokens: int
    seconds: float
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)


def main() -> bool:
    """Measure every way in turns, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="Turns of each way; the median counts.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of torch.")
    parser.add_argument("--quick", action="store_true", help="Without the manager and the long answers.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-generate-") as folder:
        return _measure(Path(folder), options.rounds, options.threads, options.quick)


def _measure(folder: Path, rounds: int, threads: int, quick: bool) -> bool:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    base = Bases(find_home()).pull("smollm2-135m")
    folders = [_adapter(base, folder / str(seed), seed) for seed in range(ADAPTERS)]
    prompts = _prompts(base)
    ours = _Ours(base, [_weights(path) for path in folders], threads)
    ways: dict[str, Callable[[], Timed]] = {
        "ours": lambda: ours.run(prompts),
        "bare": lambda: bare.run(prompts),
        "static": lambda: peft.static(prompts),
        "solo": lambda: peft.solo(prompts),
    }
    bare = _Ours(base, [], threads)
    peft = _Peft(base, folders)
    if not quick:
        ways["manager"] = lambda: _manager(peft, prompts)
    turns: dict[str, list[Timed]] = {name: [] for name in ways}
    for name, way in ways.items():
        _shown(name)
        way()  # warm
    for _ in range(rounds):
        for name, way in ways.items():
            _shown(name)
            turns[name].append(way())
    figures = _figures(turns)
    if not quick:
        figures["short_beside_long"] = ours.short_beside_long(prompts[0])
        figures["shared_instruction"] = _shared_instruction(base, prompts, threads)
    ours.close(), bare.close()
    rows = [_row(name, timed) for name, timed in turns.items()]
    headers = ["way", "tokens/s", "first token, ms", "p99 between tokens, ms"]
    return report("generate", headers, rows, figures, TARGETS)


class _Ours:
    """The engine as a server gets it, with the adapters in slots 1, 2, ..."""

    def __init__(
        self, base: Base, adapters: Sequence[AdapterWeights], threads: int, prefix_bytes: int = 0
    ) -> None:
        from hub.engine.build import build_engine

        self._engine = build_engine(
            base,
            kind="torch",
            slots=ADAPTERS,
            device="cpu",
            threads=threads,
            generation=GenerationLimits(prefix_bytes=prefix_bytes),
        )
        self._slotted = bool(adapters)
        for slot, weights in enumerate(adapters, 1):
            self._engine.write(slot, weights)

    def run(self, prompts: Sequence[Prompt]) -> Timed:
        began = time.perf_counter()
        ended: SimpleQueue[Any] = SimpleQueue()
        stamps: list[list[float]] = [[] for _ in prompts]
        for prompt, times in zip(prompts, stamps, strict=True):
            self._begin(prompt, lambda text, times=times: times.append(time.perf_counter()), ended)
        tokens = sum(_output(ended).tokens for _ in prompts)
        seconds = time.perf_counter() - began
        between = [later - former for times in stamps for former, later in pairwise(times)]
        return Timed(tokens, seconds, [times[0] - began for times in stamps if times], between)

    def short_beside_long(self, prompt: Prompt) -> float:
        short = Prompt(prompt.adapter, prompt.ids, SHORT)
        alone = statistics.median(self.run([short]).seconds for _ in range(SHORT_TURNS))
        ended: SimpleQueue[Any] = SimpleQueue()
        beside: list[float] = []
        while len(beside) < SHORT_TURNS:
            long = [Prompt(adapter, prompt.ids, LONG) for adapter in range(4)]
            begun = [self._begin(one, lambda text: None, ended) for one in long]
            for _ in range(SHORT_TURNS // 4):
                beside.append(self.run([short]).seconds)
            for row in begun:
                row.cancel()
            for _ in begun:
                ended.get()
        return float(np.quantile(beside, 0.99)) / alone

    def close(self) -> None:
        self._engine.close()

    def _begin(self, prompt: Prompt, on_text: Callable[[str], None], ended: SimpleQueue[Any]) -> Any:
        row = Row(prompt.ids, max_new_tokens=prompt.tokens)
        slot = prompt.adapter + 1 if self._slotted else 0
        return self._engine.generate(EngineRow(row, slot, HeadKind.GENERATE), on_text, ended.put)


def _shared_instruction(base: Base, prompts: Sequence[Prompt], threads: int) -> float:
    """Return the median time of the prompts after an instruction without the prefix cache, over with it.

    Each turn has an instruction of its own, which neither engine has seen.
    """
    without, with_cache = (_Ours(base, [], threads, prefix_bytes) for prefix_bytes in (0, 256_000_000))
    seconds: dict[_Ours, list[float]] = {without: [], with_cache: []}
    for turn in range(INSTRUCTIONS):
        chance = random.Random(turn)
        instruction = [chance.choice(prompts[0].ids) for _ in range(INSTRUCTION)]
        longer = [replace(prompt, ids=[*instruction, *prompt.ids]) for prompt in prompts]
        for ours, times in seconds.items():
            times.append(ours.run(longer).seconds)
    for ours in seconds:
        ours.close()
    return statistics.median(seconds[without]) / statistics.median(seconds[with_cache])


class _Peft:
    """All adapters in one PeftModel."""

    def __init__(self, base: Base, folders: Sequence[Path]) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        self.plain = AutoModelForCausalLM.from_pretrained(base.path).eval()
        self._pad = self.plain.config.eos_token_id
        fresh = AutoModelForCausalLM.from_pretrained(base.path).eval()
        self._model = PeftModel.from_pretrained(fresh, str(folders[0]), adapter_name="0")
        for number, folder in enumerate(folders[1:], 1):
            self._model.load_adapter(str(folder), adapter_name=str(number))
        self._model.eval()

    def static(self, prompts: Sequence[Prompt]) -> Timed:
        import torch

        width = max(len(prompt.ids) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
            mask[row, width - len(prompt.ids) :] = 1
        began = time.perf_counter()
        with torch.inference_mode():
            tokens = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                adapter_names=[str(prompt.adapter) for prompt in prompts],
                max_new_tokens=max(prompt.tokens for prompt in prompts),
                do_sample=False,
                pad_token_id=self._pad,
            )
        seconds = time.perf_counter() - began
        answers = zip(tokens[:, width:].tolist(), prompts, strict=True)
        return Timed(sum(self._asked(answer, prompt) for answer, prompt in answers), seconds)

    def solo(self, prompts: Sequence[Prompt]) -> Timed:
        import torch

        began, tokens = time.perf_counter(), 0
        for prompt in prompts:
            self._model.set_adapter(str(prompt.adapter))
            ids = torch.tensor([prompt.ids])
            with torch.inference_mode():
                found = self._model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=prompt.tokens,
                    do_sample=False,
                    pad_token_id=self._pad,
                )
            tokens += found.shape[1] - ids.shape[1]
        return Timed(tokens, time.perf_counter() - began)

    def _asked(self, answer: Sequence[int], prompt: Prompt) -> int:
        """Count the tokens up to the row's limit or its end token."""
        tokens = list(answer[: prompt.tokens])
        return tokens.index(self._pad) + 1 if self._pad in tokens else len(tokens)


def _manager(peft: _Peft, prompts: Sequence[Prompt]) -> Timed:
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(prompt.tokens for prompt in prompts),
        eos_token_id=peft.plain.config.eos_token_id,
        pad_token_id=peft.plain.config.eos_token_id,
    )
    peft.plain.set_attn_implementation("sdpa")
    began = time.perf_counter()
    found = peft.plain.generate_batch(
        inputs=[prompt.ids for prompt in prompts], generation_config=settings, progress_bar=False
    )
    seconds = time.perf_counter() - began
    counts = [len(output.generated_tokens) for output in found.values()]
    asked = sum(min(count, prompt.tokens) for count, prompt in zip(counts, prompts, strict=True))
    return Timed(asked, seconds)


def _figures(turns: dict[str, list[Timed]]) -> dict[str, float]:
    rate = {
        name: statistics.median(turn.tokens / turn.seconds for turn in found) for name, found in turns.items()
    }
    figures = {
        "vs_peft_solo": rate["ours"] / rate["solo"],
        "vs_peft_static": rate["ours"] / rate["static"],
        "slot_overhead": rate["bare"] / rate["ours"],
    }
    if "manager" in rate:
        figures["vs_manager_bare"] = rate["ours"] / rate["manager"]
    return figures | {f"tokens_per_s_{name}": value for name, value in rate.items()}


def _row(name: str, turns: Sequence[Timed]) -> tuple[object, ...]:
    rate = statistics.median(turn.tokens / turn.seconds for turn in turns)
    first = [1000 * value for turn in turns for value in turn.first]
    between = [1000 * value for turn in turns for value in turn.between]
    return (
        name,
        f"{rate:.1f}",
        f"{statistics.median(first):.0f}" if first else "",
        f"{np.quantile(between, 0.99):.0f}" if between else "",
    )


def _prompts(base: Base) -> list[Prompt]:
    chance = random.Random(7)
    vocabulary = json.loads((base.path / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    return [
        Prompt(
            number,
            [chance.randrange(100, vocabulary) for _ in range(chance.randint(16, 128))],
            chance.randint(16, 64),
        )
        for number in range(ADAPTERS)
    ]


def _adapter(base: Base, folder: Path, seed: int) -> Path:
    from tests.support.tiny import tiny_adapter

    tiny_adapter(
        base, folder, kind=HeadKind.GENERATE, labels=(), rank=8, seed=seed, targets=TARGET_LAYERS, spread=0.05
    )
    return folder


def _weights(folder: Path) -> AdapterWeights:
    from safetensors.numpy import load_file

    from hub.engine.peft.format import parse

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    return parse(config, tensors, kind=HeadKind.GENERATE, num_labels=0, sha256=folder.name)


def _output(ended: SimpleQueue[Any]) -> Output:
    outcome = ended.get()
    if isinstance(outcome, Exception):
        raise outcome
    output: Output = outcome
    return output


def _shown(name: str) -> None:
    sys.stderr.write(f"{name} ")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
