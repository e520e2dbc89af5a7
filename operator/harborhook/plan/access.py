"""Evaluates the restrictions of connections and settings: projects per namespace, hosts of targets, hosts of
Harbors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from harborhook.api.connections import AccessRule


def allows_project(access: Iterable[AccessRule], *, namespace: str, project: str) -> bool:
    """Whether one of the rules allows the namespace the Harbor project. Only `*` and `{namespace}` are special."""
    return any(
        any(matches(pattern, namespace) for pattern in rule.namespaces)
        and any(_project_matches(pattern, namespace, project) for pattern in rule.projects)
        for rule in access
    )


def allows_host(patterns: Sequence[str] | None, address: str) -> bool:
    """Whether a URL's host is allowed; None allows every host. User info, port and case are ignored."""
    if patterns is None:
        return True
    host = host_of(address)
    return host is not None and any(matches(_without_brackets(pattern.lower()), host) for pattern in patterns)


def names_host(patterns: Sequence[str] | None, address: str) -> bool:
    """Whether a URL's host is listed literally; wildcards do not count."""
    host = host_of(address)
    return host is not None and any(_without_brackets(pattern.lower()) == host for pattern in patterns or ())


class ServerOrigin(NamedTuple):
    """Scheme, host and port of a server."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


DEFAULT_PORTS = {"https": 443, "http": 80}


def origin_of(address: str) -> ServerOrigin | None:
    """Returns the origin of a URL, with the scheme's default port if the URL has none; None if the URL is not valid."""
    try:
        parts = urlsplit(address)
        port = parts.port if parts.port is not None else DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return ServerOrigin(parts.scheme, parts.hostname, port) if parts.hostname and port is not None else None


def allows_harbor(patterns: Iterable[str], address: str) -> bool:
    """Whether the setting allowedHarborHosts allows a Harbor's URL. A pattern is a host, in which `*` stands for any
    characters, and optionally a colon with a port or `*`. Without a port it allows the default ports of https and
    http."""
    origin = origin_of(address)
    return origin is not None and any(_is_at(pattern.lower(), origin) for pattern in patterns)


def _is_at(pattern: str, origin: ServerOrigin) -> bool:
    host, port = _split_port(pattern)
    has_port = origin.port == DEFAULT_PORTS.get(origin.scheme) if port is None else matches(port, str(origin.port))
    return has_port and matches(_without_brackets(host), origin.host)


def _split_port(pattern: str) -> tuple[str, str | None]:
    """Splits off the port; that of an IPv6 address follows brackets."""
    host, colon, port = pattern.rpartition(":")
    is_port = colon and (port == "*" or port.isdigit()) and (":" not in host or host.endswith("]"))
    return (host, port) if is_port else (pattern, None)


def host_of(address: str) -> str | None:
    """Returns the host as a URL parser reads it, in lower case; None if the address has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def matches(pattern: str, text: str) -> bool:
    """Matches the whole text; `*` stands for any characters, everything else for itself."""
    return _in_order(pattern.split("*"), text)


def _project_matches(pattern: str, namespace: str, project: str) -> bool:
    """Matches project names; a `*` in the namespace's name is taken literally."""
    return _in_order([part.replace("{namespace}", namespace) for part in pattern.split("*")], project)


def _without_brackets(pattern: str) -> str:
    """A URL puts an IPv6 address in brackets, a list of hosts need not."""
    return pattern.removeprefix("[").removesuffix("]")


def _in_order(parts: Sequence[str], text: str) -> bool:
    """Whether the text consists of these parts in order with anything between them. Linear in time, unlike a regular
    expression."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return text == first
    start, end = len(first), len(text) - len(last)
    if start > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in parts[1:-1]:
        found = text.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return True
