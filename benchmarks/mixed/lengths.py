"""Rows a second on real texts: as a server runs them, and padded in the order of arrival."""

from __future__ import annotations

import csv
import itertools
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

from benchmarks.mixed.adapters import Found, Setting
from hub.api import HeadKind, Row
from hub.engine.protocol import EngineRow
from hub.serving.batching.cost import ForwardCost
from hub.serving.batching.fair_queue import FairQueue, Job, padded_tokens

__all__ = ["run"]

ADAPTERS = 16
BATCH = 64
WAITING = 256  # rows that are there when a forward begins: what arrives in 20 ms at some 12,000 rows a second
SECONDS = 5.0
TURNS = 3
LONGEST = 256


def run(setting: Setting) -> Found:
    """Keep WAITING rows waiting and take batches from them in one way and in the other.

    A server's queue chooses the rows of a batch, and its engine packs them, if the base allows it.
    """
    if setting.data is None:
        setting.say("No --data folder with sst2/ and ag_news/: lengths are not measured.")
        return Found()
    texts = _texts(setting)
    rates: dict[str, list[float]] = {"as served": [], "order of arrival, padded": []}
    with setting.engine("auto", ADAPTERS) as engine:
        for slot in range(1, ADAPTERS + 1):
            engine.write(slot, setting.weights(slot))
        engine.settle(timeout=300)
        for turn in range(TURNS + 1):
            served = _rate(engine, _chosen(_rows(texts, turn), packs=engine.packs))
            with patch("hub.engine.torch.packed.pack", return_value=None):
                padded = _rate(engine, _arrival(_rows(texts, turn)))
            if turn:
                rates["as served"].append(served)
                rates["order of arrival, padded"].append(padded)
    medians = {name: statistics.median(one) for name, one in rates.items()}
    return Found(
        [("lengths", name, f"{rate:.0f}", "rows/s") for name, rate in medians.items()],
        {"lengths_vs_arrival": medians["as served"] / medians["order of arrival, padded"]},
    )


def _texts(setting: Setting) -> list[list[int]]:
    from hub.engine.tokenizer import load_tokenizer

    assert setting.data is not None
    with (setting.data / "sst2" / "test.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:1500]
    with (setting.data / "ag_news" / "test.jsonl").open(encoding="utf-8") as file:
        texts += [json.loads(line)["text"] for line in itertools.islice(file, 1500)]
    ids: Any = load_tokenizer(setting.base)(texts)["input_ids"]
    return [one[:LONGEST] for one in ids]


def _rows(texts: Sequence[Sequence[int]], seed: int) -> Iterator[EngineRow]:
    order = list(texts)
    random.Random(seed).shuffle(order)
    for index, ids in enumerate(itertools.cycle(order)):
        yield EngineRow(Row(ids), 1 + index % ADAPTERS, HeadKind.SEQUENCE)


def _rate(engine: Any, batches: Any) -> float:
    done, began = 0, time.perf_counter()
    batch = next(batches)
    while time.perf_counter() - began < SECONDS:
        started = time.perf_counter()
        engine.run(batch)
        done += len(batch)
        batch = batches.send(time.perf_counter() - started)
    return done / (time.perf_counter() - began)


def _arrival(rows: Iterator[EngineRow]) -> Any:
    waiting = deque(itertools.islice(rows, WAITING))
    while True:
        batch = [waiting.popleft() for _ in range(BATCH)]
        waiting.extend(itertools.islice(rows, BATCH))
        yield batch


def _chosen(rows: Iterator[EngineRow], *, packs: bool) -> Any:
    """The server's own queue, told what each forward took."""
    queue, cost = FairQueue(packs=packs), ForwardCost()
    for row in itertools.islice(rows, WAITING):
        queue.add(Job([row], lambda: None))
    while True:
        picks = queue.take(BATCH, cost.fixed_tokens)
        batch = [job.rows[index] for job, index in picks]
        for row in itertools.islice(rows, len(batch)):
            queue.add(Job([row], lambda: None))
        took = yield batch
        lengths = [len(row.row.input_ids) for row in batch]
        cost.note(padded_tokens(len(lengths), sum(lengths), max(lengths), packed=packs), took)
