"""Hostile servers that pretend to be Harbors, in a separate process: `python -m bench.hostile_harbors`.

It prints one JSON document with the address of each server by name. For each line on standard input it prints the
number of requests to each server; it ends at the end of its input. The servers answer the check of a connection
correctly, so that resources are reconciled over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from harness.hostile import Hostile, answer, hostile, json_answer

PATIENCE = 3600
"""Seconds of Retry-After that `throttled` sends with its 429."""
HUGE = 100 * 1024 * 1024
MEGABYTE = b" " * 1024 * 1024
DRIP_SECONDS = 3.0
ROWS = 100
_INFO = {
    "harbor_version": "v2.16.0",
    "auth_mode": "db_auth",
    "read_only": False,
    "notification_enable": True,
    "project_creation_restriction": "everyone",
}


def throttled(line: str) -> Iterable[bytes]:
    """Answers all requests about projects with 429."""
    said = {"errors": [{"code": "TOO_MANY_REQUESTS", "message": "later"}]}
    return _of_connection(line) or json_answer(said, f"Retry-After: {PATIENCE}", status="429 Too Many Requests")


def pages(line: str) -> Iterable[bytes]:
    """Answers with a full page for every page of a list."""
    return _of_connection(line) or _of_one(line) or json_answer(_rows(line))


def _rows(line: str) -> list[dict[str, Any]]:
    found = re.search(r"[?&]page=(\d+)", line)
    first = ROWS * int(found[1] if found else 1)
    return [{"project_id": number, "id": number, "name": f"p{number}"} for number in range(first, first + ROWS)]


def huge(line: str) -> Iterable[bytes]:
    """Answers a list with 100 MB of blanks."""
    return _of_connection(line) or _of_one(line) or _blanks()


def _blanks() -> Iterator[bytes]:
    yield answer(b"[", length=HUGE + 2)[0]
    yield b"["
    for _ in range(HUGE // len(MEGABYTE)):
        yield MEGABYTE
    yield b"]"


def _of_one(line: str) -> list[bytes]:
    """Answers requests about one object: each creation succeeds, and no object is ever found. Returns nothing for
    lists."""
    method, path, *_ = line.split()
    if method == "POST":
        return answer(b"", f"Location: {path}/7", status="201 Created")
    if re.search(r"/projects/[^/?]+$|/policies/\d+$", path):
        said = {"errors": [{"code": "NOT_FOUND", "message": "not found"}]}
        return json_answer(said, status="404 Not Found")
    return []


def _of_connection(line: str) -> list[bytes]:
    """Answers the requests of the connection's check as a Harbor does."""
    if "/systeminfo" in line:
        return json_answer(_INFO)
    if "/users/current " in line:
        return json_answer({"user_id": 1, "username": "admin", "sysadmin_flag": True})
    return []


@asynccontextmanager
async def tarpit() -> AsyncIterator[Hostile]:
    """Answers with one byte every few seconds."""
    found = Hostile(lambda _: [])

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            found.requests.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            for byte in b"".join(answer(b"{}")):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(DRIP_SECONDS)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    server.close()


async def serve(lines: asyncio.StreamReader) -> None:
    async with AsyncExitStack() as stack:
        servers = {
            "tarpit": await stack.enter_async_context(tarpit()),
            "throttled": await stack.enter_async_context(hostile(throttled)),
            "pages": await stack.enter_async_context(hostile(pages)),
            "huge": await stack.enter_async_context(hostile(huge)),
        }
        _print({name: server.url for name, server in servers.items()})
        while await lines.readline():
            _print({name: len(server.requests) for name, server in servers.items()})


def _print(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await serve(lines)


if __name__ == "__main__":
    asyncio.run(main())
