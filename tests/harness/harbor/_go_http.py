"""An HTTP POST as Go's client makes it, down to the wording of its errors, which Harbor's task logs quote.

What it reproduces: redirects (301, 302 and 303 become a GET without body, 307 and 308 post the body again, ten at
most), the headers that survive them (Authorization only to the same host or below it), user information sent as
Basic, a time-out over the whole exchange, and the texts of url.Parse, net.Dial, crypto/tls and net/http.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import functools
import ipaddress
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

import httpx

_REDIRECTS = 10
_USER_AGENT = "Go-http-client/1.1"
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_TIMED_OUT = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
_TIMED_OUT_READING = "context deadline exceeded (Client.Timeout or context cancellation while reading body)"


class RequestError(Exception):
    """The request could not be made at all (``error to generate request``)."""


class SendError(Exception):
    """The request failed on its way (``error to send request``)."""


@dataclass(frozen=True)
class Answer:
    """The final answer; ``read_error`` when its body could not be read to the end."""

    status: int
    body: str = ""
    read_error: str = ""


@dataclass(frozen=True)
class Address:
    """A URL as Go's url.Parse splits it."""

    text: str
    scheme: str
    userinfo: str
    host: str  # as written, with the port
    path: str
    query: str | None

    @property
    def hostname(self) -> str:
        if self.host.startswith("["):
            return self.host[1:].partition("]")[0]
        return self.host.rpartition(":")[0] if ":" in self.host else self.host

    @property
    def port(self) -> int:
        rest = self.host.rpartition("]")[2]
        written = rest.partition(":")[2]
        return int(written) if written else (443 if self.scheme == "https" else 80)

    @property
    def target(self) -> str:
        path = quote(self.path or "/", safe=_PATH_SAFE)
        return path if self.query is None else f"{path}?{quote(self.query, safe=_PATH_SAFE + '?[]{}|^')}"

    @property
    def shown(self) -> str:
        """As errors show it: the password is starred out, everything else is there."""
        if ":" not in self.userinfo:
            return self.text
        return self.text.replace(self.userinfo + "@", self.userinfo.partition(":")[0] + ":***@", 1)


def go_quote(text: str) -> str:
    """Go's %q, near enough for URLs."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def _scheme(text: str) -> tuple[str, str]:
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", text)
    if found:
        return found[1].lower(), text[found.end() :]
    if text.startswith(":"):
        raise RequestError(f"parse {go_quote(text)}: missing protocol scheme")
    return "", text


def parse_address(text: str) -> Address:
    """Split an address as Go does; what Go cannot parse fails with its words (0326, 1104)."""
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        raise RequestError(f"parse {go_quote(text)}: net/url: invalid control character in URL")
    scheme, rest = _scheme(text.partition("#")[0])
    rest, mark, query = rest.partition("?")
    if not rest.startswith("/"):
        if not scheme and ":" in rest.partition("/")[0]:
            raise RequestError(f"parse {go_quote(text)}: first path segment in URL cannot contain colon")
        return Address(text, scheme, "", "", rest, query if mark else None)
    authority, path = "", rest
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, tail = rest[2:].partition("/")
        path = slash + tail
    userinfo, _, host = authority.rpartition("@")
    port = host.rpartition("]")[2].partition(":")[2]
    if port and not port.isdecimal():
        raise RequestError(f"parse {go_quote(text)}: invalid port {go_quote(':' + port)} after host")
    return Address(text, scheme, userinfo, host, path, query if mark else None)


def _is_same_or_below(host: str, parent: str) -> bool:
    """Whether credentials for ``parent`` may follow a redirect to ``host``; ports do not count."""
    host, parent = host.lower(), parent.lower()
    return host == parent or (host.endswith("." + parent) and ":" not in host and "%" not in host)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _causes(inner)
        error = error.__cause__ or error.__context__


def _nameserver() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text().splitlines():
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                return words[1]
    return "127.0.0.1"


async def _dialled(address: Address) -> str:
    """The IP address and port an error names."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.hostname, address.port, type=socket.SOCK_STREAM)
    except OSError:
        return address.host
    ip = str(found[0][4][0])
    return f"[{ip}]:{address.port}" if ":" in ip else f"{ip}:{address.port}"


_DIAL_ERRORS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ENETUNREACH: "network is unreachable",
    errno.EHOSTUNREACH: "no route to host",
    errno.ETIMEDOUT: "connection timed out",
    errno.EADDRNOTAVAIL: "cannot assign requested address",
    errno.EACCES: "permission denied",
}


