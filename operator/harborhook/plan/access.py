"""What a connection allows: which namespaces may declare which projects, which hosts a target may have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from harborhook.api.connections import AccessRule


def allows_project(access: Iterable[AccessRule], *, namespace: str, project: str) -> bool:
    """Whether one of the rules gives the Harbor project to the namespace. Only `*` and `{namespace}` are special."""
    return any(
        any(matches(pattern, namespace) for pattern in rule.namespaces)
        and any(_project_matches(pattern, namespace, project) for pattern in rule.projects)
        for rule in access
    )


def allows_host(patterns: Sequence[str] | None, address: str) -> bool:
    """Whether the host of a URL is one of those allowed; None allows any. User info, port and case do not matter."""
    if patterns is None:
        return True
    host = host_of(address)
    return host is not None and any(matches(_without_brackets(pattern.lower()), host) for pattern in patterns)


def names_host(patterns: Sequence[str] | None, address: str) -> bool:
    """Whether one of those allowed is the host of a URL itself, and no pattern that happens to match it."""
    host = host_of(address)
    return host is not None and any(_without_brackets(pattern.lower()) == host for pattern in patterns or ())


class ServerOrigin(NamedTuple):
    """Where the server of a URL listens, and how it is spoken to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


DEFAULT_PORTS = {"https": 443, "http": 80}


def origin_of(address: str) -> ServerOrigin | None:
    """With the default port of the scheme where the URL names none; None if there cannot be such an address."""
    try:
        parts = urlsplit(address)
        port = parts.port if parts.port is not None else DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return ServerOrigin(parts.scheme, parts.hostname, port) if parts.hostname and port is not None else None


def allows_harbor(patterns: Iterable[str], address: str) -> bool:
    """Whether a URL of a Harbor is one of those that the setting allowedHarborHosts allows: a host with `*` for any
    characters, and behind a colon a port or `*`. Without a port it is the default one of https or http."""
    origin = origin_of(address)
    return origin is not None and any(_is_at(pattern.lower(), origin) for pattern in patterns)


def _is_at(pattern: str, origin: ServerOrigin) -> bool:
    host, port = _split_port(pattern)
    has_port = origin.port == DEFAULT_PORTS.get(origin.scheme) if port is None else matches(port, str(origin.port))
    return has_port and matches(_without_brackets(host), origin.host)


def _split_port(pattern: str) -> tuple[str, str | None]:
    """An IPv6 address has a port only behind brackets."""
    host, colon, port = pattern.rpartition(":")
    is_port = colon and (port == "*" or port.isdigit()) and (":" not in host or host.endswith("]"))
    return (host, port) if is_port else (pattern, None)


def host_of(address: str) -> str | None:
    """The host as a URL parser sees it, in lower case; None if the address has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def matches(pattern: str, text: str) -> bool:
    """Whole-string match in which `*` stands for any characters and all else for itself."""
    return _in_order(pattern.split("*"), text)


def _project_matches(pattern: str, namespace: str, project: str) -> bool:
    """A `*` in the namespace's name, should there ever be one, is no pattern."""
    return _in_order([part.replace("{namespace}", namespace) for part in pattern.split("*")], project)


def _without_brackets(pattern: str) -> str:
    """An IPv6 address is a host without the brackets that it has in a URL."""
    return pattern.removeprefix("[").removesuffix("]")


def _in_order(parts: Sequence[str], text: str) -> bool:
    """Whether the text is these parts with anything between them. Takes no longer for many parts, as a regex would."""
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
