"""Clients that ask one deployment or another without a pause."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import accumulate

from benchmarks.hot_swap.judge import Answer
from benchmarks.hot_swap.texts import broken
from benchmarks.hot_swap.wire import BROKEN, Connection, request

__all__ = ["Load"]


class Load:
    """Clients that draw deployments by Zipf's law, the first the most often, and texts evenly.

    `streams`: the texts are prompts, and answers are streams of events.
    """

    def __init__(self, port: int, names: Sequence[str], texts: Sequence[str], *, streams: bool) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(len(names))))
        self._streams = streams
        self._questions = [[(name, text, self._question(name, text)) for text in texts] for name in names]
        self._over = False

    async def run(self, clients: int) -> None:
        """Ask with so many clients until `stop`."""
        async with asyncio.TaskGroup() as group:
            for seed in range(clients):
                group.create_task(self._client(random.Random(seed)))

    def stop(self) -> None:
        """Let every client end after the answer that it waits for."""
        self._over = True

    def _question(self, name: str, text: str) -> bytes:
        body = {"prompt" if self._streams else "text": text}
        accept = "text/event-stream" if self._streams else "application/json"
        return request("POST", f"/v1/deployments/{name}/predict", body, accept=accept)

    async def _client(self, chance: random.Random) -> None:
        connection = Connection(self._port)
        while not self._over:
            (questions,) = chance.choices(self._questions, cum_weights=self._weights)
            name, text, data = chance.choice(questions)
            asked = time.perf_counter()
            try:
                reply = await connection.ask(data)
            except BROKEN:
                self.answers.append(Answer(name, text, asked, time.perf_counter()))
                continue
            answered = time.perf_counter()
            told = reply.headers
            whole = not self._streams or reply.status != 200
            self.answers.append(
                Answer(
                    name,
                    text,
                    asked,
                    answered,
                    reply.status,
                    told.get("x-hub-deployment", ""),
                    told.get("x-hub-version", ""),
                    told.get("x-hub-sha256", ""),
                    reply.body,
                    "" if whole else broken(reply.body, told.get("x-hub-version", "")),
                )
            )
        connection.close()
