"""Maps between the names and ids of a recording and those of the Harbor that replays it."""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

_KIND_OF_SEGMENT = {
    "projects": "project",
    "policies": "policy",
    "users": "user",
    "robots": "robot",
    "registries": "registry",
    "members": "member",
    "quotas": "quota",
    "executions": "execution",
    "tasks": "task",
}
_SURELY_FREE = 99999
_NUMBERS = (
    (re.compile(r"(?<=project id:)(\d+)"), "project"),
    (re.compile(r"(?<=project id )(\d+)"), "project"),
    (re.compile(r"(?<=webhook policy id: )(\d+)"), "policy"),
    (re.compile(r"(?<=notificationPolicy )(\d+)"), "policy"),
    (re.compile(r"(?<=of policy )(\d+)"), "policy"),
    (re.compile(r"(?<=in policy )(\d+)"), "policy"),
    (re.compile(r"(?<=^execution )(\d+)"), "execution"),
    (re.compile(r"(?<=not found: execution )(\d+)"), "execution"),
    (re.compile(r"(?<=must be )(\d+)"), "project"),
    (re.compile(r"(?<=for project )(\d+)"), "project"),
    (re.compile(r"(?<=^project )(\d+)(?= not found)"), "project"),
    (re.compile(r"(?<=registry )(\d+)"), "registry"),
    (re.compile(r"(?<=^user )(\d+)"), "user"),
)
_QUERY = (
    (re.compile(r"(?<=reference_id=)(\d+)"), "project"),
    (re.compile(r"(?<=policy_id=)(\d+)"), "policy"),
    (re.compile(r"(?<=scope=/project/)(\d+)"), "project"),
    (re.compile(r"(?<=ProjectID=)(\d+)"), "project"),
)
_NAMED = re.compile(r"(?<=project_name=)([^&]+)|(?<=q=name=)([^&~]+)|(?<=q=name%3D)([^&~]+)")


