"""Turns the answers of a Harbor to the requests of recordings into recordings.

The names, ids and addresses of that Harbor become those of the recordings that were played, so that the same scenarios
play the new ones and two versions can be compared file by file. Nothing secret is written: a file that would hold a
password, a secret, a cookie or a token is an error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx

from contract.comparison import NOT_FOUND
from contract.player import Player, set_cookies
from contract.recordings import Recording

_KEPT_HEADERS = ("Content-Type", "Location", "X-Total-Count", "Link", "X-Harbor-Csrf-Token")
_HARBOR = "127.0.0.1:18000"
"""The address of Harbor in recordings."""
_SECRET_KEYS = frozenset({"secret", "access_secret", "robot_token"})
_KINDS = {
    "project_id": "project",
    "registry_id": "registry",
    "policy_id": "policy",
    "vendor_id": "policy",
    "execution_id": "execution",
    "user_id": "user",
    "owner_id": "user",
}
_FIRST_FREE = 900_000
"""Above all recorded ids."""


class LeakError(Exception):
    """A recording would contain a secret."""


class Recorder:
    """Writes one file per recording that a player plays, and collects the differences between the answers."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.differences: dict[str, list[str]] = {}
        self.written: list[Path] = []
        directory.mkdir(parents=True, exist_ok=True)

    def record(self, player: Player, recording: Recording, answer: httpx.Response) -> None:
        """After the player has compared the answer: then it knows the ids in it."""
        self.differences[recording.id] = player.differences[recording.number]
        canonical = _Canonical(player, recording)
        exchange = recording.exchange | {"response": canonical.response(answer)}
        text = json.dumps(exchange, indent=1, ensure_ascii=False) + "\n"
        _check_no_leak(text, player, answer)
        file = self._directory / f"{recording.id}.json"
        file.write_text(text)
        self.written.append(file)


class _Canonical:
    """One answer, with the names and ids of the recordings."""

    def __init__(self, player: Player, recording: Recording) -> None:
        self._recording = recording
        self._suffix = player.mapping.suffix
        self._harbor = httpx.URL(player.harbor.url).netloc.decode()
        self._mapping = player.mapping
        self._inverse = player.mapping.inverse()
        self._kind = player.mapping.kind_of(recording.path)

    def response(self, answer: httpx.Response) -> dict[str, Any]:
        return {
            "status": answer.status_code,
            "headers": self._headers(answer),
            "sets_cookies": sorted(set_cookies(answer)),
            "body": self._body(answer),
            "seconds": round(answer.elapsed.total_seconds(), 3),
        }

    def _headers(self, answer: httpx.Response) -> dict[str, str]:
        return {name: self._header(name, answer.headers[name]) for name in _KEPT_HEADERS if name in answer.headers}

    def _header(self, name: str, value: str) -> str:
        if name == "X-Harbor-Csrf-Token":
            return "<token>"
        if name == "Location":
            recorded = self._recording.headers.get("location", "")
            return self._inverse.path(self._text(value), by_name=len(recorded.split("/")) > 5)
        return self._paths(value) if name == "Link" else value

    def _paths(self, link: str) -> str:
        return re.sub("<([^>]+)>", lambda match: f"<{self._inverse.path(self._text(match[1]), by_name=False)}>", link)

    def _body(self, answer: httpx.Response) -> Any:
        if not answer.content:
            return None
        if not answer.headers.get("content-type", "").startswith("application/json"):
            return self._text(answer.text)
        return self._value("", json.loads(answer.text))

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._value(name, entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [self._value(key, entry) for entry in value]
        if isinstance(value, str):
            return self._string(key, value)
        kind = self._kind if key == "id" else _KINDS.get(key)
        if kind is None or isinstance(value, bool) or not isinstance(value, int):
            return value
        return self._id(kind, value)

    def _string(self, key: str, value: str) -> str:
        if key in _SECRET_KEYS:
            return "<secret>"
        if key == "message":
            missing = NOT_FOUND.fullmatch(value)
            path = self._inverse.path(missing[1], by_name=False) if missing else ""
            value = f"path {path} was not found" if path else self._inverse.message(value, set())
        return self._inverse.name(self._text(value))

    def _text(self, value: str) -> str:
        value = self._inverse.address(value.replace(self._harbor, _HARBOR))
        return value.replace(self._suffix, "") if self._suffix else value

    def _id(self, kind: str, actual: int) -> int:
        """Keeps an id without a recorded counterpart, unless it would then belong to another object."""
        recorded = self._inverse.bound(kind, actual)
        if recorded is None and self._mapping.bound(kind, actual) not in (None, actual):
            recorded = _FIRST_FREE + actual
            self._mapping.bind_id(kind, recorded, actual)
        return actual if recorded is None else recorded


def _check_no_leak(text: str, player: Player, answer: httpx.Response) -> None:
    """The last check: it searches for known secrets anywhere, since Harbor may show them in unexpected places."""
    secrets = player.secrets() | set(set_cookies(answer).values()) | {answer.headers.get("x-harbor-csrf-token", "")}
    for secret in secrets:
        if len(secret) >= 8 and (secret in text or json.dumps(secret, ensure_ascii=False)[1:-1] in text):
            raise LeakError("the answer holds a password, secret, cookie or token in a place where none is known")
