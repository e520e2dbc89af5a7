"""Checks the names of headers that a connection adds for a gateway in front of Harbor. Used by the schema and the
commands."""

from __future__ import annotations

import base64
import re

NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]*$"
NAME_LIMIT = 64

RESERVED_PATTERN = (
    "(?i)^(accept|accept-encoding|authorization|connection|content-.*|cookie|expect|host|keep-alive|proxy-.*|te|trailer|"
    "transfer-encoding|upgrade|user-agent|x-harbor-.*|x-is-resource-name)$"
)
"""Headers that HTTP needs, that authenticate the operator, or that Harbor reads. Without the client's own
X-Is-Resource-Name, Harbor would read a numeric project name as an id."""

NAME_RULE = "a header's name has letters, digits, - and _"
RESERVED_RULE = (
    "the operator sets this header itself (Authorization, Cookie, Host, Content-* and others): "
    "let the gateway take a header of another name"
)


def wrong_with(name: str) -> str | None:
    """Returns why a header of this name is not allowed, as a clause; None if it is allowed."""
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > NAME_LIMIT:
        return f"{NAME_RULE}, at most {NAME_LIMIT}"
    return RESERVED_RULE if re.fullmatch(RESERVED_PATTERN, name) else None


def basic(username: str, password: str) -> str:
    """The value of a header Authorization or Proxy-Authorization."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