async def _connect_reason(error: BaseException, address: Address) -> str:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return await _certificate_reason(cause, address)
        if isinstance(cause, ssl.SSLError):
            return "tls: first record does not look like a TLS handshake" if "EOF" not in str(cause) else "EOF"
        if isinstance(cause, socket.gaierror):
            known = cause.errno in {socket.EAI_NONAME, socket.EAI_NODATA}
            reason = "no such host" if known else "server misbehaving"
            return f"dial tcp: lookup {address.hostname} on {_nameserver()}:53: {reason}"
        if isinstance(cause, OSError) and cause.errno in _DIAL_ERRORS:
            return f"dial tcp {await _dialled(address)}: connect: {_DIAL_ERRORS[cause.errno]}"
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return "EOF"
    return "EOF" if isinstance(error, httpx.ConnectError) else f"{error}"


async def _exchange_reason(error: BaseException, address: Address) -> str:
    """What Go says of a connection that broke after it was made (1010: EOF)."""
    for cause in _causes(error):
        if isinstance(cause, ConnectionResetError):
            return f"read tcp {await _dialled(address)}: read: connection reset by peer"
    if "without sending a response" in str(error) or not str(error):
        return "EOF"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"net/http: HTTP/1.x transport connection broken: malformed HTTP response ({error})"
    return f"{error}"


def _trusting() -> ssl.SSLContext:
    """TLS that takes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _peer_certificate(address: Address) -> dict[str, Any]:
    """The certificate the other side shows, read without trusting it."""
    name = address.hostname
    _, writer = await asyncio.open_connection(name, address.port, ssl=_trusting(), server_hostname=name)
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(True)
    finally:
        writer.close()
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(ssl.DER_cert_to_PEM_cert(der))
        file.flush()
        decode: Any = vars(ssl)["_ssl"]._test_decode_cert
        decoded: dict[str, Any] = decode(file.name)
    return decoded


def _name_reason(certificate: dict[str, Any], hostname: str) -> str:
    """Go checks the name before the chain (0999); an empty string when the name is right."""
    names: list[tuple[str, str]] = list(certificate.get("subjectAltName", ()))
    try:
        ip: str | None = str(ipaddress.ip_address(hostname))
    except ValueError:
        ip = None
    mine = [value for kind, value in names if kind == ("IP Address" if ip else "DNS")]
    if ip and not mine:
        return f"cannot validate certificate for {ip} because it doesn't contain any IP SANs"
    if not mine:
        return f"certificate is not valid for any names, but wanted to match {hostname}"
    wildcard = "*." + hostname.partition(".")[2]
    if (ip or hostname.lower()) in [name.lower() for name in mine] or (not ip and wildcard in mine):
        return ""
    return f"certificate is valid for {', '.join(mine)}, not {hostname}"


def _validity_reason(certificate: dict[str, Any]) -> str:
    def shown(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

    now = time.time()
    before, after = (ssl.cert_time_to_seconds(certificate[key]) for key in ("notBefore", "notAfter"))
    if now < before or now > after:
        relation = f"before {shown(before)}" if now < before else f"after {shown(after)}"
        return f"certificate has expired or is not yet valid: current time {shown(now)} is {relation}"
    return ""


async def _certificate_reason(error: ssl.SSLCertVerificationError, address: Address) -> str:
    try:
        certificate = await _peer_certificate(address)
        reason = _validity_reason(certificate) or _name_reason(certificate, address.hostname)
    except (OSError, ValueError, KeyError):
        reason = ""
    return f"tls: failed to verify certificate: x509: {reason or 'certificate signed by unknown authority'}"


class Client:
    """Harbor's two HTTP clients, one that verifies certificates and one that does not."""

    def __init__(self, *, timeout: float | None) -> None:
        self._timeout = timeout
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def choose(self, address: Address, *, skip_cert_verify: bool) -> httpx.AsyncClient:
        """The client for an address. They are made when needed: reading the system's authorities takes a while."""
        verify = address.scheme == "https" and not skip_cert_verify
        if verify not in self._clients:
            context = ssl.create_default_context() if verify else _trusting()
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            self._clients[verify] = httpx.AsyncClient(verify=context, trust_env=False, timeout=None, limits=limits)
        return self._clients[verify]

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    @staticmethod
    def check(address: str) -> None:
        """Raise RequestError when no request can be made for the address."""
        parse_address(address)

    async def post(self, address: str, payload: str, headers: dict[str, str], *, skip_cert_verify: bool) -> Answer:
        """POST and follow redirects; raise RequestError or SendError with Go's words."""
        choose = functools.partial(self.choose, skip_cert_verify=skip_cert_verify)
        call = _Call(choose, parse_address(address), payload.encode(), headers)
        try:
            async with asyncio.timeout(self._timeout):
                return await call.run()
        except TimeoutError:
            if call.status:
                return Answer(call.status, bytes(call.received).decode(errors="replace"), _TIMED_OUT_READING)
            raise SendError(f"Post {go_quote(call.address.shown)}: {_TIMED_OUT}") from None


