"""The recorded exchanges with real Harbors in `tests/data`; `python -m contract.record` makes such files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "data"


@dataclass(frozen=True)
class Recording:
    """One exchange: request, caller and answer."""

    number: str
    name: str
    method: str
    path: str
    who: str
    sent_headers: dict[str, str]
    sent_body: Any
    status: int
    headers: dict[str, str]
    cookies: frozenset[str]
    body: Any
    exchange: dict[str, Any] = field(repr=False)
    """The unparsed content of the file."""

    @property
    def id(self) -> str:
        """For the name of the test, and of the file."""
        return f"{self.number}-{self.name}"


def directory_of(version: str) -> Path:
    """Returns the directory with the recordings of a version."""
    return DATA / f"harbor-{version}"


@cache
def load(directory: Path) -> dict[str, Recording]:
    """All recordings of a directory, by number, in the order they were made."""
    files = sorted(directory.glob("[0-9]*.json"))
    return {file.name[:4]: _parse(file) for file in files}


def between(directory: Path, first: str, last: str) -> list[Recording]:
    """A run of recordings."""
    return [recording for number, recording in load(directory).items() if first <= number <= last]


def _parse(file: Path) -> Recording:
    exchange = json.loads(file.read_text())
    request, response = exchange["request"], exchange["response"]
    return Recording(
        number=file.name[:4],
        name=exchange["name"],
        method=request["method"],
        path=request["path"],
        who=request["as"] or "anonymous",
        sent_headers={name.lower(): value for name, value in request["headers"].items()},
        sent_body=request["body"],
        status=response["status"],
        headers={name.lower(): value for name, value in response["headers"].items()},
        cookies=frozenset(response.get("sets_cookies") or ()),
        body=response["body"],
        exchange=exchange,
    )
