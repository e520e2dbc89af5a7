"""Sends to a receiver of notifications in Harbor's place. What may be sent where is decided by the callers.

The operator's own trust and way out of the cluster apply: the system's authorities and the connection's, and the proxy
that the environment names. What is Harbor's alone (its client certificate, gateway headers, serverName) is never used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

from harborhook import __version__
from harborhook.foreign_text import clip
from harborhook.harbor.http import Client, Fence, NoAnswerError, NoAnswerInTimeError, Response, parsed
from harborhook.harbor.proxies import UnusableProxyError, proxy_for
from harborhook.plan.failures import masked, secrets_of
from harborhook.tls import Failure, TLSOptions, UnusableAuthoritiesError, failure_of

TIMEOUT = 10.0
"""Seconds for everything."""
ANSWER_PATIENCE = 1.0
"""Seconds that the body of an answer is read for, so that an orderly receiver sees it taken."""
ANSWER_LIMIT = 64 * 1024
"""Bytes of it that are read."""
MESSAGE_LIMIT = 200
LOOKUPS = 128
"""Names of receivers that are looked up at the same time: the targets of all policies that one namespace can have
tested by the default number of senders, and room for the others."""

_LOOKUPS = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="receiver-lookup")
"""Apart from asyncio's own threads, of which there are few, and which look up the API server and Harbor: a name whose
server never answers holds a thread, even after the sender has stopped waiting."""

_FAILURES = (NoAnswerError, OSError, ValueError)
"""The second for a name that means nothing, the third for an address that is not a URL."""

_TRUST = "Trusted are the system's authorities and those in the connection's tls.caBundleRef; Harbor has its own list."
_NO_CLIENT_CERTIFICATE = "Neither the operator nor Harbor can show a receiver one."
ADVICE = {
    Failure.UNKNOWN_AUTHORITY: _TRUST,
    Failure.SELF_SIGNED: _TRUST,
    Failure.EXPIRED: "It has to be renewed.",
    Failure.NOT_YET_VALID: "Compare the clock of the operator's node with that of the machine that issued it.",
    Failure.OTHER_NAME: "Let the address have a host that it is for.",
    Failure.UNACCEPTABLE: "It has to be issued again.",
    Failure.NOT_TLS: "Check the port; the address of a receiver without TLS begins with http://.",
    Failure.OLD_PROTOCOL: "Let it offer TLS 1.2 or 1.3.",
    Failure.HANDSHAKE_REFUSED: "Either they have no cipher in common, or it requires a client certificate.",
    Failure.CLIENT_CERTIFICATE_REQUIRED: _NO_CLIENT_CERTIFICATE,
    Failure.CLIENT_CERTIFICATE_REFUSED: _NO_CLIENT_CERTIFICATE,
    Failure.UNKNOWN_SERVER_NAME: "Check the host in the address.",
    Failure.BROKEN_OFF: "Check the port in the address.",
    Failure.OTHER: "Check the port in the address.",
}


LOCAL = (
    "Its host is in the loopback or link-local range of the operator, where nothing is sent unless the connection's "
    "allowedTargetHosts name that very host."
)

_Address = IPv4Address | IPv6Address


class NotSentError(Exception):
    """There was no answer; `str()` is a sentence that shows nothing of address, headers and content but the host."""


async def send(
    address: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    verify: bool = True,
    ca: bytes | None = None,
    may_be_local: bool = False,
    fence: Fence | None = None,
) -> int:
    """POSTs `content` once and returns the HTTP status of the answer, whatever it is; no redirect is followed.

    `verify`: whether the receiver's certificate is; `ca`: authorities that are trusted besides the system's;
    `may_be_local`: whether it may be on the loopback or in the link-local range of the operator; `fence`: is called
    right before something is sent, and what it raises is raised. Raises NotSentError, which does not prove that the
    receiver has not got it.
    """
    deadline = asyncio.get_running_loop().time() + TIMEOUT
    tls = TLSOptions()
    try:
        tls = _tls(ca, verify)
        proxy = proxy_for(address, ca)
        async with asyncio.timeout_at(deadline):
            place = await _checked(address, through_proxy=proxy is not None, may_be_local=may_be_local)
        client = Client(
            tls=tls.context,
            proxy=proxy,
            connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT,
            headers={"User-Agent": f"harborhook/{__version__}"},
            fence=fence,
        )
        async with aclosing(client), AsyncExitStack() as stack:
            async with asyncio.timeout_at(deadline):
                answer = await stack.enter_async_context(
                    client.exchange(
                        "POST",
                        place.url,
                        headers={**headers, **place.headers},
                        content=content,
                        server_name=place.server_name,
                    )
                )
            await _take(answer, deadline)
            return answer.status
    except UnusableAuthoritiesError as error:
        raise NotSentError(f"The connection's tls.caBundleRef {error}.") from None
    except (TimeoutError, NoAnswerInTimeError):
        raise NotSentError(f"There was no answer within {TIMEOUT:.0f} seconds.") from None
    except _FAILURES as error:
        raise NotSentError(_sentence(error, tls, secrets_of([address], headers.values()))) from None


@dataclass(frozen=True)
class _Place:
    """Where to connect: to an address that was checked, not to a name that can mean another one a moment later."""

    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    server_name: str | None = None


async def _checked(address: str, *, through_proxy: bool, may_be_local: bool) -> _Place:
    """Raises NotSentError for a host that is the operator's own machine or on its link, unless that is permitted. A
    proxy looks names up itself; what it may reach is its administrator's business."""
    url = parsed(address)
    host = url.raw_host or ""
    if may_be_local or (through_proxy and not _is_literal(host)):
        return _Place(url)
    found = await _looked_up(host, url.port)
    if any(_is_local(one) for one in found):
        raise NotSentError(LOCAL)
    if through_proxy or _is_literal(host):
        return _Place(url)
    return _Place(url.with_host(str(found[0])), {"Host": url.host_port_subcomponent or ""}, host)


