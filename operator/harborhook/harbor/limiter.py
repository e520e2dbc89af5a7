"""Rate limits for requests to one Harbor, shared by all connections to it, of all owners. window.py keeps the callers
few that wait here."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

BURST = 10
"""Requests that may follow each other at once after an idle time."""


class Limiter:
    """Allows `max_concurrent` requests at a time and `per_second` on average, in the order of arrival."""

    def __init__(self, max_concurrent: int, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._free = asyncio.Condition()
        self._next = 0.0
        self.configure(max_concurrent, per_second)

    def configure(self, max_concurrent: int, per_second: float) -> None:
        self._max_concurrent = max_concurrent
        self._per_second = per_second

    @property
    def slots(self) -> int:
        """Returns how many requests may be in progress without waiting a second for their turn."""
        return min(self._max_concurrent, math.ceil(self._per_second))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn and holds it."""
        async with self._free:
            try:
                await self._free.wait_for(lambda: self._running < self._max_concurrent)
            except asyncio.CancelledError:
                self._free.notify()  # the turn that it may just have been given is for the next one
                raise
            self._running += 1
        try:
            await self._wait_for_rate()
            yield
        finally:
            async with self._free:
                self._running -= 1
                self._free.notify(max(0, self._max_concurrent - self._running))  # several after a raised limit

    async def _wait_for_rate(self) -> None:
        now = self._clock()
        spacing = 1.0 / self._per_second
        # The time at which this request would be due at an even rate; early requests may use up the burst.
        self._next = max(self._next, now - (BURST - 1) * spacing) + spacing
        wait = self._next - spacing - now
        if wait > 0:
            await asyncio.sleep(wait)


class Pause:
    """A pause of one connection, requested by Harbor or a proxy in front of it. Other connections continue: a server
    behind one team's connection must not stop those of others."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")

    @property
    def rest(self) -> float:
        """Remaining seconds."""
        return max(0.0, self._until - self._clock())

    def extend(self, seconds: float) -> None:
        self._until = max(self._until, self._clock() + seconds)

    async def over(self) -> None:
        """Returns at the end of the pause."""
        if self.rest:
            await asyncio.sleep(self.rest)
            await self.over()  # unless it was extended meanwhile
