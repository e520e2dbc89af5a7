"""Harbor's wire models. They are lenient: unknown fields are kept if they must be sent back, and invalid values do not
raise.

`Policy` keeps its raw body, because Harbor's PUT replaces the whole row and clears missing fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harborhook.foreign_text import clip, cut, printable

NEVER_YEAR = 1
"""Harbor encodes "never" as 0001-01-01T00:00:00.000Z."""

KIND_LIMIT = 64
"""Characters kept of a version, a mode, a status or an event type."""
NAME_LIMIT = 256
"""Characters kept of a name: Harbor's own limit."""
KINDS_LIMIT = 64
"""Event types, or payload formats, that are kept; Harbor has 13 and 2."""
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SystemInfo:
    """`GET /systeminfo`. Harbor answers wrong credentials with the reduced answer for anonymous callers."""

    harbor_version: str | None
    read_only: bool | None
    notification_enable: bool | None
    auth_mode: str | None = None
    project_creation: str | None = None
    """Who may create projects: everyone or adminonly; for robots, their permissions decide."""

    @property
    def anonymous(self) -> bool:
        """Whether Harbor did not accept the credentials. The version does not prove it: up to Harbor 2.12 anonymous
        callers see it."""
        return self.notification_enable is None

    @classmethod
    def parse(cls, body: Any) -> SystemInfo:
        fields = mapping(body)
        return cls(
            harbor_version=_shown(fields.get("harbor_version")),
            read_only=_flag(fields.get("read_only")),
            notification_enable=_flag(fields.get("notification_enable")),
            auth_mode=_shown(fields.get("auth_mode")),
            project_creation=_shown(fields.get("project_creation_restriction")),
        )


@dataclass(frozen=True)
class User:
    """`GET /users/current` for a user; Harbor refuses it for robots."""

    username: str
    sysadmin: bool

    @classmethod
    def parse(cls, body: Any) -> User:
        fields = mapping(body)
        return cls(_shown(fields.get("username"), NAME_LIMIT) or "", fields.get("sysadmin_flag") is True)


@dataclass(frozen=True)
class Right:
    """A row of `GET /users/current/permissions` for a project, which is called `.` there."""

    name: str
    """In the form of Harbor's table of permissions: `project:read`."""

    @classmethod
    def parse(cls, body: Any) -> Right | None:
        fields = mapping(body)
        resource, action = _text(fields.get("resource")), _text(fields.get("action"))
        if resource is None or action is None:
            return None
        return cls(f"{'project' if resource == '.' else resource}:{action}")


@dataclass(frozen=True)
class Allowlist:
    """The vulnerabilities that a project ignores, in Harbor's order; `expires_at` in seconds since 1970, None: never.

    Harbor omits the time, or sends null, if there is none.
    """

    items: tuple[str, ...] = ()
    expires_at: int | None = None

    def body(self) -> dict[str, Any]:
        """Returns the body for PUT, which replaces the whole list."""
        body: dict[str, Any] = {"items": [{"cve_id": item} for item in self.items]}
        return body if self.expires_at is None else {**body, "expires_at": self.expires_at}

    @classmethod
    def parse(cls, body: Any) -> Allowlist:
        fields = mapping(body)
        items = (_text(row.get("cve_id")) for row in _rows(fields.get("items")))
        return cls(tuple(item for item in items if item), number(fields.get("expires_at")))


@dataclass(frozen=True)
class Project:
    """A project; `metadata` holds strings, since Harbor stores any text."""

    id: int
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    creation_time: datetime | None = None
    allowlist: Allowlist = field(default_factory=Allowlist)
    registry_id: int | None = None
    """The registry endpoint of a proxy cache; None for an ordinary project."""
    repository_count: int = 0

    @property
    def public(self) -> str:
        """Either "true" or "false", or an invalid value that a client stored."""
        return self.metadata.get("public", "false")

    @classmethod
    def parse(cls, body: Any) -> Project | None:
        fields = mapping(body)
        project_id, name = number(fields.get("project_id")), _text(fields.get("name"))
        if project_id is None or name is None:
            return None
        metadata = {key: str(value) for key, value in mapping(fields.get("metadata")).items()}
        return cls(
            project_id,
            name,
            metadata,
            parse_time(fields.get("creation_time")),
            Allowlist.parse(fields.get("cve_allowlist")),
            number(fields.get("registry_id")) or None,
            number(fields.get("repo_count")) or 0,
        )


