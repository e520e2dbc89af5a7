"""HTTP requests on the wire, and the errors without an answer. The servers are real ones on this machine."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harborhook.harbor.http import HEADERS_LIMIT, LINE_LIMIT, Client, NoAnswerError, NoAnswerInTimeError, parsed
from harborhook.harbor.proxies import Proxy
from harborhook.tls import TLSOptions
from harness.certificates import Authority, server_context
from harness.hostile import Hostile, answer, hostile

CANARY = "canary-7f3a"


def client(**options: Any) -> Client:
    options = {"tls": TLSOptions().context, "headers": {}, "connect_timeout": 5.0, "read_timeout": 5.0, **options}
    return Client(**options)


async def ask(url: str, method: str = "GET", *, http: Client | None = None, **options: Any) -> tuple[int, bytes]:
    """Sends one request and reads its whole answer."""
    async with aclosing(http or client()) as asking:
        return await asked(asking, url, method, **options)


async def asked(http: Client, url: str, method: str = "GET", **options: Any) -> tuple[int, bytes]:
    async with http.exchange(method, url, **{"headers": {}, **options}) as response:
        return response.status, b"".join([chunk async for chunk in response.chunks()])


# Requests


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a%2Fb/../%7Ec?x=%41+%20&y=%3D#part", "/a%2Fb/../%7Ec?x=%41+%20&y=%3D"),
        ("?x=1", "/?x=1"),
        ("/a b/ü", "/a%20b/%C3%BC"),
    ],
)
async def test_an_address_is_sent_as_it_was_written(path: str, sent: str) -> None:
    async with hostile(lambda _: answer(b"{}")) as server:
        assert await ask(server.url + path) == (200, b"{}")

        assert server.requests[0].partition("\r\n")[0] == f"GET {sent} HTTP/1.1"


async def test_a_host_of_other_letters_is_asked_for_in_ascii() -> None:
    assert parsed("https://bücher.example.com/a").raw_host == "xn--bcher-kva.example.com"


@pytest.mark.parametrize(
    ("headers", "sent"),
    [({}, b"user:p@ss"), ({"authorization": "Bearer stated"}, None)],
)
async def test_user_and_password_of_an_address_are_sent_unless_a_header_states_others(
    headers: dict[str, str], sent: bytes | None
) -> None:
    async with hostile(lambda _: answer(b"{}")) as server:
        await ask(server.url.replace("//", "//user:p%40ss@"), headers=headers)

        head = server.requests[0].lower()
    assert head.count("authorization:") == 1
    assert (f"basic {base64.b64encode(sent).decode()}".lower() if sent else "bearer stated") in head
    assert "@" not in head


async def test_no_header_is_sent_that_nobody_has_stated() -> None:
    async with hostile(lambda _: answer(b"{}")) as server:
        await ask(server.url, "POST", headers={"User-Agent": "us", "Accept": "a", "Accept-Encoding": "identity"})

        names = {line.partition(":")[0].lower() for line in server.requests[0].splitlines()[1:] if line}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "content-length"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_no_request_is_repeated(method: str) -> None:
    async with dropping() as server:
        with pytest.raises(NoAnswerError) as failure:
            await ask(server.url, method, content=b"{}" if method in ("PUT", "POST") else None)

    assert failure.value.broke_off
    assert str(failure.value) == "the connection was closed without an answer"
    assert len(server.requests) == 1


async def test_a_connection_is_used_again_after_an_answer_was_read_and_closed_after_one_that_was_not() -> None:
    peers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(64 * 1024):
            peers.append(writer.get_extra_info("peername"))
            writer.writelines(answer(b"x" * 300_000))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, aclosing(client()) as http:
        await asked(http, url)
        await asked(http, url)
        async with http.exchange("GET", url, headers={}):
            pass
        await asked(http, url)

    assert peers[0] == peers[1] == peers[2] != peers[3]


async def test_the_fence_is_asked_for_a_write_once_there_is_a_connection() -> None:
    class LostError(Exception):
        pass

    def lost() -> None:
        raise LostError

    async with hostile(lambda _: answer(b"")) as server, aclosing(client(fence=lost)) as http:
        for method in ("GET", "HEAD"):
            assert await asked(http, server.url, method) == (200, b"")
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            with pytest.raises(LostError):
                await asked(http, server.url, method)
        with pytest.raises(NoAnswerError):
            await asked(http, "http://127.0.0.1:9", "PUT")

    assert len(server.requests) == 2


# Answers


async def test_an_encoded_body_comes_as_it_is() -> None:
    content = gzip.compress(b"{}")
    async with hostile(lambda _: answer(content, "Content-Encoding: gzip")) as server:
        assert await ask(server.url) == (200, content)


async def test_no_cookie_is_sent_back() -> None:
    async with hostile(lambda _: answer(b"{}", "Set-Cookie: sid=x; Path=/")) as server, aclosing(client()) as http:
        named = server.url.replace("127.0.0.1", "localhost")  # for an IP address many cookie jars store nothing
        await asked(http, named)
        await asked(http, named)

        assert "cookie:" not in server.requests[1].lower()


async def test_headers_are_bounded_in_length_and_number() -> None:
    for headers in (["X: " + "a" * (LINE_LIMIT + 1)], ["X: a"] * (HEADERS_LIMIT + 1)):
        async with hostile(lambda _, more=headers: answer(b"{}", *more)) as server:  # type: ignore[misc]
            with pytest.raises(NoAnswerError, match="headers are too long or too many"):
                await ask(server.url)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "the answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"], "is incomplete|is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX-Half: " + CANARY.encode()], "closed without an answer"),
    ],
)
async def test_what_is_not_an_answer_broke_off_and_is_not_quoted(reply: list[bytes], said: str) -> None:
    async with dropping(*reply) as server:
        with pytest.raises(NoAnswerError, match=said) as failure:
            await ask(server.url)

    assert failure.value.broke_off
    assert CANARY not in str(failure.value)


async def test_an_answer_that_ends_early_broke_off() -> None:
    async with dropping(*answer(b"{}", length=10)) as server:
        with pytest.raises(NoAnswerError, match="is incomplete") as failure:
            await ask(server.url)

    assert failure.value.broke_off


@pytest.mark.parametrize("reply", [[], answer(b"{}", length=10)], ids=["no head", "half a body"])
async def test_a_server_that_says_nothing_more_is_waited_for_so_long(reply: list[bytes]) -> None:
    async with hostile(lambda _: reply) as server:
        with pytest.raises(NoAnswerInTimeError, match=r"\(ReadTimeout\)"):
            await ask(server.url, http=client(read_timeout=0.05))


async def test_a_handshake_that_does_not_end_is_waited_for_so_long() -> None:
    async with hostile(lambda _: []) as server:
        with pytest.raises(NoAnswerInTimeError, match=r"\(ConnectTimeout\)"):
            await ask(server.url.replace("http:", "https:"), http=client(connect_timeout=0.05))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", r"\[Errno 111\] Connection refused"),
        ("http://nobody.invalid", r"\[Errno -\d\] .+"),
        (f"http://[{CANARY}", "the address is not a URL|the address or a header"),
        (f"ftp://{CANARY}/", "neither http"),
        (f"http://{CANARY}-{'a' * 64}.b/", "the address or a header"),
        (f"http://{CANARY}é[]@", "the address or a header"),
    ],
)
async def test_an_address_that_cannot_be_reached_did_not_break_off(url: str, said: str) -> None:
    with pytest.raises(NoAnswerError, match=said) as failure:
        await ask(url)

    assert not failure.value.broke_off
    assert CANARY not in str(failure.value)


async def test_a_client_that_was_closed_gives_no_answer() -> None:
    """A retired client is closed a minute later, perhaps while a request still waits for its turn."""
    http = client()
    async with slow() as (url, asked_for):
        asking = asyncio.create_task(asked(http, url))
        await asked_for.wait()
        await http.aclose()
        with pytest.raises(NoAnswerError):
            await asking
        with pytest.raises(NoAnswerError, match="closed") as failure:
            await asked(http, url)

    assert not failure.value.broke_off


@asynccontextmanager
async def slow() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that never answers; yields its URL, and what is set at the first request."""
    asked_for = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(64 * 1024):
            asked_for.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked_for


