"""Selects the proxy for a host from the variables HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

Reads only what concerns the one host: an unusable proxy or exception for other hosts, such as an IPv6 network in a
NO_PROXY, must not stop the work.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment

from harborhook.headers import basic
from harborhook.tls import TLSOptions

SCHEMES = ("http", "https")
"""Supported schemes of proxies; others would need another library."""


class UnusableProxyError(ValueError):
    """The environment names an unusable proxy; the text is a clause that shows neither the proxy nor the URL."""

    def __init__(self) -> None:
        super().__init__(
            "the environment names a proxy for it that cannot be used. "
            "Let it begin with http:// or https://, or name the host in NO_PROXY"
        )


@dataclass(frozen=True)
class Proxy:
    """A proxy to leave the cluster through."""

    url: str
    """Without user and password."""
    authorization: str | None = field(default=None, repr=False)
    """The value of the header Proxy-Authorization; None without a user."""
    ssl_context: ssl.SSLContext | None = None
    """Verifies the proxy itself; None if it is not reached by TLS."""


def proxy_for(url: str, ca: bytes | None = None) -> Proxy | None:
    """Returns the proxy for a URL; None: direct connection. A proxy that is itself reached by TLS is verified by the
    system's authorities and those in `ca`. Raises UnusableProxyError."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an invalid address, which the request will report
        return None
    proxies = getproxies_environment()
    stated = proxies.get(parts.scheme) or proxies.get("all")
    if not stated or _is_excepted(parts, proxies.get("no", "")):
        return None
    place = _place(stated if "://" in stated else f"http://{stated}")
    return Proxy(
        f"{place.scheme}://{place.netloc.rpartition('@')[2]}",
        _authorization(place),
        TLSOptions(ca=ca).context if place.scheme == "https" else None,
    )


def _place(stated: str) -> SplitResult:
    """The parts of a proxy's URL. Raises UnusableProxyError."""
    try:
        parts = urlsplit(stated)
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # for a port that there cannot be
        usable = False
    if not usable:
        raise UnusableProxyError
    return parts


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None and parts.password is None:
        return None
    return basic(unquote(parts.username or ""), unquote(parts.password or ""))


def _is_excepted(parts: SplitResult, exceptions: str) -> bool:
    host = parts.hostname or ""
    for stated in exceptions.lower().split(","):
        name = stated.strip().removeprefix(".")
        if name == "*" or _is_in(host, name.strip("[]")):
            return True
        if name and any(f".{one}".endswith(f".{name}") for one in (host, parts.netloc.lower())):
            return True
    return False


def _is_in(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:  # a name is in no network
        return False
