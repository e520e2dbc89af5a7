"""Requests to receivers: sent once, complete, to that address only, and within the time limit."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from harborhook.reconcile import sender
from harborhook.reconcile.sender import NotSentError
from harborhook.runtime.leader import LeadershipLostError
from harness.certificates import Authority
from harness.front import Front, Tunnel
from harness.receiver import Receiver

CANARY = "canary-7f3a"
send = partial(sender.send, may_be_local=True)
"""The receivers of these tests are on this machine."""
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {CANARY}"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.delenv(spelt, raising=False)
    return monkeypatch


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@contextmanager
def streaming(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    """Runs a receiver that sends the first part, and then the others without end; yields its address."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            try:
                self.wfile.write(parts[0])
                while parts[1:]:
                    for part in parts[1:]:
                        self.wfile.write(part)
                        time.sleep(pause)
            except OSError:
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{CANARY}"
        server.shutdown()


STATUS = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_what_is_sent_arrives_byte_for_byte_with_its_headers(receiver: Receiver) -> None:
    content = b'{ "b":1,\n "a":"\xc3\xbc" }'
    assert await send(f"{receiver.url}/ok?x=a%20b", content=content, headers=HEADERS) == 200
    (got,) = receiver.received()
    assert (got.method, got.path, got.query, got.body) == ("POST", "/ok", "x=a%20b", content)
    assert got.headers["authorization"] == HEADERS["Authorization"]
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("harborhook/")


@pytest.mark.parametrize(("path", "status"), [("status/204", 204), ("status/500", 500), ("redirect/307/ok", 307)])
async def test_any_status_is_an_answer_and_no_redirect_is_followed(receiver: Receiver, path: str, status: int) -> None:
    assert await send(f"{receiver.url}/{path}", content=b"{}", headers={}) == status
    assert len(receiver.received()) == 1


async def test_nothing_is_sent_by_a_process_that_has_lost_leadership(receiver: Receiver) -> None:
    def lost() -> None:
        raise LeadershipLostError("the lease is not held any more")

    with pytest.raises(LeadershipLostError):
        await send(f"{receiver.url}/ok", content=b"{}", headers={}, fence=lost)
    assert receiver.received() == []


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_an_answer_that_never_ends_holds_nobody(pause: float) -> None:
    with streaming(STATUS, b"2\r\nok\r\n", pause=pause) as address:
        async with asyncio.timeout(12 * sender.ANSWER_PATIENCE):
            assert await send(address, content=b"{}", headers={}) == 202


@pytest.mark.parametrize("parts", [(b"",), (b"HTTP/1.1 200 OK\r\nX-", b"a")], ids=["silence", "a header without end"])
async def test_a_receiver_has_so_many_seconds_in_all(environment: pytest.MonkeyPatch, parts: tuple[bytes, ...]) -> None:
    environment.setattr(sender, "TIMEOUT", 0.5)
    with (
        streaming(*(parts if len(parts) > 1 else (*parts, b"")), pause=0.1) as address,
        pytest.raises(NotSentError) as e,
    ):
        await send(address, content=b"{}", headers={})
    assert str(e.value) == "There was no answer within 0 seconds."


@pytest.mark.parametrize(
    "address",
    [
        f"http://127.0.0.1:9/{CANARY}",
        f"http://u:{CANARY}@127.0.0.1:9/",
        f"http://{CANARY}-{'a' * 64}.b/",
        f"http://a..b/{CANARY}",
        f"http://127.0.0.1:99999/{CANARY}",
        f"http://[x/{CANARY}",
        f"ftp://127.0.0.1/{CANARY}",
    ],
)
async def test_what_cannot_be_sent_is_one_sentence_without_secrets(address: str) -> None:
    with pytest.raises(NotSentError, match=r"^It cannot be reached: .+") as refusal:
        await send(address, content=CANARY.encode(), headers=HEADERS)
    assert f"/{CANARY}" not in str(refusal.value)
    assert f":{CANARY}" not in str(refusal.value)
    assert refusal.value.__cause__ is None


async def test_a_header_that_cannot_be_sent_is_not_shown(receiver: Receiver) -> None:
    with pytest.raises(NotSentError) as refusal:
        await send(receiver.url, content=b"{}", headers={"Authorization": f" Bearer {CANARY}\n"})
    assert CANARY not in str(refusal.value)


async def test_a_dropped_connection_is_not_tried_again(receiver: Receiver) -> None:
    with pytest.raises(NotSentError):
        await send(f"{receiver.url}/close/now", content=b"{}", headers={})
    assert len(receiver.received()) == 1


# The way out of the cluster