async def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    async with hostile(lambda _: answer(b"{}")) as server:
        with pytest.raises(NoAnswerError) as failure:
            await ask(server.url, headers={"X": f"{CANARY}\r\nHost: other"})

    assert CANARY not in str(failure.value)
    assert server.requests == []


# Proxies


@pytest.mark.parametrize("behind", ["http", "https"])
async def test_a_proxy_reached_by_tls_is_verified_though_the_server_behind_it_is_not(
    tmp_path: Path, behind: str
) -> None:
    """The proxy gets its own password and, in the tunnel, Harbor's."""
    authority = Authority()
    served = server_context(tmp_path, *authority.issue("localhost"))
    for trusted in (authority, Authority()):
        async with tls_proxy(served) as (port, heads):
            proxy = Proxy(f"https://localhost:{port}", "Basic secret", TLSOptions(ca=trusted.bundle.encode()).context)
            http = client(tls=TLSOptions(skip_verify=True).context, proxy=proxy)
            if trusted is not authority:
                with pytest.raises(NoAnswerError, match="certificate verify failed"):
                    await ask(f"{behind}://harbor.example.com/", http=http)
                assert heads == []
            elif behind == "http":
                assert (await ask(f"{behind}://harbor.example.com/", http=http))[0] == 403
            else:
                with pytest.raises(NoAnswerError, match="the proxy answered 403 Forbidden"):
                    await ask(f"{behind}://harbor.example.com/", http=http)

        if trusted is authority:
            assert "proxy-authorization: basic secret\r\n" in heads[0].lower()


async def test_a_proxy_that_refuses_is_said_with_its_status() -> None:
    async with hostile(lambda _: answer(b"", status="407 Proxy Authentication Required")) as server:
        http = client(proxy=Proxy(server.url))
        with pytest.raises(NoAnswerError, match="the proxy answered 407 Proxy Authentication Required"):
            await ask("https://harbor.example.com/", http=http)

        assert server.requests[0].startswith("CONNECT harbor.example.com:443 ")


async def test_a_proxy_that_is_away_is_said_to_be_the_proxy() -> None:
    with pytest.raises(NoAnswerError, match=r"the proxy: \[Errno 111\] Connection refused"):
        await ask("http://harbor.example.com/", http=client(proxy=Proxy("http://127.0.0.1:9")))


@asynccontextmanager
async def dropping(*reply: bytes) -> AsyncIterator[Hostile]:
    """A server that answers each request with these bytes and closes the connection."""

    def once(_: str) -> Any:
        yield from reply
        raise ConnectionError

    async with hostile(once) as server:
        yield server


@asynccontextmanager
async def tls_proxy(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[str]]]:
    """A TLS proxy that refuses everything; yields its port and the requests to it."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.writelines(answer(b"", status="403 Forbidden"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], heads
