"""The transport, as far as it can be tested without a Harbor."""

from __future__ import annotations

import asyncio
import base64

import pytest

from harborhook.harbor.errors import InvalidError, NotHarborError, ThrottledError, UnreachableError
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.transport import THROTTLED_LIMIT, Credentials, Transport, _body
from harness.hostile import answer, hostile, json_answer


@pytest.mark.parametrize(
    "url",
    ["https://harbor:port", "https://a..example.com", "https://[x", f"https://{'a' * 64}.b", "http://127.0.0.1:99999"],
)
async def test_an_address_that_nobody_can_have_is_unreachable(url: str) -> None:
    transport = Transport(url, Credentials("user", "password"))

    with pytest.raises(UnreachableError):
        await transport.request("GET", "/systeminfo", endpoint="/systeminfo")
    with pytest.raises(UnreachableError):
        await transport.log_in()

    await transport.close()


async def test_a_pause_that_one_connection_is_asked_for_does_not_stop_others_of_the_host() -> None:
    shared = Limiter(1, 1000)
    answers = iter([answer(b"", "Retry-After: 30", status="429 Slow down")])
    async with hostile(lambda _: next(answers, None) or json_answer({})) as server:
        throttled, other = (Transport(server.url, Credentials("robot", "secret"), limiters=(shared,)) for _ in range(2))
        waiting = asyncio.create_task(throttled.request("GET", "/systeminfo", endpoint="/systeminfo"))
        while not throttled.window.pause.rest:
            await asyncio.sleep(0.01)

        async with asyncio.timeout(10):
            assert (await other.request("GET", "/systeminfo", endpoint="/systeminfo")).status == 200
        assert not waiting.done()

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.gather(throttled.close(), other.close())


@pytest.mark.parametrize("wait", ["86400", "1e300", "inf"])
async def test_an_absurd_retry_after_does_not_stop_all_for_longer_than_a_minute(wait: str) -> None:
    reply = answer(b"", f"Retry-After: {wait}", status="429 Slow down")
    async with hostile(lambda _: reply) as server:
        transport = Transport(server.url, Credentials("robot", "secret"))

        with pytest.raises(ThrottledError):
            await transport.request("GET", "/systeminfo", endpoint="/systeminfo")

        assert 0 < transport.window.pause.rest <= THROTTLED_LIMIT
        await transport.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("status", ["000 Nothing", "101 Switching Protocols"])
async def test_a_status_that_is_no_answer_is_not_taken_for_success(method: str, status: str) -> None:
    async with hostile(lambda _: answer(b"", status=status)) as server:
        transport = Transport(server.url, Credentials("robot", "secret"))

        with pytest.raises(NotHarborError, match=f"with status {int(status[:3])}: check"):
            await transport.request(method, "/systeminfo", endpoint="/systeminfo")

        await transport.close()


async def test_a_request_that_outlives_its_client_has_no_answer() -> None:
    """A new client replaces one whose credentials have changed. It is closed a minute later."""
    begun = asyncio.Event()

    def silent(_: str) -> list[bytes]:
        begun.set()
        return []

    async with hostile(silent) as server:
        transport = Transport(server.url, Credentials("robot", "secret"))
        asking = asyncio.create_task(transport.request("GET", "/systeminfo", endpoint="/systeminfo"))
        await begun.wait()
        await transport.close()

        with pytest.raises(UnreachableError, match="this client was closed"):
            await asking
        with pytest.raises(UnreachableError, match="this client was closed"):
            await transport.request("POST", "/projects", endpoint="/projects", body={})


async def test_a_login_that_never_ends_is_given_up() -> None:
    async with hostile(lambda _: answer(b"{}", length=1000)) as server:
        transport = Transport(server.url, Credentials("user", "password"), total_timeout=0.05)

        with pytest.raises(UnreachableError, match="no answer in time"):
            await transport.log_in()

        await transport.close()


async def test_an_error_that_quotes_the_request_shows_neither_password_nor_basic_token() -> None:
    basic = base64.b64encode(b"robot:c4nary-password").decode()
    said = f"blocked: Basic {basic} c4nary-password"
    reply = json_answer({"errors": [{"code": basic, "message": said}]}, status="400 Bad Request")
    async with hostile(lambda _: reply) as server:
        transport = Transport(server.url, Credentials("robot", "c4nary-password"))

        with pytest.raises(InvalidError) as refused:
            await transport.request("GET", "/systeminfo", endpoint="/systeminfo")

        await transport.close()

    assert refused.value.message == "blocked: Basic *** ***"
    assert refused.value.code == "***"


@pytest.mark.parametrize("content", [rb'"\ud83d\ude00"', rb'"\\ud800"', '"\U0001f600"'.encode()])
def test_characters_of_two_halves_are_read(content: bytes) -> None:
    found = _body("application/json", content, "GET /projects")
    assert found.encode().decode() == found


@pytest.mark.parametrize("content", [rb'"\ud83d"', rb'{"a": [{"\uDE00": 1}]}', b"[" * 100_000 + rb'"\ud83d"'])
def test_half_a_character_is_broken_json(content: bytes) -> None:
    with pytest.raises(NotHarborError):
        _body("application/json", content, "GET /projects")
