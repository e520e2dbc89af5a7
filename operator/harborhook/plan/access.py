"""What a connection allows: which namespaces may declare which projects, which hosts a target may have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from harborhook.api.connections import AccessRule


def allows_project(access: Iterable[AccessRule], *, namespace: str, project: str) -> bool:
    """Whether one of the rules gives the Harbor project to the namespace. Only `*` and `{namespace}` are special."""
    return any(
        any(matches(pattern, namespace) for pattern in rule.namespaces)
        and any(matches(pattern.replace("{namespace}", namespace), project) for pattern in rule.projects)
        for rule in access
    )


def allows_host(patterns: Sequence[str] | None, address: str) -> bool:
    """Whether the host of a URL is one of those allowed; None allows any. User info, port and case do not matter."""
    if patterns is None:
        return True
    host = host_of(address)
    return host is not None and any(matches(pattern.lower(), host) for pattern in patterns)


def host_of(address: str) -> str | None:
    """The host as a URL parser sees it, in lower case; None if the address has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def matches(pattern: str, text: str) -> bool:
    """Whole-string match in which `*` stands for any characters and all else for itself."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None
