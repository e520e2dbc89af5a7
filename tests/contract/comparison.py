"""Compares an answer with the recorded one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx

from contract.mapping import Mapping
from contract.recordings import Recording

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
_NEVER = "0001-01-01T00:00:00"
_OWN = {
    "current_time", "external_url", "registry_url", "secret", "harbor_version", "expires_at", "payload", "url", "email",
    "job_detail", "digest", "pid", "worker_pool_id",
}  # fmt: skip
"""Values that differ between Harbors; only their types are compared."""
_IDS = {"project_id": "project", "registry_id": "registry", "policy_id": "policy", "vendor_id": "policy"}
_REASON = re.compile(r"exit (?:webhook|slack) job, error: (.*)", re.DOTALL)
NOT_FOUND = re.compile(r"path (\S+) was not found")
_LINKED = re.compile("<([^>]+)>")
_UNORDERED = {"event_type", "access"}
_UNORDERED_METHODS = re.compile(r"method (\w+) is not allowed, but \[([A-Z,]+)\] are")


class Comparison:
    """Compares answers as closely as the Harbor under test allows. `exact` is for a Harbor with only the scenario's
    objects: totals, whole lists and links are compared."""

    def __init__(self, mapping: Mapping, exact: bool) -> None:
        self._mapping = mapping
        self._exact = exact

    def differences(self, recording: Recording, answer: httpx.Response, loose: frozenset[str]) -> list[str]:
        """Returns all differences as text; `loose` names the parts that this recording cannot decide."""
        found = list(self._status_and_headers(recording, answer, loose))
        if "cookies" not in loose:
            found += self._cookies(recording, answer)
        if recording.method != "HEAD" and "body" not in loose:
            found += self._body(recording, answer, loose)
        return found

    def _status_and_headers(self, recording: Recording, answer: httpx.Response, loose: frozenset[str]) -> Iterator[str]:
        if answer.status_code != recording.status:
            yield f"status {answer.status_code}, recorded {recording.status}: {answer.text[:300]}"
        yield from _unequal("Content-Type", answer.headers.get("content-type"), recording.headers.get("content-type"))
        location, found = recording.headers.get("location"), answer.headers.get("location")
        if location is None or found is None:
            yield from _unequal("Location", found, location)
        else:
            yield from _unequal("Location", found, self._mapping.location(location, found))
        for name in ("x-total-count", "link"):
            yield from self._paging(name, recording, answer, loose)
        token = "x-harbor-csrf-token"
        if (token in recording.headers) != (token in answer.headers):
            yield f"{token} {'missing' if token in recording.headers else 'not expected'}"

    def _paging(self, name: str, recording: Recording, answer: httpx.Response, loose: frozenset[str]) -> Iterator[str]:
        expected, found = recording.headers.get(name), answer.headers.get(name)
        if self._exact and "total" not in loose:
            yield from _unequal(name, found, expected and _LINKED.sub(self._linked, expected))
        elif name == "x-total-count" and (expected is None) != (found is None):
            yield f"{name} {found}, recorded {expected}"

    def _linked(self, match: re.Match[str]) -> str:
        return f"<{self._mapping.path(match[1], by_name=False)}>"

    def _cookies(self, recording: Recording, answer: httpx.Response) -> Iterator[str]:
        found = {value.partition("=")[0] for value in answer.headers.get_list("set-cookie")}
        yield from _unequal("Set-Cookie", sorted(found), sorted(recording.cookies))

    def _body(self, recording: Recording, answer: httpx.Response, loose: frozenset[str]) -> Iterator[str]:
        expected = recording.body
        if expected is None:
            if answer.content:
                yield f"body {answer.text[:200]!r}, recorded none"
            return
        kind = answer.headers.get("content-type", "")
        if not kind.startswith("application/json"):
            yield from self._text(str(expected), answer.text, html="html" in kind)
            return
        if not self._exact and recording.path.endswith("/health"):
            yield from _health(expected, json.loads(answer.text))
            return
        names = set(recording.path.partition("?")[0].split("/")) | _names_in(recording.sent_body)
        yield from self._value("", expected, json.loads(answer.text), names, loose)

    def _text(self, expected: str, found: str, html: bool) -> Iterator[str]:
        if html:
            yield from _unequal("HTML", found.lstrip().startswith("<"), expected.lstrip().startswith("<"))
        elif "[INFO]" in expected:
            yield from _unequal("reason", _reason(found), self._mapping.address(_reason(expected)))
        else:
            yield from _unequal("text", found, expected)

    def _value(self, where: str, expected: Any, found: Any, names: set[str], loose: frozenset[str]) -> Iterator[str]:
        if where.rpartition(".")[2] in loose:
            return
        if isinstance(expected, dict) and isinstance(found, dict):
            yield from self._dict(where, expected, found, names, loose)
        elif isinstance(expected, list) and isinstance(found, list):
            yield from self._list(where, expected, found, names, loose)
        elif type(expected) is not type(found):
            yield f"{where}: {found!r}, recorded {expected!r}"
        elif isinstance(expected, str):
            yield from self._string(where, expected, found, names)
        else:
            yield from self._scalar(where, expected, found)

    def _dict(
        self, where: str, expected: dict[str, Any], found: dict[str, Any], names: set[str], loose: frozenset[str]
    ) -> Iterator[str]:
        for key in sorted(expected.keys() ^ found.keys()):
            yield f"{where}.{key}: {'missing' if key in expected else 'not recorded'}"
        for key in expected.keys() & found.keys():
            yield from self._value(f"{where}.{key}", expected[key], found[key], names, loose)

    def _list(
        self, where: str, expected: list[Any], found: list[Any], names: set[str], loose: frozenset[str]
    ) -> Iterator[str]:
        if where.rpartition(".")[2] in _UNORDERED:
            expected, found = sorted(expected, key=_order), sorted(found, key=_order)
        if where == "" and ("total" in loose or not self._exact):
            shapes = {tuple(sorted(row)) for row in expected if isinstance(row, dict)}
            if expected and shapes and not any(tuple(sorted(row)) in shapes for row in found):
                yield f"no row has the keys of a recorded one: {sorted(shapes)}"
            return
        if len(expected) != len(found):
            yield f"{where}: {len(found)} rows, recorded {len(expected)}"
        for at, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from self._value(f"{where}[{at}]", one, other, names, loose)

    def _string(self, where: str, expected: str, found: str, names: set[str]) -> Iterator[str]:
        key = where.rpartition(".")[2]
        if key in _OWN:
            return
        if _TIME.fullmatch(expected):
            if not _TIME.fullmatch(found) or expected.startswith(_NEVER) != found.startswith(_NEVER):
                yield f"{where}: {found}, recorded {expected}"
            return
        wanted = self._mapping.message(expected, names)
        asked = NOT_FOUND.fullmatch(expected)
        if key == "message" and asked and names.issuperset(asked[1].split("/")):
            wanted = f"path {self._mapping.path(asked[1], by_name=False)} was not found"
        if key == "address":
            wanted = self._mapping.address(expected)
        if key in ("name", "project_name", "username", "owner_name", "message"):
            renamed = self._mapping.name(expected)  # a 403 for a system resource contains only the caller's name
            wanted = wanted if key == "message" and renamed == expected else renamed
        if _methods(wanted) != _methods(found):
            yield f"{where}: {found!r}, recorded {wanted!r}"

    def _scalar(self, where: str, expected: Any, found: Any) -> Iterator[str]:
        key = where.rpartition(".")[2]
        if key in _IDS:
            mapped = self._mapping.bound(_IDS[key], expected)
            if mapped is not None and mapped != found:
                yield f"{where}: {found}, recorded {expected} which is {mapped} here"
        elif key not in _OWN and not key.endswith("id") and expected != found:
            yield f"{where}: {found!r}, recorded {expected!r}"


def _health(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """A Harbor may, for example, run without its portal, and then reports itself unhealthy."""
    names = {component["name"] for component in found["components"]}
    for component in expected["components"]:
        if component["name"] not in names:
            yield f"component {component['name']} missing"
    unhealthy = any(component["status"] != "healthy" for component in found["components"])
    yield from _unequal("status", found["status"], "unhealthy" if unhealthy else "healthy")


def _reason(log: str) -> str:
    """Returns the reason in a task's log, or that it was a success."""
    match = _REASON.search(log)
    return match[1] if match else "success" if "success to run" in log else log


def _order(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _methods(text: str) -> Any:
    match = _UNORDERED_METHODS.fullmatch(text)
    return (match[1], sorted(match[2].split(","))) if match else text


def _names_in(body: Any) -> set[str]:
    if not isinstance(body, dict):
        return set()
    return {value for key, value in body.items() if key in ("project_name", "username") and isinstance(value, str)}


def _unequal(what: str, found: Any, expected: Any) -> Iterator[str]:
    if found != expected:
        yield f"{what} {found!r}, recorded {expected!r}"
