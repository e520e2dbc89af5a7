"""HTTP to Harbor and to receivers, over aiohttp connections, which kopf and the Kubernetes client use too.

Called by transport.py, login.py and reconcile/sender.py. A request contains only what the caller states: the client
follows no redirects, keeps no cookies, decompresses no answers, retries nothing, and reads no environment variables. A
failure becomes one of two errors, with a clause that quotes neither the request nor the answer.

Plain aiohttp is used because an operator makes many short requests. At 8 concurrent requests, one took 0.2 ms of CPU,
against 1.1 ms with httpx and 0.6 ms with httpx over aiohttp's connections; at 32 concurrent requests 0.2, 2.1 and 0.6
ms (Python 3.11).
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from harborhook.harbor.proxies import Proxy
from harborhook.headers import basic

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

SAFE_METHODS = frozenset({"GET", "HEAD"})
KEPT_ALIVE = 5.0
"""Seconds that an idle connection is kept. Servers wait longer, so a server rarely closes one just as a request is
sent."""
LINE_LIMIT = 16 * 1024
HEADERS_LIMIT = 1024
"""Maximum bytes of one header of an answer, and maximum number of headers: 16 MiB in total."""
WHOLE_CONNECT = 2
"""Multiple of the connect timeout that name resolution, connection, proxy tunnel and handshakes may take together."""
_AS_WRITTEN = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
"""The characters that a URL may contain; all others have to be escaped before it is sent."""

Headers = CIMultiDictProxy[str]
"""Headers of an answer. If a name occurs several times, `get` returns the first value and `getall` returns all."""

Fence = Callable[[], None]
"""Called right before a request that could change the server is sent; an exception from it prevents the request."""


class NoAnswerError(Exception):
    """The server sent no answer, or only a part of one; `str()` is a clause. `broke_off`: the connection was
    established, and the other side ended it before the end of the answer. `__cause__` is the TLS failure, if there was
    one."""

    def __init__(self, message: str, *, broke_off: bool = False) -> None:
        self.broke_off = broke_off
        super().__init__(message)


class NoAnswerInTimeError(NoAnswerError):
    """No answer within the timeout. The phase is ConnectTimeout before the request was sent, and ReadTimeout after
    it."""

    def __init__(self, phase: str) -> None:
        super().__init__(f"no answer in time ({phase})")


class Response:
    """An answer whose body may not have been received yet."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers: Headers = answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it arrives, still encoded. Raises NoAnswerError."""
        with _explained():
            async for chunk in self._answer.content.iter_any():
                yield chunk


class Client:
    """Sends requests to one server, or to receivers, and reuses connections. Must be created inside a running event
    loop."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext,
        headers: Mapping[str, str],
        connect_timeout: float,
        read_timeout: float,
        proxy: Proxy | None = None,
        fence: Fence | None = None,
    ) -> None:
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=_Connector(tls, proxy, fence),
            headers=headers,
            skip_auto_headers=("Content-Type",),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_once,),
            max_line_size=LINE_LIMIT,
            max_field_size=LINE_LIMIT,
            max_headers=HEADERS_LIMIT,
            timeout=aiohttp.ClientTimeout(
                connect=WHOLE_CONNECT * connect_timeout, sock_connect=connect_timeout, sock_read=read_timeout
            ),
        )

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: str | URL,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        server_name: str | None = None,
    ) -> AsyncIterator[Response]:
        """Sends one request and yields its answer. `server_name` is the name that the certificate must be valid for, if
        it differs from the host of the URL. Raises NoAnswerError, also after `aclose`, and the fence's exceptions.
        Closes the connection unless the body was read to its end."""
        if self._session.closed:
            raise NoAnswerError("this client was closed, since its url or credentials have changed")
        with _explained():
            address, own = _with_credentials(url if isinstance(url, URL) else parsed(url), headers)
            proxy, own, to_proxy = self._through(address, own)
            answer = await self._session.request(
                method,
                address,
                headers=own,
                data=content,
                allow_redirects=False,
                server_hostname=server_name,
                proxy=proxy,
                proxy_headers=to_proxy,
            )
        try:
            yield Response(answer)
        finally:
            if answer.content.at_eof():
                answer.release()
            else:
                answer.close()

    def _through(
        self, address: URL, headers: Mapping[str, str]
    ) -> tuple[str | None, Mapping[str, str], Mapping[str, str] | None]:
        """Returns the proxy's URL, the headers of the request, and the headers for the proxy alone. Over plain HTTP the
        proxy reads the request itself, so the request carries the proxy's headers."""
        if self._proxy is None:
            return None, headers, None
        own = {"Proxy-Authorization": self._proxy.authorization} if self._proxy.authorization else {}
        if address.scheme == "https":
            return self._proxy.url, headers, own
        return self._proxy.url, {**headers, **own}, None

    async def aclose(self) -> None:
        await self._session.close()


