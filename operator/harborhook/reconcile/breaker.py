"""The circuit breaker of a connection: opens if Harbor answers the connection's own check but times out on other
requests.

While it is open, the connection counts as lost, so that its resources do not occupy workers with requests that get no
answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

LIMIT = 8
"""Consecutive requests without an answer that open the breaker."""
WITHIN = 120.0
"""Seconds within which they have to occur: a single slow request that is retried with pauses does not open it."""
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 600.0
"""Minimum seconds that it stays open; doubled each time it opens again within CALM, up to the second value."""
CALM = 900.0
"""Seconds after which an opening no longer counts."""

CHECKS = frozenset({"/systeminfo", "/users/current"})
"""Endpoints of the connection's own check, which say nothing about other requests."""


class Breaker:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._unanswered: deque[float] = deque(maxlen=LIMIT)
        self._pause = FIRST_PAUSE
        self._opened: float | None = None
        self._closed_at = float("-inf")

    def observe(self, method: str, endpoint: str, status: int) -> None:
        """Counts a request by its status; 0 means no answer. Called by the client for each request."""
        if endpoint in CHECKS:
            return
        if status:
            self._unanswered.clear()
        else:
            self._unanswered.append(self._clock())

    @property
    def is_open(self) -> bool:
        """Whether requests should not be sent; `close` resets it."""
        if self._opened is None and self._has_tripped():
            self._open()
        return self._opened is not None

    @property
    def may_be_tried(self) -> bool:
        """Whether it has been open long enough to send a trial request."""
        return self._opened is not None and self._clock() - self._opened >= self._pause

    def close(self) -> None:
        self._opened, self._closed_at = None, self._clock()
        self._unanswered.clear()

    def _has_tripped(self) -> bool:
        return len(self._unanswered) == LIMIT and self._clock() - self._unanswered[0] <= WITHIN

    def _open(self) -> None:
        self._opened = self._clock()
        is_again = self._opened - self._closed_at < CALM
        self._pause = min(LONGEST_PAUSE, self._pause * 2) if is_again else FIRST_PAUSE
