"""Answers of a Harbor, or of an impostor, take bounded memory, depth and time.

The servers are real ones on this machine, so that no test depends on the HTTP library of the client.
"""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from harborhook.harbor import client as client_module
from harborhook.harbor import wire_json
from harborhook.harbor.client import LISTING_LIMIT, PAGE_SIZE, HarborClient
from harborhook.harbor.errors import HarborError, NotHarborError, UnreachableError
from harborhook.harbor.login import ANSWER_LIMIT, SESSION_COOKIE
from harborhook.harbor.payloads import facts_of
from harborhook.harbor.transport import BODY_LIMIT, Credentials, Transport
from harness.hostile import Hostile, answer, endless, hostile, json_answer

MEGABYTE = b" " * 1024 * 1024
SOCKETS = 24 * 1024 * 1024
"""Capacity of both sides' buffers beyond the bytes that are read."""


@asynccontextmanager
async def attacked(
    reply: Callable[[str], Iterable[bytes]], **options: Any
) -> AsyncIterator[tuple[HarborClient, Hostile]]:
    async with hostile(reply) as server:
        client = HarborClient(Transport(server.url, Credentials("user", "password"), **options))
        yield client, server
        await client.close()


def bomb(times: int) -> bytes:
    content = b'"' + b"a" * 10_000_000 + b'"'
    for _ in range(times):
        content = gzip.compress(content)
    return content


async def test_an_answer_without_end_is_read_up_to_the_limit() -> None:
    async with attacked(lambda _: endless(MEGABYTE)) as (client, server):
        with pytest.raises(NotHarborError, match="more than"):
            await client.system_info()

        assert server.sent < BODY_LIMIT + SOCKETS


@pytest.mark.parametrize("times", [1, 2])
async def test_a_compressed_answer_is_not_expanded(times: int) -> None:
    encodings = ", ".join(["gzip"] * times)
    reply = answer(bomb(times), f"Content-Encoding: {encodings}")
    async with attacked(lambda _: reply) as (client, server):
        tracemalloc.start()
        with pytest.raises(NotHarborError, match="Content-Encoding gzip"):
            await client.system_info()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 5_000_000
    assert "accept-encoding: identity" in server.requests[0].lower()


@pytest.mark.parametrize("path", ["GET /api/v2.0/systeminfo", "POST /c/login", "GET /c/log_out"])
async def test_login_and_log_out_read_little_of_an_answer_without_end(path: str) -> None:
    def reply(line: str) -> Iterable[bytes]:
        if line.startswith(path):
            return endless(MEGABYTE, f"Set-Cookie: {SESSION_COOKIE}=x; Path=/", kind="text/html")
        return json_answer({}, f"Set-Cookie: {SESSION_COOKIE}=x; Path=/")

    async with hostile(reply) as server:
        client = HarborClient(Transport(server.url, Credentials("user", "password")))
        assert await client.log_in()
        await client.close()

        assert server.sent < ANSWER_LIMIT + SOCKETS


async def test_a_compressed_answer_to_a_login_is_not_expanded() -> None:
    reply = answer(bomb(2), "Content-Encoding: gzip, gzip", f"Set-Cookie: {SESSION_COOKIE}=x; Path=/")
    async with attacked(lambda _: reply) as (client, _):
        tracemalloc.start()
        assert await client.log_in()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 5_000_000


async def test_headers_without_end_are_no_answer() -> None:
    def cookies() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"Set-Cookie: sid=" + b"a" * 4000 + b"\r\n"

    async with attacked(lambda _: cookies()) as (client, server):
        with pytest.raises(HarborError):
            await client.system_info()
        with pytest.raises(UnreachableError):
            await client.log_in()

        assert server.sent < 2 * SOCKETS