async def _looked_up(host: str, port: int | None) -> list[_Address]:
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    rows = await asyncio.get_running_loop().run_in_executor(_LOOKUPS, look_up)
    return [ip_address(str(row[4][0]).partition("%")[0]) for row in rows]


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(one: _Address) -> bool:
    mapped = one.ipv4_mapped if isinstance(one, IPv6Address) else None
    plain = mapped or one
    return plain.is_loopback or plain.is_link_local or plain.is_unspecified or plain.is_multicast


async def _take(answer: Response, deadline: float) -> None:
    """Reads an answer of moderate length; one that goes on for ever is cut off."""
    until = min(deadline, asyncio.get_running_loop().time() + ANSWER_PATIENCE)
    taken = 0
    try:
        async with asyncio.timeout_at(until):
            async for chunk in answer.chunks():
                taken += len(chunk)
                if taken > ANSWER_LIMIT:
                    break
    except (TimeoutError, *_FAILURES):
        pass  # the status has come


@lru_cache(maxsize=16)
def _tls(ca: bytes | None, verify: bool) -> TLSOptions:
    """Kept, because making a context takes 25 ms."""
    return TLSOptions(ca=ca, skip_verify=not verify)


def _sentence(error: BaseException, tls: TLSOptions, secrets: Iterable[str]) -> str:
    if isinstance(error, UnusableProxyError):
        return f"It cannot be reached: {error}."
    failure = failure_of(error, tls)
    if failure is None:
        said = clip(masked(str(error), secrets), MESSAGE_LIMIT) or type(error).__name__
        return f"It cannot be reached: {said}"
    what = "Its certificate is not trusted" if failure.is_of_certificate else "It cannot be reached"
    return f"{what}: {failure.value}. {ADVICE[failure]}"