async def test_the_proxy_of_the_environment_is_used_except_for_those_in_no_proxy(
    environment: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    with Front() as proxy:
        environment.setenv("HTTP_PROXY", proxy.url)
        environment.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.0/8")
        assert await send("http://ci.example.com/hook", content=b"{}", headers=HEADERS) == 200
        assert [request["host"] for request in proxy.requests] == ["ci.example.com"]
        assert await send(f"{receiver.url}/ok", content=b"{}", headers=HEADERS) == 200
    assert len(receiver.received()) == 1


async def test_through_a_proxy_certificates_are_verified_all_the_same(environment: pytest.MonkeyPatch) -> None:
    with Receiver(tls=True, names=("ci.example.com",)) as secured, Tunnel() as proxy:
        environment.setenv("HTTPS_PROXY", proxy.url)
        address = f"https://ci.example.com:{secured.port}/ok"
        assert secured.certificate is not None
        assert await send(address, content=b"{}", headers={}, ca=secured.certificate.read_bytes()) == 200
        with pytest.raises(NotSentError, match="no trusted authority issued it"):
            await send(address, content=b"{}", headers={}, ca=Authority().bundle.encode())
    assert proxy.asked == [f"ci.example.com:{secured.port}"] * 2


@pytest.mark.parametrize("stated", [f"socks5://u:{CANARY}@127.0.0.1:1080", f"http://x:{CANARY}"])
async def test_a_proxy_that_cannot_be_used_is_said_without_its_password(
    environment: pytest.MonkeyPatch, stated: str
) -> None:
    environment.setenv("ALL_PROXY", stated)
    with pytest.raises(NotSentError, match="NO_PROXY") as refusal:
        await send(f"https://ci.example.com/{CANARY}", content=b"{}", headers={})
    assert CANARY not in str(refusal.value)


async def test_a_bundle_that_cannot_be_used_is_the_connections_fault() -> None:
    with pytest.raises(NotSentError, match=r"The connection's tls\.caBundleRef holds no certificates"):
        await send("https://ci.example.com", content=b"{}", headers={}, ca=b"nonsense")


def test_the_context_for_one_bundle_is_made_once() -> None:
    first: Any = sender._tls(b"a", True)
    assert sender._tls(b"a", True) is first


# Refused addresses


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "LOCALHOST", "localhost.", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::]", "169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"),
    ],
)
async def test_the_operators_own_machine_and_link_are_out_of_reach_unless_named(receiver: Receiver, host: str) -> None:
    port = receiver.port
    with pytest.raises(NotSentError) as refused:
        await sender.send(f"http://{host}:{port}/{CANARY}", content=b"{}", headers=HEADERS)
    assert receiver.received() == []
    assert CANARY not in str(refused.value)


async def test_a_name_that_means_this_machine_is_refused_and_one_that_changes_meanwhile_is_not_followed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def lookup(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    address = f"http://rebound.example.com:{receiver.port}/ok"
    with pytest.raises(NotSentError, match="loopback or link-local range"):
        await sender.send(address, content=b"{}", headers=HEADERS)
    monkeypatch.setattr(sender, "_is_local", lambda _: False)
    asked.clear()
    assert await sender.send(address, content=b"{}", headers=HEADERS) == 200
    assert "rebound.example.com" not in asked[1:], "the connection goes to the address that was checked"
    assert receiver.received()[0].headers["host"] == f"rebound.example.com:{receiver.port}"


async def test_a_name_server_that_never_answers_leaves_the_operator_its_own_lookups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenant's name server that never answers: asyncio's own threads would all wait for it."""
    hostile, answered = 40, threading.Event()
    asked = threading.Semaphore(0)
    real = socket.getaddrinfo

    def lookup(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "silent.example.com":
            return real(host, *arguments, **options)
        asked.release()
        answered.wait()
        raise socket.gaierror("no answer")

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    waiting = [
        asyncio.create_task(sender.send("http://silent.example.com", content=b"{}", headers={})) for _ in range(hostile)
    ]
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(asked.acquire)
            assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 443)
    finally:
        answered.set()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {NotSentError}


async def test_a_certificate_is_verified_for_the_name_though_the_connection_goes_to_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "_is_local", lambda _: False)
    with Receiver(tls=True) as secured:
        assert secured.certificate is not None
        ca = secured.certificate.read_bytes()
        assert await sender.send(f"https://localhost:{secured.port}/ok", content=b"{}", headers=HEADERS, ca=ca) == 200


async def test_a_header_of_the_policy_goes_before_user_and_password_in_its_address_as_in_harbor(
    receiver: Receiver,
) -> None:
    """Go's client, which Harbor uses, turns them into a header unless there is one already."""
    address = f"http://someone:{CANARY}@127.0.0.1:{receiver.port}/ok"
    await send(address, content=b"{}", headers=HEADERS)
    await send(address, content=b"{}", headers={})
    with_header, without = receiver.received()
    assert with_header.authorization == HEADERS["Authorization"]
    assert (without.authorization or "").startswith("Basic ")
