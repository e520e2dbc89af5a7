"""Explains TLS failures with Harbor, or with a gateway in front of it, to the administrator of the connection."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from harborhook.foreign_text import clip
from harborhook.harbor.errors import UnreachableError, UntrustedError
from harborhook.harbor.proxies import UnusableProxyError, proxy_for
from harborhook.tls import Failure, TLSOptions, failure_of, reading

TIMEOUT = 5.0
ALERT_TIMEOUT = 1.0
"""Seconds to wait for an alert after a handshake."""
HTTPS_PORT = 443
NAMES_SHOWN = 5
_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}

ADVICE = {
    Failure.UNKNOWN_AUTHORITY: (
        "Name the authority that issued it in the connection's tls.caBundleRef; if that has its root already, the "
        "server leaves out an intermediate certificate."
    ),
    Failure.SELF_SIGNED: "Name the certificate itself in the connection's tls.caBundleRef.",
    Failure.EXPIRED: "Renew it where TLS ends: in Harbor, or in the ingress or load balancer in front of it.",
    Failure.NOT_YET_VALID: "Compare the clock of the operator's node with that of the machine that issued it.",
    Failure.OTHER_NAME: "Use a host in url that it is for, or state its host name in the connection's tls.serverName.",
    Failure.UNACCEPTABLE: "Issue it again.",
    Failure.NOT_TLS: "Check the port in url; a Harbor without TLS has an http:// url and allowInsecureHTTP: true.",
    Failure.OLD_PROTOCOL: "Enable TLS 1.2 or 1.3 in Harbor, or in the gateway in front of it.",
    Failure.HANDSHAKE_REFUSED: (
        "Either they have no cipher in common, or it requires a client certificate: the connection's "
        "tls.clientCertificateRef names one."
    ),
    Failure.CLIENT_CERTIFICATE_REQUIRED: "Name one in the connection's tls.clientCertificateRef.",
    Failure.CLIENT_CERTIFICATE_REFUSED: (
        "Check that the one in the connection's tls.clientCertificateRef is valid, and issued by an authority that "
        "the server accepts."
    ),
    Failure.UNKNOWN_SERVER_NAME: "State a name that it serves in the connection's tls.serverName.",
    Failure.BROKEN_OFF: "Check the port in url, and the gateway in front of Harbor if there is one.",
    Failure.OTHER: "Check the port in url, and the gateway in front of Harbor if there is one.",
}


_SPOKEN_PLAINLY = re.compile(
    rb"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS|speaking plain HTTP to an SSL"
)
"""Answers of nginx, Go's servers and Apache to plain HTTP on a TLS port."""
_CERTIFICATE_WANTED = re.compile(rb"No required SSL certificate was sent|SSL certificate error")
"""nginx's HTTP answer to a missing or rejected client certificate."""


def gateway_advice(status: int, page: bytes) -> str:
    """Returns advice, as a clause, on an error answer of something in front of Harbor."""
    if status == 400 and _SPOKEN_PLAINLY.search(page):
        return "the port in url is for TLS, so url has to begin with https://"
    if status == 400 and _CERTIFICATE_WANTED.search(page):
        return "it requires a client certificate that it accepts: name one in the connection's tls.clientCertificateRef"
    if status in (401, 403):
        return (
            "check that url is Harbor's own address without a path; a gateway in front of it may require a header, "
            "which the connection's headersFrom names"
        )
    return "check that url is Harbor's own address without a path"


def tls_error(url: str, failure: Failure, reason: str) -> UntrustedError | UnreachableError:
    """Returns the error for a failed handshake; `reason` is OpenSSL's own text."""
    said = f" ({reason})" if failure in (Failure.UNACCEPTABLE, Failure.OTHER) else ""
    if failure.is_of_certificate:
        return UntrustedError(
            f"The certificate of {url} is not trusted: {failure.value}{said}. {ADVICE[failure]}", failure
        )
    return UnreachableError(f"Harbor at {url} cannot be reached: {failure.value}{said}. {ADVICE[failure]}")


async def details_of(url: str, failure: Failure, tls: TLSOptions) -> str:
    """Returns a sentence with details of the certificate, such as its issuer; "" if it cannot be read."""
    certificate = await _certificate_of(url, tls)
    if certificate is None:
        return ""
    match failure:
        case Failure.UNKNOWN_AUTHORITY | Failure.SELF_SIGNED:
            return f"The issuer is {certificate.issuer}." if certificate.issuer else ""
        case Failure.EXPIRED if certificate.until < datetime.now(UTC):
            return f"It was valid until {certificate.until:%Y-%m-%d %H:%M} UTC."
        case Failure.EXPIRED:
            return f"It is valid itself; its issuer is {certificate.issuer}."
        case Failure.NOT_YET_VALID:
            return f"It is valid from {certificate.since:%Y-%m-%d %H:%M} UTC on."
        case Failure.OTHER_NAME:
            return f"It is for {_some(certificate.names)}."
    return ""


async def alert_of(url: str, tls: TLSOptions) -> Failure | None:
    """Returns the alert that the server sends after the handshake, if any. A TLS 1.3 server refuses a client
    certificate by such an alert, which is lost if the server closes the connection while a request is being sent."""
    if not _is_direct(url):
        return None
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await _connect(url, tls.context)
        try:
            async with asyncio.timeout(ALERT_TIMEOUT):
                await reader.read(1)
        finally:
            writer.close()
    except ssl.SSLError as error:
        return failure_of(error, tls)
    except (OSError, TimeoutError, ValueError):
        pass
    return None


@dataclass(frozen=True)
class _Certificate:
    """The fields of a server's certificate that messages use."""

    issuer: str
    names: tuple[str, ...]
    since: datetime
    until: datetime


async def _certificate_of(url: str, tls: TLSOptions) -> _Certificate | None:
    """Returns None if it cannot be read. Python parses a certificate only after verifying it. So two connections are
    made: one fetches the certificate, and the other trusts exactly that certificate."""
    if not _is_direct(url):
        return None
    asking = TLSOptions(skip_verify=True, server_name=tls.server_name, client=tls.client)
    try:
        async with asyncio.timeout(TIMEOUT):
            certificate = await _peer(url, asking.context, tls, binary=True)
            parsed = await _peer(url, reading(certificate), tls, binary=False)
        return _Certificate(
            issuer=clip(_distinguished(parsed.get("issuer", ()))),
            names=tuple(clip(name) for _, name in parsed.get("subjectAltName", ())),
            since=_time(parsed["notBefore"]),
            until=_time(parsed["notAfter"]),
        )
    except (OSError, TimeoutError, ValueError, LookupError):
        return None


async def _peer(url: str, context: ssl.SSLContext, tls: TLSOptions, *, binary: bool) -> Any:
    _, writer = await _connect(url, context, tls.server_name)
    try:
        return writer.get_extra_info("ssl_object").getpeercert(binary_form=binary)
    finally:
        writer.close()


async def _connect(
    url: str, context: ssl.SSLContext, server_name: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return await asyncio.open_connection(
        host, parts.port or HTTPS_PORT, ssl=context, server_hostname=server_name or host
    )


def _is_direct(url: str) -> bool:
    """Whether no proxy is in the way, which would need another kind of connection."""
    try:
        return url.startswith("https://") and proxy_for(url) is None
    except UnusableProxyError:
        return False


def _distinguished(name: Any) -> str:
    pairs = [pair for part in name for pair in part]
    return ", ".join(f"{_SHORT.get(key, key)}={value}" for key, value in pairs)


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _some(names: tuple[str, ...]) -> str:
    if not names:
        return "no host name at all"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
