"""Tracks a server's time by the Date headers of its answers.

Times from Harbor and Kubernetes are compared with their own clocks, never with ours: nothing may look an hour old
because the clocks differ or one was just set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

YEARS = range(2000, 3000)
"""Years that a Date header may have: date arithmetic stays in range."""

TOLERANCE = timedelta(seconds=5)
"""How late an answer may be without setting the clock back: it takes time to arrive and to be read."""


class ServerClock:
    """Each answer sets it, and the monotonic clock advances it in between. Before the first answer it shows our own
    time."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard: tuple[datetime, float] | None = None

    def hear(self, date: str | None) -> None:
        """Takes in a Date header, in whole seconds; ignores an invalid one."""
        said = _time_in(date or "")
        if said is not None and (self._heard is None or not said <= self.now() <= said + TOLERANCE):
            self._heard = (said, self._monotonic())

    def now(self) -> datetime:
        if self._heard is None:
            return datetime.now(UTC)
        said, when = self._heard
        return said + timedelta(seconds=self._monotonic() - when)


@lru_cache(maxsize=64)  # thousands of answers in a second state the same one
def _time_in(date: str) -> datetime | None:
    """Parses a Date header; returns None if it is invalid, since any server or proxy may send one."""
    try:
        said = parsedate_to_datetime(date)
    except (ValueError, OverflowError):  # OverflowError: an offset that no time zone has
        return None
    return said.astimezone(UTC) if said.tzinfo is not None and said.year in YEARS else None
