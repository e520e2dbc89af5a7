"""Selects the proxy for a host from the variables HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

httpx reads them too, but for all hosts at once: it fails on a proxy or exception that does not concern this host, above
all on an IPv6 network in NO_PROXY, and it does not support networks. This module evaluates only what concerns the one
host.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

import httpx

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


def proxy_for(url: str, ca: bytes | None = None) -> httpx.Proxy | None:
    """Returns the proxy for a URL; None: direct connection. A proxy reached by TLS is verified by the system's
    authorities and those in `ca`. Raises UnusableProxyError."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an invalid address, which the request will report
        return None
    proxies = getproxies_environment()
    stated = proxies.get(parts.scheme) or proxies.get("all")
    if not stated or _is_excepted(parts, proxies.get("no", "")):
        return None
    try:
        proxy = httpx.Proxy(stated if "://" in stated else f"http://{stated}")
    except (ValueError, httpx.InvalidURL):
        raise UnusableProxyError from None
    if proxy.url.scheme not in SCHEMES or not proxy.url.host:
        raise UnusableProxyError
    if proxy.url.scheme == "https":
        proxy.ssl_context = TLSOptions(ca=ca).context
    return proxy


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
