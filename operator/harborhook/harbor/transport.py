"""One exchange with Harbor: from a request to a parsed JSON body or an error of errors.py.

Called by client.py. A robot's name and password go with every request, without a cookie jar: Harbor refuses the first
write of a client that sends its `sid` back, since the CSRF token is missing. A user logs in (login.py). Redirects are
not followed, so that credentials never reach an address that an answer names.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from harborhook.clock import ServerClock
from harborhook.foreign_text import clip
from harborhook.harbor import wire_json
from harborhook.harbor.certificates import gateway_advice, tls_error
from harborhook.harbor.errors import (
    SHORTEST_SECRET,
    HarborError,
    NotHarborError,
    ThrottledError,
    TransportError,
    UnreachableError,
    refusal,
)
from harborhook.harbor.http import Client, Fence, Headers, NoAnswerError, Response
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.login import (
    SESSION_COOKIE,
    LoginRefusedError,
    Session,
    briefly,
    cookies_of,
    log_in,
)
from harborhook.harbor.proxies import Proxy, UnusableProxyError, proxy_for
from harborhook.harbor.window import Window
from harborhook.headers import basic
from harborhook.tls import TLSOptions, failure_of

BASE_PATH = "/api/v2.0"
BODY_LIMIT = 16 * 1024 * 1024
"""Maximum bytes read of an answer: 16 MiB, several thousand policies in one page."""

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds without a received byte."""
TOTAL_TIMEOUT = 60.0
"""Seconds for a whole exchange, so that an answer that trickles in ends too."""

LOG_OUT_TIMEOUT = 5.0

CONFIRM_AFTER = 2.0
"""Seconds before a 401 is confirmed. Harbor takes 1.6 s to check a wrong password, and meanwhile refuses the right one
for the same user too."""

THROTTLED_TRIES = 3
THROTTLED_PAUSE = 5.0
"""Seconds to wait after a 429 without Retry-After."""
THROTTLED_LIMIT = 60.0
"""Maximum seconds that a request waits for a retry after a 429, and that other requests are held back."""

CHECK_URL = "check that url is Harbor's own address without a path"

_FAILURES = (NoAnswerError, TimeoutError, UnicodeError)
"""Failures without an answer: TimeoutError after the time for a whole exchange, UnicodeError for a body that is not
text."""


