"""Who issued a certificate that is not trusted: the name that an administrator has to look for."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0
HTTPS_PORT = 443
_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}


async def issuer_of(url: str) -> str | None:
    """The issuer of the certificate that the server of a URL shows, as `CN=Corp CA, O=Corp`; None if it cannot be had.

    Python parses a certificate only when it has verified it. The server is therefore asked twice: for the certificate,
    and again with that very certificate as the one that is trusted.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or HTTPS_PORT
    try:
        async with asyncio.timeout(TIMEOUT):
            certificate = await _shown(host, port, _trusting_anything(), binary_form=True)
            parsed = await _shown(host, port, _trusting(certificate), binary_form=False)
    except (OSError, TimeoutError, ValueError):
        return None
    named = [pair for part in parsed.get("issuer", ()) for pair in part]
    return ", ".join(f"{_SHORT.get(name, name)}={value}" for name, value in named) or None


async def _shown(host: str, port: int, context: ssl.SSLContext, *, binary_form: bool) -> Any:
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        return writer.get_extra_info("ssl_object").getpeercert(binary_form=binary_form)
    finally:
        writer.close()


def _trusting_anything() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and what is shown is only told to a person
    return context


def _trusting(certificate: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context
