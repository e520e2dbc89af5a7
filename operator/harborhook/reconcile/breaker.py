"""The breaker of a connection: opens where Harbor answers the connection's own check, but nothing else in time.

While it is open the connection counts as lost, so that its resources do not hold workers in requests without an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

LIMIT = 8
"""Requests in a row without an answer that open the breaker."""
WITHIN = 120.0
"""Seconds in which they have to follow each other: one slow request that is repeated with pauses opens nothing."""
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 600.0
"""Seconds for which it stays open at least; doubled each time that it opens again within CALM."""
CALM = 900.0
"""Seconds after which an opening is forgotten."""

CHECKS = frozenset({"/systeminfo", "/users/current"})
"""The requests of the connection's own check, which say nothing of the others."""


class Breaker:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._unanswered: deque[float] = deque(maxlen=LIMIT)
        self._pause = FIRST_PAUSE
        self._opened: float | None = None
        self._closed_at = float("-inf")

    def observe(self, method: str, endpoint: str, status: int) -> None:
        """Hears of each request; status 0: no answer."""
        if endpoint in CHECKS:
            return
        if status:
            self._unanswered.clear()
        else:
            self._unanswered.append(self._clock())

    @property
    def is_open(self) -> bool:
        """Whether no requests are to be made; `close` ends it."""
        if self._opened is None and self._has_tripped():
            self._open()
        return self._opened is not None

    @property
    def may_be_tried(self) -> bool:
        """Whether it has been open for long enough to find out if requests are answered again."""
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