class _Call:
    """One POST with the redirects that follow from it."""

    def __init__(
        self,
        choose: Callable[[Address], httpx.AsyncClient],
        address: Address,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        self._choose = choose
        self._first = self.address = address
        self._body: bytes | None = body
        self._headers = headers
        self._method = "POST"
        self._strip = False
        self._previous: Address | None = None
        self.status = 0
        self.received = bytearray()

    async def run(self) -> Answer:
        for requests in range(_REDIRECTS + 1):
            location = await self._send()
            if location is None:
                return Answer(self.status, bytes(self.received).decode(errors="replace"))
            if requests + 1 >= _REDIRECTS:
                raise SendError(f"Post {go_quote(location)}: stopped after {_REDIRECTS} redirects")
            self._follow(location)
        raise AssertionError("unreachable")

    def _follow(self, location: str) -> None:
        try:
            base = self.address.text.partition("#")[0]
            target = parse_address(location if "://" in location.partition("?")[0] else urljoin(base, location))
        except RequestError as error:
            shown = go_quote(self.address.shown)
            text = f"failed to parse Location header {go_quote(location)}: {error}"
            raise SendError(f"Post {shown}: {text}") from None
        self._previous, self.address = self.address, target
        if target.host != self._first.host and not _is_same_or_below(target.hostname, self._first.hostname):
            self._strip = True

    def _fail(self, reason: str) -> SendError:
        return SendError(f"Post {go_quote(self.address.shown)}: {reason}")

    def _check(self) -> None:
        """What net/http refuses before it dials (1103, 1105, 0329)."""
        address = self.address
        if address.scheme not in {"http", "https"}:
            raise self._fail(f"unsupported protocol scheme {go_quote(address.scheme)}")
        for name, value in self._headers.items():
            if any((ord(c) < 0x20 and c != "\t") or ord(c) == 0x7F for c in value):
                raise self._fail(f'net/http: invalid header field value for "{name}"')
        if not address.host:
            raise self._fail("http: no Host in request URL")
        if address.port > 65535:
            raise self._fail(f"dial tcp: address {address.port}: invalid port")

    def _request_headers(self) -> list[tuple[bytes, bytes]]:
        host = self.address.host.removesuffix(":")
        headers = {"Host": host, "User-Agent": _USER_AGENT}
        if self._body is not None:
            headers["Content-Length"] = str(len(self._body))
        for name, value in self._headers.items():
            if (name == "Authorization" and self._strip) or (name == "Content-Type" and self._body is None):
                continue
            headers[name] = value.strip()
        if self.address.userinfo and "Authorization" not in headers:
            user, _, password = self.address.userinfo.partition(":")
            pair = f"{unquote(user)}:{unquote(password)}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        if self._previous is not None and (self._previous.scheme, self.address.scheme) != ("https", "http"):
            referer = self._previous.text
            headers["Referer"] = referer.replace(self._previous.userinfo + "@", "", 1)
        headers["Accept-Encoding"] = "gzip"
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    def _request(self) -> httpx.Request:
        address = self.address
        url = httpx.URL(scheme=address.scheme, host=address.hostname, port=address.port, path="/")
        target = address.target.encode()
        headers = self._request_headers()
        return httpx.Request(self._method, url, headers=headers, content=self._body, extensions={"target": target})

    async def _send(self) -> str | None:
        """Send once; the Location to follow, or None when this is the final answer (then status and body are set)."""
        self._check()
        try:
            response = await self._choose(self.address).send(self._request(), stream=True)
        except (httpx.ConnectError, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise self._fail(await _connect_reason(error, self.address)) from None
        except httpx.TransportError as error:
            raise self._fail(await _exchange_reason(error, self.address)) from None
        try:
            return await self._receive(response)
        finally:
            await response.aclose()

    async def _receive(self, response: httpx.Response) -> str | None:
        location = response.headers.get("location", "")
        if location and response.status_code in {301, 302, 303, 307, 308}:
            if response.status_code < 304 and self._method != "GET":
                self._method, self._body = "GET", None
            return str(location)
        self.status = response.status_code
        if not 200 <= self.status < 300:  # Harbor does not read the body of a success
            with contextlib.suppress(httpx.TransportError):
                async for chunk in response.aiter_bytes():
                    self.received += chunk
        return None
