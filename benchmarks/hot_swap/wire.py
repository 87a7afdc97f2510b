"""HTTP/1.1 on connections that are kept: little work for the asker, so that the server gets the cores."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

__all__ = ["BROKEN", "Connection", "Reply", "request"]

BROKEN = (OSError, asyncio.IncompleteReadError, TimeoutError)
LIMIT_S = 60.0
HEADER = re.compile(rb"\r\n([a-z0-9-]+): *([^\r]*)", re.IGNORECASE)


class Reply:
    """A status, headers in lower case, and a body."""

    __slots__ = ("_head", "body", "status")

    def __init__(self, head: bytes, body: bytes) -> None:
        self.status = int(head[9:12])
        self._head = head
        self.body = body

    @property
    def headers(self) -> dict[str, str]:
        return {key.decode().lower(): value.decode() for key, value in HEADER.findall(self._head)}

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection, opened when first used and again after it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes) -> Reply:
        """Send a request and read the reply.

        Raises:
            OSError, IncompleteReadError, TimeoutError: there is none.
        """
        try:
            async with asyncio.timeout(LIMIT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                return Reply(head, await _body(reader, head))
        except BROKEN:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection if it is open."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if length := re.search(rb"content-length: *(\d+)", head, re.IGNORECASE):
        return await reader.readexactly(int(length[1]))
    if not re.search(rb"transfer-encoding: *chunked", head, re.IGNORECASE):
        return b""
    parts: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


def request(
    method: str, path: str, body: Any = None, key: str = "", accept: str = "application/json"
) -> bytes:
    """Put a request into bytes."""
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: 127.0.0.1",
        f"accept: {accept}",
        f"content-length: {len(payload)}",
    ]
    if payload:
        lines.append("content-type: application/json")
    if key:
        lines.append(f"authorization: Bearer {key}")
    return "\r\n".join([*lines, "\r\n"]).encode() + payload