def parsed(url: str) -> URL:
    """Parses a URL so that it is sent byte for byte as written, if its characters allow that. Raises ValueError."""
    try:
        return URL(url, encoded=_AS_WRITTEN.fullmatch(url) is not None)
    except IndexError:  # from yarl 1.25, for brackets without a host, such as http://é[]@
        raise ValueError("the URL has no host") from None


def _with_credentials(address: URL, headers: Mapping[str, str]) -> tuple[URL, Mapping[str, str]]:
    """Turns a user and password in the address into a header, unless the caller states one. Go's client, and thus
    Harbor, does the same."""
    if address.raw_user is None and address.raw_password is None:
        return address, headers
    stated = any(name.lower() == "authorization" for name in headers)
    user, password = unquote(address.raw_user or ""), unquote(address.raw_password or "")
    whole = headers if stated else {**headers, "Authorization": basic(user, password)}
    return address.with_user(None), whole


class _Connector(aiohttp.TCPConnector):
    """Calls the fence once a request has its connection: if the process is suspended, minutes can pass before that. A
    TLS proxy is verified with its own context, not with that of the server behind it."""

    def __init__(self, tls: ssl.SSLContext, proxy: Proxy | None, fence: Fence | None) -> None:
        super().__init__(
            ssl=tls,
            limit=0,  # the limiters bound their number
            keepalive_timeout=KEPT_ALIVE,
            use_dns_cache=False,  # finds a Harbor that moves at once
            resolver=aiohttp.ThreadedResolver(),  # aiohttp would use another one if some package is installed
        )
        self._own_proxy = proxy
        self._fence = fence

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if self._fence is not None and req.method not in SAFE_METHODS:
            try:
                self._fence()
            except BaseException:
                connection.close()
                raise
        return connection

    def _get_ssl_context(self, req: ClientRequest) -> ssl.SSLContext | None:
        proxy = self._own_proxy
        if proxy is not None and req.proxy is None and req.is_ssl():  # the request to the proxy itself
            return proxy.ssl_context
        return super()._get_ssl_context(req)


async def _once(request: ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Disables the retries of aiohttp, which repeats each PUT and DELETE that broke off: the callers decide about
    retries."""
    with _explained():
        return await send(request)


# Failures

_FAILURES = (aiohttp.ClientError, OSError, ValueError)
"""ValueError comes from addresses and headers that cannot be sent."""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise _no_answer(error) from _cause(error)


def _no_answer(error: Exception) -> NoAnswerError:
    for kind, phase in _PHASES.items():
        if isinstance(error, kind):
            return NoAnswerInTimeError(phase)
    for kind, words, broke_off in _KINDS:
        if isinstance(error, kind):
            return NoAnswerError(words(error), broke_off=broke_off and not isinstance(error.__cause__, ssl.SSLError))
    raise AssertionError("the last of them is any failure") from error


def _cause(error: Exception) -> BaseException:
    """Returns the error to chain: aiohttp's own TLS errors are ssl errors too, but lack the details of their cause."""
    own = isinstance(error, aiohttp.ClientSSLError)
    return error.__cause__ if own and error.__cause__ is not None else error


def _of_system(error: Exception) -> str:
    """Returns the system's message, without the address that Python adds."""
    stated = getattr(error, "os_error", error)
    number = getattr(stated, "errno", None)
    if number and not isinstance(stated, socket.gaierror | ssl.SSLError):
        return f"[Errno {number}] {os.strerror(number)}"
    return str(stated) or type(stated).__name__


def _of_proxy(error: Exception) -> str:
    return f"the proxy answered {getattr(error, 'status', 0)} {getattr(error, 'message', '')}".rstrip()


_PHASES: dict[type[Exception], str] = {
    aiohttp.ConnectionTimeoutError: "ConnectTimeout",
    aiohttp.ServerTimeoutError: "ReadTimeout",
    TimeoutError: "TimeoutError",
}
_KINDS: tuple[tuple[type[Exception], Callable[[Exception], str], bool], ...] = (
    (aiohttp.ClientProxyConnectionError, lambda error: f"the proxy: {_of_system(error)}", False),
    (aiohttp.ClientConnectorError, _of_system, False),
    (aiohttp.ClientHttpProxyError, _of_proxy, False),
    (aiohttp.InvalidURL, lambda _: "the address is not a URL", False),
    (aiohttp.NonHttpUrlClientError, lambda _: "the address begins with neither http:// nor https://", False),
    (aiohttp.ServerDisconnectedError, lambda _: "the connection was closed without an answer", True),
    (aiohttp.ClientPayloadError, lambda _: "the answer is incomplete", True),
    (aiohttp.ClientResponseError, lambda _: "the answer is not HTTP, or its headers are too long or too many", True),
    (aiohttp.ClientConnectionError, _of_system, True),
    (OSError, _of_system, True),
    (Exception, lambda _: "the address or a header contains characters that cannot be sent", False),
)
"""By kind of error: the clause, and whether the connection broke off. The first match counts."""
