"""A server whose answers a test composes byte by byte, for answers that an honest Harbor or receiver never sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any

Reply = Callable[[str], Iterable[bytes]]
"""Maps the first line of a request, such as `GET /api/v2.0/projects?page=1 HTTP/1.1`, to the bytes of its answer."""


def answer(
    body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json", length: int | None = None
) -> list[bytes]:
    """Returns an answer; `length` overrides the true Content-Length."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return ["\r\n".join((*lines, "", "")).encode(), body]


def json_answer(body: Any, *headers: str, status: str = "200 OK") -> list[bytes]:
    return answer(json.dumps(body).encode(), *headers, status=status)


def endless(chunk: bytes, *headers: str, kind: str = "application/json") -> Iterator[bytes]:
    """Returns an answer without a stated length that continues until the client closes the connection."""
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}", "Connection: close", *headers]
    yield "\r\n".join((*lines, "", "")).encode()
    while True:
        yield chunk


class Hostile:
    """The running server: its address, the requests and the number of bytes sent."""

    def __init__(self, reply: Reply) -> None:
        self.url = ""
        self.requests: list[str] = []
        """The head of each request, unparsed."""
        self.sent = 0
        self._reply = reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(head)
                await reader.readexactly(_length(head))
                for piece in self._reply(head.partition("\r\n")[0]):
                    writer.write(piece)
                    self.sent += len(piece)
                    await writer.drain()


def _length(head: str) -> int:
    lengths = (line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length:"))
    return int(next(islice(lengths, 1), "0"))


@asynccontextmanager
async def hostile(reply: Reply) -> AsyncIterator[Hostile]:
    """Runs a server until the block ends; closes open connections."""
    found = Hostile(reply)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with suppress(asyncio.CancelledError):
            await found.serve(reader, writer)
        writer.transport.abort()
        running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