@dataclass(frozen=True)
class Credentials:
    """A robot's or user's name and password; `repr` hides the password."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ***)"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)
    """The parsed JSON, the text of a text/plain answer, or None without a body."""
    size: int = 0
    """Bytes of the body."""


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    endpoint: str
    params: Mapping[str, str | int] | None = None
    body: Any = field(default=None, repr=False)

    @property
    def what(self) -> str:
        return f"{self.method} {BASE_PATH}{self.endpoint}"


@dataclass(frozen=True)
class _Raw:
    status: int
    headers: Headers
    content: bytes


Observer = Callable[[str, str, int], None]
"""Called for each exchange with method, endpoint class such as `/projects/{project}`, and status (0: no answer)."""


class Transport:
    """Sends requests to one Harbor as one robot or user. The constructor raises UnreachableError for an unusable proxy.

    `limiters` are ordered from the narrowest to the widest: the first is this connection's, the others may be shared.
    `on_room` is called when `window` may have become open. `headers` go with every request, for a gateway in front of
    Harbor; their values are secrets.
    """

    def __init__(  # noqa: PLR0913 - a keyword for each part that callers choose, all with defaults
        self,
        url: str,
        credentials: Credentials,
        *,
        tls: TLSOptions | None = None,
        headers: Mapping[str, str] | None = None,
        limiters: tuple[Limiter, ...] = (),
        on_room: Callable[[], None] = lambda: None,
        observer: Observer | None = None,
        fence: Fence | None = None,
        user_agent: str = "harborhook",
        read_timeout: float = READ_TIMEOUT,
        total_timeout: float = TOTAL_TIMEOUT,
        confirm_after: float = CONFIRM_AFTER,
    ) -> None:
        self.url = url.rstrip("/")
        self.clock = ServerClock()
        self.tls = tls or TLSOptions()
        self._credentials = credentials
        self._secrets = _secrets(credentials, (headers or {}).values())
        self.window = Window(limiters, on_room)
        self._observer = observer or (lambda *_: None)
        self._total_timeout = total_timeout
        self._confirm_after = confirm_after
        self._session: Session | None = None
        self._logging_in = asyncio.Lock()
        self._confirming: asyncio.Task[bool] | None = None
        self._authorization = {"Authorization": basic(credentials.username, credentials.password)}
        self._http = Client(
            tls=self.tls.context,
            proxy=self._proxy(),
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            headers={
                **(headers or {}),
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # a compressed kilobyte can expand to a gigabyte
                "X-Is-Resource-Name": "true",
                "User-Agent": user_agent,
            },
            fence=fence,
        )

    def _proxy(self) -> Proxy | None:
        try:
            return proxy_for(self.url, None if self.tls.skip_verify else self.tls.ca)
        except UnusableProxyError as error:
            raise UnreachableError(f"Harbor at {self.url} cannot be reached: {error}.") from None

    @property
    def username(self) -> str:
        return self._credentials.username

    @property
    def authentication(self) -> Literal["Session", "Basic"]:
        return "Session" if self._session else "Basic"

    async def close(self) -> None:
        """Logs out and closes the connections."""
        if self._session is not None:
            with suppress(*_FAILURES):  # otherwise the session expires an hour later
                async with asyncio.timeout(LOG_OUT_TIMEOUT):
                    await briefly(self._http, "GET", f"{self.url}/c/log_out", headers=self._session.headers("GET"))
        await self._http.aclose()

    async def log_in(self) -> bool:
        """Starts a session. Returns False if Harbor refuses one; then credentials still go with every request."""
        try:
            self._session = await self._new_session()
        except LoginRefusedError:
            self._session = None
        return self._session is not None

    async def request(
        self, method: str, path: str, *, endpoint: str, params: Mapping[str, str | int] | None = None, body: Any = None
    ) -> Answer:
        """Sends one request, and repeats it after a 429. Raises an answer of 400 and above as HarborError, and no other
        errors."""
        request = _Request(method, path, endpoint, params, body)
        for tries_left in reversed(range(THROTTLED_TRIES)):
            raw = await self._authenticated(request)
            try:
                return _interpret(raw, request, self._scrubbed)
            except ThrottledError as error:
                pause = error.retry_after if error.retry_after is not None else THROTTLED_PAUSE
                self.window.throttle(min(pause, THROTTLED_LIMIT))
                if not tries_left or pause > THROTTLED_LIMIT:
                    raise
        raise AssertionError("the last try returns or raises")

    # Authentication

    async def _authenticated(self, request: _Request) -> _Raw:
        """Sends a request, and repeats it once if only the session or its token was out of date.

        Repeating is safe: with a dead session or an invalid token, Harbor changes nothing.
        """
        session = self._session
        raw = await self._send(request, session)
        if session is None:
            return raw if raw.status != 401 or await self._is_refused() else await self._send(request, self._session)
        if _wants_token(raw):
            session.renew_token(raw.headers)
            raw = await self._send(request, session)
            if not _wants_token(raw):
                return raw
            self._session = None  # Harbor 2.12.3 refuses every token
            return await self._send(request, None)
        if _is_dead(raw):
            await self._log_in_again(session)
            return (
                await self._authenticated(request)
                if self._session is None
                else await self._send(request, self._session)
            )
        return raw

    async def _log_in_again(self, dead: Session) -> None:
        """Logs in once for all requests that found the session dead. After two refusals in a row Basic authentication
        is used, whose answer states the reason."""
        async with self._logging_in:
            if self._session is not dead:
                return
            if not await self.log_in():
                await asyncio.sleep(self._confirm_after)
                await self.log_in()

    async def _new_session(self) -> Session:
        try:
            async with asyncio.timeout(self._total_timeout):
                return await log_in(self._http, self.url, self._credentials.username, self._credentials.password)
        except _FAILURES as error:
            raise self._transport_error(error) from None

    async def _is_refused(self) -> bool:
        """Whether the credentials caused a 401. One check serves all requests that got one."""
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.create_task(self._ask_who_we_are(), name="confirm a 401")
        return await asyncio.shield(self._confirming)

    async def _ask_who_we_are(self) -> bool:
        await asyncio.sleep(self._confirm_after)
        raw = await self._send(_Request("GET", "/users/current", "/users/current"), None)
        return raw.status == 401

    def _scrubbed(self, said: str) -> str:
        """Masks secrets in an error text: a proxy in front of Harbor may quote the request."""
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return said

    # Sending

    async def _send(self, request: _Request, session: Session | None) -> _Raw:
        """Sends a request, and once more if the connection broke off, except for a POST, which could take effect
        twice."""
        try:
            return await self._exchange(request, session)
        except _FAILURES as error:
            # The other side may close a kept-alive connection just now: Harbor's proxy does so after 1,000 requests.
            if request.method == "POST" or not _broke_off(error):
                raise self._no_answer(request, error) from None
        try:
            return await self._exchange(request, session)
        except _FAILURES as error:
            raise self._no_answer(request, error) from None

    async def _exchange(self, request: _Request, session: Session | None) -> _Raw:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.window.turn())
            await stack.enter_async_context(asyncio.timeout(self._total_timeout))
            headers = session.headers(request.method) if session else self._authorization
            response = await stack.enter_async_context(
                self._http.exchange(
                    request.method,
                    self._address(request),
                    headers=headers if request.body is None else {**headers, "Content-Type": "application/json"},
                    content=None if request.body is None else _encoded(request.body),
                )
            )
            self.clock.hear(response.headers.get("Date"))
            content = await _read(response, request)
        self._observer(request.method, request.endpoint, response.status)
        return _Raw(response.status, response.headers, content)

    def _address(self, request: _Request) -> str:
        query = f"?{urlencode(request.params)}" if request.params else ""
        return f"{self.url}{BASE_PATH}{request.path}{query}"

    def _no_answer(self, request: _Request, error: Exception) -> HarborError:
        self._observer(request.method, request.endpoint, 0)
        found = self._transport_error(error)
        found.request = request.what
        return found

    def _transport_error(self, error: Exception) -> TransportError:
        reason = clip(self._scrubbed(str(error))).rstrip(".") or "no answer in time (TimeoutError)"
        failure = failure_of(error, self.tls)
        if failure is not None:
            return tls_error(self.url, failure, reason)
        return UnreachableError(f"Harbor at {self.url} cannot be reached: {reason}.", broke_off=_broke_off(error))


def _secrets(credentials: Credentials, headers: Iterable[str]) -> list[str]:
    """Returns the secret parts of a request, longest first: masking a part first would leave the rest of the whole
    visible."""
    _, _, token = basic(credentials.username, credentials.password).partition(" ")
    words = [word for value in headers for word in (value, *value.split())]
    secrets = {token, credentials.password, *words}
    return sorted((secret for secret in secrets if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


def _broke_off(error: Exception) -> bool:
    return isinstance(error, NoAnswerError) and error.broke_off


def _encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


async def _read(response: Response, request: _Request) -> bytes:
    _check_encoding(", ".join(response.headers.getall("Content-Encoding", [])), request.what)
    content = bytearray()
    async for chunk in response.chunks():
        content += chunk
        if len(content) > BODY_LIMIT:
            raise NotHarborError(f"{request.what} was answered with more than {BODY_LIMIT} bytes.")
    return bytes(content)


def _check_encoding(encoding: str, what: str) -> None:
    if (encoding or "identity").strip().lower() != "identity":
        raise NotHarborError(
            f"{what} was answered with Content-Encoding {encoding}, which was not requested",
            "a proxy in front of Harbor must not compress answers",
        )


def _wants_token(raw: _Raw) -> bool:
    """Harbor 2.16 answers `CSRF token not found in request`, 2.7 `CSRF token invalid`; both send a new token."""
    return raw.status == 403 and b"CSRF token" in raw.content


def _is_dead(raw: _Raw) -> bool:
    """Answers to a live session never set a new `sid`. Those to a dead one do, even a 200 with reduced content."""
    return raw.status == 401 or SESSION_COOKIE in cookies_of(raw.headers)


def _interpret(raw: _Raw, request: _Request, scrubbed: Callable[[str], str]) -> Answer:
    kind = raw.headers.get("content-type", "").partition(";")[0].strip().lower()
    head = request.method == "HEAD"
    if raw.status < 200:  # 101 to a request for no upgrade, or no status at all: nothing has been done
        raise NotHarborError(f"{request.what} was answered with status {raw.status}", CHECK_URL)
    if 300 <= raw.status < 400:
        raise NotHarborError(
            f"{request.what} was redirected to another address (status {raw.status})",
            "check that url is Harbor's own address without a path, and that no login page stands in front of it",
        )
    if raw.status >= 400:
        code, message = ("", "") if head else _first_error(kind, raw, request.what)
        retry_after = _seconds(raw.headers.get("retry-after"))
        raise refusal(raw.status, scrubbed(code), scrubbed(message), request=request.what, retry_after=retry_after)
    if head:
        return Answer(raw.status, raw.headers, None)
    if not raw.content:
        if request.method == "GET":
            raise NotHarborError(f"{request.what} was answered with an empty body, which Harbor's API never sends.")
        return Answer(raw.status, raw.headers, None)
    return Answer(raw.status, raw.headers, _body(kind, raw.content, request.what), len(raw.content))


def _first_error(kind: str, raw: _Raw, what: str) -> tuple[str, str]:
    """Returns code and message of `{"errors": [{code, message}]}`. Any other body does not come from Harbor's API."""
    try:
        error = wire_json.parse(raw.content)["errors"][0]
        return str(error["code"]), str(error["message"])
    except (ValueError, LookupError, TypeError):
        pass
    if raw.status == 429:  # from a proxy: Harbor itself has no rate limit
        return "TOO_MANY_REQUESTS", "too many requests"
    if raw.status == 413:
        return "TOO_LARGE", "the request is larger than the proxy in front of Harbor accepts"
    if raw.status in (502, 503, 504):
        raise UnreachableError(f"{what} was answered with {raw.status} by a proxy, which got no answer from Harbor.")
    raise NotHarborError(
        f"{what} was answered with {raw.status} and {kind or 'no content type'}, which is not Harbor's API",
        gateway_advice(raw.status, raw.content),
    )


def _body(kind: str, content: bytes, what: str) -> Any:
    if kind == "text/plain":
        return content.decode(errors="replace")
    if kind != "application/json":
        raise NotHarborError(f"{what} was answered with {kind or 'no content type'} instead of JSON", CHECK_URL)
    try:
        return wire_json.parse(content)
    except ValueError:
        raise NotHarborError(f"{what} was answered with broken JSON.") from None


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
