"""One HTTP exchange with Harbor: from a request to a parsed JSON body or an error of errors.py.

No cookie is kept with Basic: a client that sends Harbor's `sid` back is refused its first write for want of a CSRF
token. No redirect is followed, credentials must not travel to wherever an answer points.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from harborhook.harbor.errors import NotHarborError, UnreachableError, UntrustedError, clip, refusal

BASE_PATH = "/api/v2.0"
BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are read: 16 MiB, several thousand policies in one page."""

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0


@dataclass(frozen=True)
class Credentials:
    """A robot's or user's name and password; the password shows in no repr."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ***)"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any
    """The parsed JSON, the text of a text/plain answer, or None without a body."""


Observer = Callable[[str, str, int], None]
"""Told of each exchange: method, endpoint class such as `/projects/{project}`, status (0: no answer)."""


class Transport:
    """Sends requests with Basic credentials to one Harbor."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        verify: ssl.SSLContext | bool = True,
        max_connections: int = 8,
        observer: Observer | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._observer = observer or (lambda *_: None)
        self._http = httpx.AsyncClient(
            base_url=self.url + BASE_PATH,
            auth=httpx.BasicAuth(credentials.username, credentials.password),
            verify=verify,
            follow_redirects=False,
            trust_env=True,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            headers={"Accept": "application/json", "X-Is-Resource-Name": "true", "User-Agent": "harborhook"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def request(
        self, method: str, path: str, *, endpoint: str, params: Mapping[str, str | int] | None = None, body: Any = None
    ) -> Answer:
        """One exchange; an answer of 400 and above is raised. Raises HarborError and nothing else."""
        what = f"{method} {BASE_PATH}{endpoint}"
        try:
            status, headers, content = await self._exchange(method, path, params, body)
        except httpx.HTTPError as error:
            self._observer(method, endpoint, 0)
            raise self._transport_error(error) from None
        self._observer(method, endpoint, status)
        return _interpret(status, headers, content, what=what, head=method == "HEAD")

    async def _exchange(
        self, method: str, path: str, params: Mapping[str, str | int] | None, body: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        async with self._http.stream(method, path, params=params, json=body) as response:
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > BODY_LIMIT:
                    raise httpx.ReadError(f"the answer is longer than {BODY_LIMIT} bytes")
            return response.status_code, response.headers, bytes(content)

    def _transport_error(self, error: httpx.HTTPError) -> UnreachableError | UntrustedError:
        reason = clip(str(error) or type(error).__name__)
        if "CERTIFICATE_VERIFY_FAILED" in reason or "certificate verify failed" in reason:
            return UntrustedError(f"The certificate of {self.url} is not trusted: {reason}.")
        if isinstance(error, httpx.TimeoutException):
            reason = f"no answer in time ({type(error).__name__})"
        return UnreachableError(f"Harbor at {self.url} cannot be reached: {reason}.")


def _interpret(status: int, headers: httpx.Headers, content: bytes, *, what: str, head: bool) -> Answer:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if 300 <= status < 400:
        raise NotHarborError(
            f"{what} was redirected to another address (status {status}): "
            "check that url is Harbor's own address without a path, and that no login page stands in front of it."
        )
    if status >= 400:
        code, message = ("", "") if head else _first_error(kind, content, status, what)
        retry_after = _seconds(headers.get("retry-after"))
        raise refusal(status, code, message, request=what, retry_after=retry_after)
    return Answer(status, headers, None if head or not content else _body(kind, content, what))


def _first_error(kind: str, content: bytes, status: int, what: str) -> tuple[str, str]:
    """Code and message of `{"errors": [{code, message}]}`; anything else was not written by Harbor's API."""
    try:
        error = json.loads(content)["errors"][0]
        return str(error["code"]), str(error["message"])
    except (ValueError, LookupError, TypeError):
        pass
    if status == 429:  # a proxy's: Harbor itself has no rate limit
        return "TOO_MANY_REQUESTS", "too many requests"
    if status == 413:
        return "TOO_LARGE", "the request is larger than the proxy in front of Harbor accepts"
    if status in (502, 503, 504):
        raise UnreachableError(f"Harbor is not up: {what} was answered with {status} by the proxy in front of it.")
    raise NotHarborError(
        f"{what} was answered with {status} and {kind or 'no content type'}, which is not Harbor's API."
    )


def _body(kind: str, content: bytes, what: str) -> Any:
    if kind == "text/plain":
        return content.decode(errors="replace")
    if kind != "application/json":
        raise NotHarborError(
            f"{what} was answered with {kind or 'no content type'} instead of JSON: "
            "check that url is Harbor's own address without a path."
        )
    try:
        return json.loads(content)
    except ValueError:
        raise NotHarborError(f"{what} was answered with broken JSON.") from None


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