class Mapping:
    """Returns this Harbor's value for a recorded name or id."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self._names: dict[str, str] = {}
        self._ids: dict[tuple[str, int], int] = {}
        self._addresses: dict[str, str] = {}

    def bind_name(self, recorded: str, actual: str) -> None:
        """Binds a recorded name."""
        self._names[recorded] = actual

    def bind_id(self, kind: str, recorded: int, actual: int) -> None:
        """Binds a recorded id."""
        self._ids[kind, recorded] = actual

    def bind_address(self, recorded: str, actual: str) -> None:
        """Binds a recorded part of URLs; longer ones are replaced first."""
        self._addresses[recorded] = actual
        self._addresses = dict(sorted(self._addresses.items(), key=lambda pair: -len(pair[0])))

    def inverse(self) -> Mapping:
        """Maps names, ids and addresses of this Harbor to the recorded ones."""
        found = Mapping("")
        found._names = {actual: recorded for recorded, actual in self._names.items()}
        found._ids = {(kind, actual): recorded for (kind, recorded), actual in self._ids.items()}
        for recorded, actual in self._addresses.items():
            found.bind_address(actual, recorded)
        return found

    @staticmethod
    def kind_of(path: str) -> str:
        """Returns the kind of the object that a path names, lists or creates."""
        kinds = [_KIND_OF_SEGMENT[part] for part in path.partition("?")[0].split("/") if part in _KIND_OF_SEGMENT]
        return kinds[-1] if kinds else ""

    def address(self, text: str) -> str:
        """A recorded text with this run's addresses."""
        for recorded, actual in self._addresses.items():
            text = text.replace(recorded, actual)
        return text

    def bound(self, kind: str, recorded: int) -> int | None:
        """The id this one stands for, if any."""
        return self._ids.get((kind, recorded))

    def name(self, recorded: str) -> str:
        """Returns the name to use; on a Harbor with other content every name gets a suffix."""
        return self._names.get(recorded, recorded)

    def new_name(self, recorded: str) -> str:
        """Returns the name for an object that is about to be created."""
        if recorded not in self._names and self.suffix and re.fullmatch(r"[a-z0-9._-]{1,200}", recorded):
            self._names[recorded] = recorded + self.suffix
        return self.name(recorded)

    def path(self, path: str, by_name: bool) -> str:
        """A recorded path, with its query, on this Harbor."""
        path, mark, query = path.partition("?")
        segments = path.split("/")
        for at in range(1, len(segments)):
            segments[at] = self._segment(segments[at - 1], segments[at], by_name)
        for pattern, kind in _QUERY:
            query = pattern.sub(partial(self._matched, kind), query)
        query = _NAMED.sub(lambda match: self.name(match[0]), query)
        return "/".join(segments) + mark + query

    def location(self, recorded: str, actual: str) -> str:
        """Returns the expected Location; the object at its end is bound to the real one."""
        segments, found = recorded.split("/"), actual.split("/")
        kind = _KIND_OF_SEGMENT.get(segments[-2], "")
        if segments[-1].isdigit() and found[-1].isdigit():
            self.bind_id(kind, int(segments[-1]), int(found[-1]))
        return self.path(recorded, by_name=len(segments) > 5)

    def unbound(self, path: str, by_name: bool) -> list[str]:
        """Returns ids in a recorded path that are not bound, and may belong to other objects here."""
        segments = path.partition("?")[0].split("/")
        return [
            segment
            for before, segment in pairwise(segments)
            if before in _KIND_OF_SEGMENT
            and segment.isdigit()
            and int(segment) < _SURELY_FREE
            and not (before == "projects" and by_name)
            and self.bound(_KIND_OF_SEGMENT[before], int(segment)) is None
        ]

    def message(self, recorded: str, names: set[str]) -> str:
        """A recorded message with this Harbor's ids, and with its names for those in the request."""
        for pattern, kind in _NUMBERS:
            recorded = pattern.sub(partial(self._matched, kind), recorded)
        for name in names:
            recorded = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", self.name(name), recorded)
        return recorded

    def sent_body(self, path: str, body: Any) -> Any:
        """Translates a recorded request body to this Harbor; an `id` in it is of the object that the path names or
        creates."""
        found = self.body(body)
        if isinstance(found, dict) and isinstance(found.get("id"), int):
            found["id"] = self._ids.get((self.kind_of(path), found["id"]), found["id"])
        return found

    def body(self, value: Any, key: str = "") -> Any:
        """The same, without ids at the top."""
        if isinstance(value, dict):
            return {name: self.body(entry, name) for name, entry in value.items()}
        if isinstance(value, list):
            return [self.body(entry, key) for entry in value]
        if key in ("project_name", "username"):
            return self.new_name(value) if isinstance(value, str) else value
        if key == "address" and isinstance(value, str):
            return self.address(value)
        if key == "email" and isinstance(value, str):
            return value.replace("@", f"{self.suffix}@")
        if key == "namespace":
            return self.name(value)
        if key in ("project_id", "registry_id") and isinstance(value, int):
            return self._ids.get((key.removesuffix("_id"), value), value)
        return value

    def _segment(self, before: str, segment: str, by_name: bool) -> str:
        kind = _KIND_OF_SEGMENT.get(before)
        if kind is None:
            return segment
        if segment.isdigit() and not (kind == "project" and by_name):
            mapped = self.bound(kind, int(segment))
            zeros = segment[: len(segment) - len(segment.lstrip("0"))]
            return segment if mapped is None else zeros + str(mapped)
        if kind != "project":
            return segment
        plain = unquote(segment)
        named = self.name(plain)
        return segment if named == plain else named if plain == segment else f"%{ord(named[0]):02x}{named[1:]}"

    def _matched(self, kind: str, match: re.Match[str]) -> str:
        mapped = self.bound(kind, int(match[0]))
        return match[0] if mapped is None else str(mapped)
