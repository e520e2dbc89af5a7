"""An HTTP POST that behaves like Go's client, including the wording of its errors, which Harbor's task logs quote.

It reproduces: redirects (301, 302 and 303 become a GET without body, 307 and 308 post the body again, ten at most), the
headers that survive them (Authorization only to the same host or below it), user information sent as Basic, a time-out
over the whole exchange, and the texts of url.Parse, net.Dial, crypto/tls and net/http.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import functools
import ipaddress
import random
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin

from harness.lazily import lazily

if TYPE_CHECKING:
    import httpx
else:
    httpx = lazily("httpx")  # a quarter of a stand-in's start, and most of them deliver nothing

_REDIRECTS = 10
_USER_AGENT = "Go-http-client/1.1"
_VALID_PATH = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]%/]*")
_ESCAPED_PATH_KEEPS = "$&+,/:;=@-_.~"
_QUERY_KEEPS = "".join(chr(code) for code in range(0x21, 0x7F))
_TIMED_OUT = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
_TIMED_OUT_READING = "context deadline exceeded (Client.Timeout or context cancellation while reading body)"


class RequestError(Exception):
    """The request could not be created (``error to generate request``)."""


class SendError(Exception):
    """The request failed while it was sent (``error to send request``)."""


@dataclass(frozen=True)
class Answer:
    """The final answer; ``read_error`` if its body could not be read to the end."""

    status: int
    body: str = ""
    read_error: str = ""


@dataclass(frozen=True)
class Address:
    """A URL as Go's url.Parse splits it."""

    text: str
    scheme: str
    userinfo: str
    host: str  # with the port
    path: str
    query: str | None
    fragment: str = ""
    opaque: bool = False

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
    def escaped_path(self) -> str:
        """The path as written if that is a valid encoding, otherwise escaped again."""
        if self.opaque or _VALID_PATH.fullmatch(self.path):
            return self.path
        return quote(unquote(self.path), safe=_ESCAPED_PATH_KEEPS)

    @property
    def target(self) -> str:
        path = self.escaped_path or "/"
        return path if self.query is None else f"{path}?{quote(self.query, safe=_QUERY_KEEPS)}"

    def _text(self, userinfo: str) -> str:
        """Returns the URL as Go's URL.String formats it."""
        has_authority = bool(self.scheme or self.host or userinfo)
        slashes = "//" if has_authority and not self.opaque and (self.host or self.path or userinfo) else ""
        start = f"{self.scheme}:" if self.scheme else ""
        query = "" if self.query is None else f"?{self.query}"
        return f"{start}{slashes}{userinfo}{self.host}{self.escaped_path}{query}{self.fragment}"

    @property
    def shown(self) -> str:
        """Returns the form of error messages: only the password is masked."""
        if not self.userinfo:
            return self._text("")
        user, colon, _ = self.userinfo.partition(":")
        return self._text(f"{user}:***@" if colon else f"{user}@")

    @property
    def base(self) -> str:
        """The base of relative redirects; they keep the user information."""
        return self._text(self.userinfo and self.userinfo + "@").partition("#")[0]

    @property
    def referer(self) -> str:
        return self._text("").partition("#")[0]


def go_quote(text: str) -> str:
    """Go's %q, close enough for URLs."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def _scheme(text: str) -> tuple[str, str]:
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", text)
    if found:
        return found[1].lower(), text[found.end() :]
    if text.startswith(":"):
        raise _parse_error(text, "missing protocol scheme")
    return "", text


def _parse_error(text: str, reason: str) -> RequestError:
    return RequestError(f"parse {go_quote(text)}: {reason}")


def _check_escapes(text: str, part: str) -> None:
    if bad := re.search(r"%(?![0-9a-fA-F]{2}).{0,2}", part):
        raise _parse_error(text, f"invalid URL escape {go_quote(bad[0])}")


def _check_host(text: str, host: str) -> None:
    if host.startswith("[") and "]" not in host:
        raise _parse_error(text, "missing ']' in host")
    port = host.rpartition("]")[2].partition(":")[2]
    if port and not port.isdecimal():
        raise _parse_error(text, f"invalid port {go_quote(':' + port)} after host")
    if escape := re.search(r"%.{0,2}", host):
        raise _parse_error(text, f"invalid URL escape {go_quote(escape[0])}")
    if bad := re.search(r"[ \\^`{|}]", host):
        raise _parse_error(text, f"invalid character {go_quote(bad[0])} in host name")


def parse_address(text: str) -> Address:
    """Splits an address as Go does; raises with Go's words for what Go cannot parse (0326, 1104)."""
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        raise _parse_error(text, "net/url: invalid control character in URL")
    before, sign, fragment = text.partition("#")
    scheme, rest = _scheme(before)
    rest, mark, found = rest.partition("?")
    query = found if mark else None
    if not rest.startswith("/"):
        if not scheme and ":" in rest.partition("/")[0]:
            raise _parse_error(text, "first path segment in URL cannot contain colon")
        return Address(text, scheme, "", "", rest, query, sign + fragment, opaque=bool(scheme and rest))
    authority, path = "", rest
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, tail = rest[2:].partition("/")
        path = slash + tail
    userinfo, _, host = authority.rpartition("@")
    _check_host(text, host)
    _check_escapes(text, path)
    return Address(text, scheme, userinfo, host.removesuffix(":"), path, query, sign + fragment)


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
    """Returns the IP address and port that an error names."""
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
            return "EOF" if "EOF" in str(cause) else await _not_tls(address)
        if isinstance(cause, socket.gaierror):
            known = cause.errno in {socket.EAI_NONAME, socket.EAI_NODATA}
            reason = "no such host" if known else "server misbehaving"
            return f"dial tcp: lookup {address.hostname} on {_nameserver()}:53: {reason}"
        if isinstance(cause, ConnectionResetError):
            return await _reset(address)
        if isinstance(cause, OSError) and cause.errno in _DIAL_ERRORS:
            return f"dial tcp {await _dialled(address)}: connect: {_DIAL_ERRORS[cause.errno]}"
    return "EOF" if isinstance(error, httpx.ConnectError) else f"{error}"


