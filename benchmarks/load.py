"""Load over HTTP/1.1, run as a process of its own: `python -m benchmarks.load PLAN.json`.

The plan names the host, the port, how many clients ask, for how long, and the requests they cycle
through; `headers` are sent with each, and a client pauses for `pause_s` after each answer. With a `rate`, a
number of requests a second, the load is open: requests are due at random times (a Poisson process) whether or
not others were answered, and a latency counts from when its request was due. Prints one JSON object of
figures; times are in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

__all__ = ["main"]

ENGINE = re.compile(rb"engine;dur=([0-9.]+)")
TOTAL = re.compile(rb"total;dur=([0-9.]+)")
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
WARM_S = 1.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class LoadCounts:
    """What all clients saw after the warm-up."""

    since: float
    latency: list[float] = field(default_factory=list)
    overhead: list[float] = field(default_factory=list)  # seen by the client, less the engine's time
    inside: list[float] = field(default_factory=list)  # measured in the server, less the engine's time
    failed: int = 0


def main(plan_file: str) -> None:
    """Run a plan and print its figures."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    print(json.dumps(_run(plan)))


def _run(plan: dict[str, Any]) -> dict[str, float]:
    """Run a plan on uvloop where it is installed: what the clients take counts as latency of the servers."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(run(plan))
    found: dict[str, float] = uvloop.run(run(plan))
    return found


async def run(plan: dict[str, Any]) -> dict[str, float]:
    requests = [_encode(plan, path, body) for path, body in plan["requests"]]
    counts = LoadCounts(time.perf_counter() + WARM_S)
    until = counts.since + plan["seconds"]
    if rate := plan.get("rate"):
        await _open_load(plan, requests, until, counts, rate)
        return _figures(counts, plan["seconds"])
    clients = (
        client(plan, requests[number:] + requests[:number], until, counts)
        for number in range(plan["clients"])
    )
    await asyncio.gather(*clients)
    return _figures(counts, plan["seconds"])


async def client(plan: dict[str, Any], requests: list[bytes], until: float, counts: LoadCounts) -> None:
    """Ask one request after another on one connection until the time is up."""
    connection = await asyncio.open_connection(plan["host"], plan["port"])
    turn = 0
    while (asked := time.perf_counter()) < until:
        head = await _ask(connection, requests[turn % len(requests)])
        turn += 1
        answered = time.perf_counter()
        if counts.since < answered < until:
            _note(counts, head, (answered - asked) * 1000)
        if pause_s := plan.get("pause_s"):
            await asyncio.sleep(pause_s)
    connection[1].close()


async def _open_load(
    plan: dict[str, Any], requests: list[bytes], until: float, counts: LoadCounts, rate: float
) -> None:
    """Ask at random times that do not depend on the answers, over as many connections as that takes."""
    chance = random.Random(0)
    idle: list[Connection] = []
    asked: set[asyncio.Task[None]] = set()
    due = time.perf_counter()
    for request in cycle(requests):
        due += chance.expovariate(rate)
        if due >= until:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asked.add(asyncio.create_task(_ask_due(plan, request, due, idle, counts)))
    await asyncio.gather(*asked)
    for _, writer in idle:
        writer.close()


async def _ask_due(
    plan: dict[str, Any], request: bytes, due: float, idle: list[Connection], counts: LoadCounts
) -> None:
    connection = idle.pop() if idle else await asyncio.open_connection(plan["host"], plan["port"])
    head = await _ask(connection, request)
    if due >= counts.since:
        _note(counts, head, (time.perf_counter() - due) * 1000)
    idle.append(connection)


async def _ask(connection: Connection, request: bytes) -> bytes:
    """Send a request; return the head of its answer once all of it is there."""
    reader, writer = connection
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    assert length, head
    await reader.readexactly(int(length[1]))
    return head


def _note(counts: LoadCounts, head: bytes, latency: float) -> None:
    if not head.startswith(b"HTTP/1.1 200"):
        counts.failed += 1
        return
    counts.latency.append(latency)
    engine, total = ENGINE.search(head), TOTAL.search(head)
    if engine and total:
        counts.overhead.append(latency - float(engine[1]))
        counts.inside.append(float(total[1]) - float(engine[1]))


def _encode(plan: dict[str, Any], path: str, body: Any) -> bytes:
    payload = json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in plan.get("headers", {}).items())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {plan['host']}:{plan['port']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n{more}\r\n"
    )
    return head.encode() + payload


def _figures(counts: LoadCounts, seconds: float) -> dict[str, float]:
    latency = sorted(counts.latency) or [0.0]
    figures = {
        "rps": len(counts.latency) / seconds,
        "p50_ms": statistics.median(latency),
        "p99_ms": latency[min(int(len(latency) * 0.99), len(latency) - 1)],
        "failed": counts.failed,
    }
    if counts.overhead:
        figures["overhead_ms"] = statistics.median(counts.overhead)
        figures["inside_ms"] = statistics.median(counts.inside)
    return figures


if __name__ == "__main__":
    main(sys.argv[1])
