"""Settings that tests can change in a running stand-in: the state of its parts, its costs and its faults."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Settings:
    """The settings of `PUT /_standin/settings`; all can be changed while it runs."""

    jobservice: str = "running"
    """running or stopped."""
    core: str = "up"
    """up or down: nginx then answers 502."""
    redis: str = "up"
    database: str = "up"
    portal: str = "up"
    """up, down, or not installed: then `/health` is unhealthy, but the API works."""
    chartmuseum: str = "off"
    """off, up, or down: configured but not reachable (2.7)."""
    latency_ms: float = 0.0
    hash_cost_ms: float = 0.0
    """Duration of checking a user's password; two are computed at a time."""
    row_costs: bool = False
    """Whether lists take as long as measured: 1.2 ms a project, 17 ms a quota, 0.8 ms a last trigger."""
    time_scale: float = 1.0
    wrong_password_seconds: float = 1.5
    """Duration of the answer to a wrong password, before scaling."""
    config_overwrite: bool = False
    """Whether CONFIG_OVERWRITE_JSON is in Harbor's environment."""

    def update(self, values: dict[str, Any]) -> None:
        """Changes some values; an unknown name is an error."""
        for name, value in values.items():
            current = getattr(self, name)
            setattr(self, name, type(current)(value))


@dataclass
class Fault:
    """A fault for matching requests."""

    match: dict[str, str] = field(default_factory=dict)
    """`method` (`PUT|DELETE` for both, `*` for all), and regular expressions to search for: `path` in path and query,
    `body` in the request's body."""
    times: int | None = None
    skip: int = 0
    status: int | None = None
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    html: bool = False
    delay: float = 0.0
    close: bool = False
    """Drops the connection; with `after`, once the request was executed."""
    after: bool = False
    """Executes the request first, then answers with the fault."""
    truncate: bool = False
    empty: bool = False
    endless: bool = False
    redirect: str = ""

    def __post_init__(self) -> None:
        self._path = re.compile(self.match.get("path", ""))
        self._body = re.compile(self.match.get("body", "").encode())

    def takes(self, method: str, target: str, body: bytes) -> bool:
        """Whether this request fails; counts it if it does."""
        methods = self.match.get("method", "*").split("|")
        if "*" not in methods and method not in methods:
            return False
        if not self._path.search(target) or not self._body.search(body):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0