async def _reset(address: Address) -> str:
    """The local port is invented, since the real one is no longer known."""
    remote = await _dialled(address)
    local = remote.rpartition(":")[0] if remote.startswith(("127.", "[::1]")) else "10.0.0.1"
    return f"read tcp {local}:{random.randrange(32768, 61000)}->{remote}: read: connection reset by peer"


async def _not_tls(address: Address) -> str:
    """Returns the error for an answer to a TLS greeting that is not TLS; an HTTP answer is named."""
    outgoing = ssl.MemoryBIO()
    greeting = _trusting().wrap_bio(ssl.MemoryBIO(), outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        greeting.do_handshake()
    start = b""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(outgoing.read())
        try:
            start = await reader.readexactly(5)
        finally:
            writer.close()
    if start == b"HTTP/":
        return "http: server gave HTTP response to HTTPS client"
    return "tls: first record does not look like a TLS handshake"


async def _exchange_reason(error: BaseException, address: Address) -> str:
    """Returns Go's text for a connection that broke after it was established (1010: EOF)."""
    if any(isinstance(cause, ConnectionResetError) for cause in _causes(error)):
        return await _reset(address)
    if "without sending a response" in str(error) or not str(error):
        return "EOF"
    line = re.search(r"illegal status line: bytearray\(b['\"](.*)['\"]\)", str(error))
    what = f"malformed HTTP response {go_quote(line[1])}" if line else f"malformed MIME header: {error}"
    return f"net/http: HTTP/1.x transport connection broken: {what}"


def _trusting() -> ssl.SSLContext:
    """Returns a context that accepts every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _peer_certificate(address: Address) -> dict[str, Any]:
    """Returns the peer's certificate, read without trusting it."""
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
    """Returns Go's text for a wrong name, which Go checks before the chain (0999); empty if the name is right."""
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
        self._transports: dict[bool, httpx.AsyncHTTPTransport] = {}

    def choose(self, address: Address, *, skip_cert_verify: bool) -> httpx.AsyncHTTPTransport:
        """Returns the connections for an address, created on demand: reading the system's authorities takes a while.

        It uses a transport, because httpx's clients parse redirects even if they do not follow them.
        """
        verify = address.scheme == "https" and not skip_cert_verify
        if verify not in self._transports:
            context = ssl.create_default_context() if verify else _trusting()
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            self._transports[verify] = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        return self._transports[verify]

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    @staticmethod
    def check(address: str) -> None:
        """Raises RequestError if no request can be created for the address."""
        parse_address(address)

    async def post(self, address: str, payload: str, headers: dict[str, str], *, skip_cert_verify: bool) -> Answer:
        """Posts and follows redirects; raises RequestError or SendError with Go's words."""
        choose = functools.partial(self.choose, skip_cert_verify=skip_cert_verify)
        call = _Call(choose, parse_address(address), payload.encode(), headers)
        choose(call.address)  # before the timeout starts: the first time takes a while
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
        choose: Callable[[Address], httpx.AsyncHTTPTransport],
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
        self._read_error = ""
        self._previous: Address | None = None
        self.status = 0
        self.received = bytearray()

    async def run(self) -> Answer:
        for requests in range(_REDIRECTS + 1):
            location = await self._send()
            if location is None:
                return Answer(self.status, bytes(self.received).decode(errors="replace"), self._read_error)
            if requests + 1 >= _REDIRECTS:
                raise SendError(f"Post {go_quote(location)}: stopped after {_REDIRECTS} redirects")
            self._follow(location)
        raise AssertionError("unreachable")

    def _follow(self, location: str) -> None:
        try:
            base = self.address.base
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
        """Raises for requests that net/http refuses before it connects (1103, 1105, 0329)."""
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
        headers = {"Host": self.address.host, "User-Agent": _USER_AGENT}
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
            headers["Referer"] = self._previous.referer
        headers["Accept-Encoding"] = "gzip"
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    def _request(self) -> httpx.Request:
        address = self.address
        url = httpx.URL(scheme=address.scheme, host=address.hostname, port=address.port, path="/")
        target = address.target.encode()
        headers = self._request_headers()
        return httpx.Request(self._method, url, headers=headers, content=self._body, extensions={"target": target})

    async def _send(self) -> str | None:
        """Sends once; returns the Location to follow, or None for the final answer (then status and body are set)."""
        self._check()
        try:
            response = await self._choose(self.address).handle_async_request(self._request())
        except (httpx.InvalidURL, UnicodeError):
            raise self._fail(f"dial tcp: lookup {self.address.hostname}: no such host") from None
        except httpx.ConnectError as error:
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
            try:
                async for chunk in response.aiter_bytes():
                    self.received += chunk
            except (httpx.TransportError, httpx.DecodingError):
                self._read_error = "unexpected EOF"
        return None
