"""Extracts the reason of a failed notification from a log of Harbor's job service, as one line for the status.

The log quotes the address, the payload and the receiver's answer; each may hold a secret. Only the status code or
network error and the host are kept. If an administrator has listed the receiver's host, one short line of its answer is
kept too.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from harborhook.api.connections import AnyConnection, ClusterHarborConnection
from harborhook.api.deliveries import MESSAGE_LIMIT
from harborhook.foreign_text import clip
from harborhook.harbor.errors import SHORTEST_SECRET
from harborhook.plan.access import allows_host, host_of

LOG_GONE = "Harbor no longer has the log with the reason."
LOG_UNREADABLE = "Harbor refuses the log with the reason."
NO_LOGS = "Harbor reports the reason since version 2.8."
NEVER_SENT = "Harbor's job service was not running when this happened: the notification was never sent."
WITHOUT_CAUSE = frozenset({LOG_GONE, LOG_UNREADABLE})

ANSWER_LIMIT = 80
MASK = "***"

_REASON = re.compile(r"^\S+ \[ERROR\] \[[^\]\n]*\]: exit (?:webhook|slack) job, error: ", re.MULTILINE)
_ANSWERED = re.compile(r"abnormal response code: (\d+), body: ?(.*)", re.DOTALL)
_SENDING = re.compile(r'error to (?:send|generate) request: (?:[A-Z][a-z]+ ("(?:[^"\\]|\\.)*"): )?(.*)')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"']*")
_WORD = re.compile(r"[A-Za-z0-9+/=_~-]{8,}")
"""Words long enough to be part of a credential."""
_HARMLESS = re.compile(r'"(?:Authorization|Content-Type|x509: [A-Za-z ,:-]*)"')


@dataclass(frozen=True)
class Receivers:
    """The receivers of a policy, with the secrets to remove from messages; no repr shows them."""

    hosts: frozenset[str] = frozenset()
    quotable: bool = False
    """Whether the receivers' own words may be shown: all their hosts are listed in allowedTargetHosts."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def receivers(connection: AnyConnection, addresses: Sequence[str], headers: Iterable[str]) -> Receivers:
    """Collects hosts and secrets of the targets with these addresses and Authorization values."""
    listed = connection.spec.allowed_target_hosts if isinstance(connection, ClusterHarborConnection) else None
    patterns = [pattern for pattern in listed or [] if pattern != "*"]
    return Receivers(
        hosts=frozenset(host for host in map(host_of, addresses) if host),
        quotable=bool(addresses) and all(allows_host(patterns, address) for address in addresses),
        secrets=frozenset(secrets_of(addresses, headers)),
    )


def reason_of(log: str, receivers: Receivers) -> str:
    """Returns the reason of the last attempt on one line; LOG_GONE if the log has none.

    The first line with a reason counts: Harbor writes a log over an older, longer one, and the old end remains.
    """
    found = _REASON.search(log)
    if found is None:
        return LOG_GONE
    reason = log[found.end() :]
    answered = _ANSWERED.match(reason)
    if answered is not None:
        return clip(_answer(answered[1], answered[2], receivers), MESSAGE_LIMIT)
    return clip(masked(_network_error(reason.partition("\n")[0]), receivers.secrets), MESSAGE_LIMIT)


def _answer(code: str, body: str, receivers: Receivers) -> str:
    who = next(iter(receivers.hosts)) if len(receivers.hosts) == 1 else "the receiver"
    said = _quote(body, receivers.secrets) if receivers.quotable else ""
    return f"{who} answered with status {code}{': ' + said if said else ''}"


def _quote(body: str, secrets: Collection[str]) -> str:
    """Returns the first line of an answer, unless it looks like an echo of the request."""
    first = _without_parts(masked(body.partition("\n")[0], secrets), secrets)
    first = re.split(r"(?i)authorization\b|[{]", first)[0]
    return clip(_QUOTED.sub('"…"', _URL.sub(_host_only, first)), ANSWER_LIMIT)


def _network_error(reason: str) -> str:
    """Returns Go's error with each URL reduced to its host."""
    found = _SENDING.match(reason)
    address, cause = (found[1], found[2]) if found is not None else (None, reason)
    host = _host_and_port(_unquoted(address)) if address else ""
    cause = _URL.sub(_host_only, _QUOTED.sub(_harmless, cause))
    return f"{host}: {cause}" if host else cause


def _harmless(quoted: re.Match[str]) -> str:
    """Keeps a quoted text only if a user cannot have written it."""
    if _HARMLESS.fullmatch(quoted[0]):
        return quoted[0]
    return _host_and_port(_unquoted(quoted[0])) or "…"


def _host_only(url: re.Match[str]) -> str:
    return _host_and_port(url[0]) or "…"


def _host_and_port(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        # An invalid port explains the failure, so it is shown unchanged.
        return parts.netloc.rpartition("@")[2] if parts.scheme and parts.hostname else ""
    except ValueError:
        return ""


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text.removeprefix('"').removesuffix('"'))


# Secrets


def masked(text: str, secrets: Iterable[str]) -> str:
    """Replaces the longest secrets first: replacing a part first would hide the whole from recognition."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _without_parts(text: str, secrets: Iterable[str]) -> str:
    """Removes words that occur in a secret: a receiver may echo the beginning of a header, or change its case."""
    lowered = [secret.lower() for secret in secrets]

    def replaced(word: re.Match[str]) -> str:
        part = word[0].lower()
        return MASK if part not in _SCHEMES and any(part in secret for secret in lowered) else word[0]

    return _WORD.sub(replaced, text)


def secrets_of(addresses: Iterable[str], headers: Iterable[str]) -> Iterator[str]:
    """Yields every part of these addresses and Authorization values that can be a credential, in all spellings."""
    for header in headers:
        yield from _spellings(header)
        for part in header.split():
            yield from _spellings(part)
            yield from _spellings(_decoded(part))
            for half in _decoded(part).split(":"):
                yield from _spellings(half)
    for address in addresses:
        yield from _parts_of(address)


def _parts_of(address: str) -> Iterator[str]:
    """Yields the parts of an address that can be a credential: user info, path and segments, query and its values."""
    try:
        parts = urlsplit(address)
    except ValueError:
        yield address
        return
    user_info = parts.netloc.rpartition("@")[0]
    yield from _spellings(address)
    for secret in (user_info, *user_info.split(":"), parts.path, *parts.path.split("/"), parts.query):
        yield from _spellings(secret)
    for pair in parts.query.split("&"):
        yield from _spellings(pair.rpartition("=")[2])


def _spellings(secret: str) -> Iterator[str]:
    """Yields the spellings in which a receiver may echo a secret: plain, in JSON, in HTML, in a URL."""
    spellings = (
        secret,
        json.dumps(secret)[1:-1],
        html.escape(secret),
        quote(secret),
        quote(secret, ""),
        unquote(secret),
    )
    for spelling in spellings:
        if len(spelling) >= SHORTEST_SECRET and spelling.lower() not in _SCHEMES:
            yield spelling


_SCHEMES = frozenset({"basic", "bearer", "token", "digest", "hook", "hooks", "webhook", "webhooks", "services"})
"""Common words of headers and addresses, which are not secret."""


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
