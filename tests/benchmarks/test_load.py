"""The load generator of the benchmarks."""

from __future__ import annotations

import asyncio

from benchmarks.load import run

TOGETHER = 5
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def test_an_open_load_asks_whether_or_not_it_was_answered() -> None:
    """The server answers once several requests wait: clients that ask in turns would wait for ever."""
    asked: list[asyncio.Event] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            asked.append(asyncio.Event())
            if len(asked) >= TOGETHER:
                for one in asked:
                    one.set()
            await asked[-1].wait()
            writer.write(ANSWER)
        writer.close()

    async def measure() -> dict[str, float]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            plan = {"host": "127.0.0.1", "port": port, "clients": 1, "seconds": 0.5, "rate": 100.0}
            return await asyncio.wait_for(run({**plan, "requests": [("/", {})]}), 60)

    figures = asyncio.run(measure())
    assert figures["failed"] == 0
    assert figures["rps"] > 0