@dataclass(frozen=True)
class Quota:
    """The storage quota of a project, in bytes; `hard` is -1 for unlimited. `id` is not the project's."""

    hard: int
    used: int
    id: int | None = None

    @classmethod
    def parse(cls, body: Any) -> Quota | None:
        fields = mapping(body)
        hard = number(mapping(fields.get("hard")).get("storage"))
        if hard is None:
            return None
        used = number(mapping(fields.get("used")).get("storage"))
        return cls(hard, used or 0, number(fields.get("id")))


@dataclass(frozen=True)
class Registry:
    """An endpoint of another registry, the upstream of proxy caches."""

    id: int
    name: str

    @classmethod
    def parse(cls, body: Any) -> Registry | None:
        fields = mapping(body)
        registry_id, name = number(fields.get("id")), _text(fields.get("name"))
        return None if registry_id is None or name is None else cls(registry_id, name)


@dataclass(frozen=True)
class Supported:
    """`GET /projects/{p}/webhook/events`: the event types and formats that this Harbor supports."""

    event_types: frozenset[str]
    payload_formats: frozenset[str]
    """Formats for http targets; empty before Harbor 2.8, which offers no choice."""

    @classmethod
    def parse(cls, body: Any) -> Supported:
        fields = mapping(body)
        formats = [row for row in _rows(fields.get("payload_formats")) if row.get("notify_type") == "http"]
        return cls(
            _kinds(_texts(fields.get("event_type"))),
            _kinds(name for row in formats for name in _texts(row.get("formats"))),
        )


@dataclass(frozen=True)
class Policy:
    """A webhook policy as Harbor returns it. `repr` omits the raw body, which has auth headers in clear."""

    id: int
    project_id: int
    name: str
    creator: str
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def shown_name(self) -> str:
        """The name for statuses and messages, cut to the limit of the API server."""
        return cut(printable(self.name), NAME_LIMIT)

    @property
    def creation_time(self) -> datetime | None:
        return parse_time(self.raw.get("creation_time"))

    @classmethod
    def parse(cls, body: Any) -> Policy | None:
        fields = mapping(body)
        policy_id = number(fields.get("id"))
        if policy_id is None:
            return None
        return cls(
            id=policy_id,
            project_id=number(fields.get("project_id")) or 0,
            name=_text(fields.get("name")) or "",
            creator=_text(fields.get("creator")) or "",
            raw=fields,
        )


@dataclass(frozen=True)
class LastTrigger:
    """A row of `GET /projects/{p}/webhook/lasttrigger`: the time of queueing, None for never."""

    policy_name: str
    event_type: str
    time: datetime | None

    @classmethod
    def parse(cls, body: Any) -> LastTrigger | None:
        fields = mapping(body)
        name, event_type = _text(fields.get("policy_name")), _text(fields.get("event_type"))
        if name is None or event_type is None:
            return None
        return cls(name, word(event_type), parse_time(fields.get("last_trigger_time")))


def parse_time(value: Any) -> datetime | None:
    """Parses RFC 3339 to an aware time; None for "never" and for invalid values."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year > NEVER_YEAR else None


def mapping(value: Any) -> dict[str, Any]:
    """Returns a JSON object; an empty one instead of any other value."""
    return value if isinstance(value, dict) else {}


LARGEST_NUMBER = 2**63 - 1
"""Limit of Harbor's ids and counts, and of integers in a Kubernetes status."""


def number(value: Any) -> int | None:
    """Returns a JSON integer that can be an id or count of Harbor; None for any other value."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -LARGEST_NUMBER <= value <= LARGEST_NUMBER else None


def whole_number(text: str) -> int | None:
    """Parses decimal digits of a header or text; None for any other text, and for thousands of digits."""
    return number(int(text)) if re.fullmatch("[0-9]{1,19}", text) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def word(value: Any) -> str:
    """Returns a status, kind or event type, safe to show; "" if it is not a string."""
    return clip(value, KIND_LIMIT) if isinstance(value, str) else ""


def _shown(value: Any, limit: int = KIND_LIMIT) -> str | None:
    """Returns a text for users only: it is cut, so it must not be used as a key."""
    return clip(value, limit) if isinstance(value, str) else None


def _kinds(names: Iterable[str]) -> frozenset[str]:
    """Returns the first names that can be event types or formats."""
    return frozenset(sorted({name for name in names if _KIND.fullmatch(name)})[:KINDS_LIMIT])


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _rows(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
