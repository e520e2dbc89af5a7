"""Sends requests to a receiver of notifications in Harbor's place. The callers decide which content may go where.

It uses the operator's own trust and egress: the system's and the connection's certificate authorities, and the proxy
from the environment. It never uses settings that are meant for Harbor alone (client certificate, gateway headers,
serverName).
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
"""Seconds for the whole exchange."""
ANSWER_PATIENCE = 1.0
"""Seconds to read the body of an answer, so that a regular receiver sees its answer accepted."""
ANSWER_LIMIT = 64 * 1024
"""Maximum bytes read of the body."""
MESSAGE_LIMIT = 200
LOOKUPS = 128
"""Concurrent name lookups of receivers: enough for the targets of all policies of one namespace that the default number
of senders tests at the same time, and some for others."""

_LOOKUPS = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="receiver-lookup")
"""Separate from asyncio's few threads, which look up the API server and Harbor: a name whose server never answers
occupies a thread, even after the sender has stopped waiting."""

_FAILURES = (NoAnswerError, OSError, ValueError)
"""OSError for a name without an address, ValueError for an address that is not a URL."""

_TRUST = "The operator trusts the system's authorities and the connection's tls.caBundleRef; Harbor has its own list."
_NO_CLIENT_CERTIFICATE = "Neither the operator nor Harbor can present one to a receiver."
ADVICE = {
    Failure.UNKNOWN_AUTHORITY: _TRUST,
    Failure.SELF_SIGNED: _TRUST,
    Failure.EXPIRED: "Renew it.",
    Failure.NOT_YET_VALID: "Compare the clock of the operator's node with that of the machine that issued it.",
    Failure.OTHER_NAME: "Use an address whose host it is valid for.",
    Failure.UNACCEPTABLE: "Issue it again.",
    Failure.NOT_TLS: "Check the port; the address of a receiver without TLS begins with http://.",
    Failure.OLD_PROTOCOL: "Enable TLS 1.2 or 1.3 on the receiver.",
    Failure.HANDSHAKE_REFUSED: "Either they have no cipher in common, or it requires a client certificate.",
    Failure.CLIENT_CERTIFICATE_REQUIRED: _NO_CLIENT_CERTIFICATE,
    Failure.CLIENT_CERTIFICATE_REFUSED: _NO_CLIENT_CERTIFICATE,
    Failure.UNKNOWN_SERVER_NAME: "Check the host in the address.",
    Failure.BROKEN_OFF: "Check the port in the address.",
    Failure.OTHER: "Check the port in the address.",
}


LOCAL = (
    "Its host is in the operator's loopback or link-local range, and the connection's allowedTargetHosts does not "
    "list exactly this host."
)

_Address = IPv4Address | IPv6Address


class NotSentError(Exception):
    """There was no answer; `str()` is a sentence that contains no part of address, headers and content except the
    host."""


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
    """POSTs `content` once and returns the HTTP status of the answer, including error statuses; redirects are not
    followed.

    `verify`: whether to verify the receiver's certificate; `ca`: authorities trusted in addition to the system's;
    `may_be_local`: whether the receiver may be on the operator's loopback or link-local range; `fence`: called right
    before sending, and its exceptions are raised. Raises NotSentError, which does not prove that the receiver got
    nothing.
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
    """The place to connect to: a checked address instead of a name, which could resolve to another address a moment
    later."""

    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    server_name: str | None = None


async def _checked(address: str, *, through_proxy: bool, may_be_local: bool) -> _Place:
    """Raises NotSentError for a host that is the operator's own machine or on its link, unless that is permitted. A
    proxy resolves names itself; its administrator decides which hosts it may reach."""
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
    """Reads an answer of moderate length, and stops reading an endless one."""
    until = min(deadline, asyncio.get_running_loop().time() + ANSWER_PATIENCE)
    taken = 0
    try:
        async with asyncio.timeout_at(until):
            async for chunk in answer.chunks():
                taken += len(chunk)
                if taken > ANSWER_LIMIT:
                    break
    except (TimeoutError, *_FAILURES):
        pass  # the status was received


@lru_cache(maxsize=16)
def _tls(ca: bytes | None, verify: bool) -> TLSOptions:
    """Cached, because creating a context takes 25 ms."""
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
