"""What time it is for a server, by the Date headers of its answers.

Times that Harbor and Kubernetes state are compared with their own clocks, never with ours: nothing may look an hour old
because a clock differs from theirs or has just been set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

YEARS = range(2000, 3000)
"""In which a clock may be; beyond them nobody could count on from it, nor back."""

TOLERANCE = timedelta(seconds=5)
"""By how much an answer may be late without setting the clock back: it waits on its way and until it is read."""


class ServerClock:
    """Set by every answer, it goes on by the monotonic clock in between. Until the first one it is our own clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard: tuple[datetime, float] | None = None

    def hear(self, date: str | None) -> None:
        """Takes a Date header, which has whole seconds; ignores what is none."""
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
    """The time of a Date header; None for what is none. Anything can stand in front of a server and send one."""
    try:
        said = parsedate_to_datetime(date)
    except (ValueError, OverflowError):  # the latter for an offset that no time zone has
        return None
    return said.astimezone(UTC) if said.tzinfo is not None and said.year in YEARS else None