async def test_a_thousand_cookies_are_no_harm() -> None:
    cookies = [f"Set-Cookie: sid{number}=x; Path=/; Domain=.example.com" for number in range(1000)]
    async with attacked(lambda _: json_answer({"harbor_version": "v2.16.0"}, *cookies)) as (client, server):
        await client.system_info()
        await client.system_info()

        assert "cookie:" not in server.requests[1].lower()


def projects(line: str, padding: str = "") -> list[dict[str, Any]]:
    page = int(line.partition("page=")[2].partition("&")[0])
    return [{"project_id": page * PAGE_SIZE + row, "name": f"p{row}", "x": padding} for row in range(PAGE_SIZE)]


async def test_pages_without_end_are_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGES_LIMIT", 20)
    async with attacked(lambda line: json_answer(projects(line))) as (client, server):
        with pytest.raises(NotHarborError, match="does not end"):
            await client.projects()

        assert len(server.requests) == 20


async def test_pages_are_bounded_by_their_bytes_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LISTING_LIMIT", LISTING_LIMIT // 64)
    async with attacked(lambda line: json_answer(projects(line, "a" * 4000))) as (client, server):
        with pytest.raises(NotHarborError, match="does not end"):
            await client.projects()

        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" + b"[]," * 600_000 + b"[]]",
        b"[NaN]",
        b"[Infinity]",
        b"[1e999]",
        b"[" + b"9" * 5000 + b"]",
        b"\xff\xfe",
        rb'["\ud800"]',
    ],
    ids=["unclosed", "deep", "deep objects", "wide", "NaN", "infinity", "huge", "digits", "no UTF-8", "half"],
)
async def test_json_that_no_harbor_writes_is_not_harbors(body: bytes) -> None:
    async with attacked(lambda _: answer(body)) as (client, _):
        with pytest.raises(NotHarborError, match="broken JSON"):
            await client.projects()


def test_json_as_harbor_writes_it_is_read() -> None:
    deep = "[" * (wire_json.DEPTH_LIMIT - 1) + "1.5" + "]" * (wire_json.DEPTH_LIMIT - 1)

    assert wire_json.parse(b'{"a": [1, -2.5e3, "\\ud83d\\ude00", null]}') == {"a": [1, -2500.0, "\U0001f600", None]}
    assert json.dumps(wire_json.parse(deep)) == deep


@pytest.mark.parametrize("data", ["[" * 500 + "]" * 500, "[" * 100_000, "NaN", "1e999"])
def test_a_payload_of_great_depth_says_nothing(data: str) -> None:
    assert facts_of('{"type": "PUSH_ARTIFACT", "occur_at": 1, "event_data": ' + data + "}").moment is None


async def test_a_drip_of_bytes_ends() -> None:
    async with attacked(lambda _: answer(b"{}", length=1000), total_timeout=0.2) as (client, _):
        with pytest.raises(UnreachableError, match="no answer in time"):
            await client.system_info()


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data", "//attacker.example.com/", "https://user:pass@[::1]:1/", "/c/login"],
)
async def test_no_redirect_is_followed(location: str) -> None:
    async with attacked(lambda _: json_answer([], f"Location: {location}", status="307 Away")) as (client, server):
        with pytest.raises(HarborError, match="redirected"):
            await client.projects()

        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/api/v2.0/projects/7", 7),
        ("http://attacker.example.com/api/v2.0/projects/7", 7),  # only the number is used, and it is looked up
        (f"/api/v2.0/projects/{'9' * 5000}", None),
        ("/api/v2.0/projects/-7", None),
        ("/api/v2.0/projects/7;x", None),
        ("/api/v2.0/projects/\u0667".encode().decode("latin-1"), None),
        ("", None),
    ],
)
async def test_of_a_location_only_a_bounded_number_is_taken(location: str, found: int | None) -> None:
    def reply(_: str) -> list[bytes]:
        head = f"HTTP/1.1 201 Created\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        return [head.encode("latin-1")]

    async with attacked(reply) as (client, server):
        assert await client.create_project("team-a", {}) == found

        assert len(server.requests) == 1
