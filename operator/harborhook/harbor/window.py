"""How many callers may work over one connection at a time, so that few of them wait for its limits.

A caller sends several requests, with other work between them; the operator's callers are its visits, which write to
Kubernetes too. `Window.is_open` says whether one more may begin, and `on_room` is called when that may have become
true. A caller that has begun waits in `Window.turn` for each further request: for the end of a pause, and for the
limiters. About FEW of them wait for a limiter; when a pause begins, all those that have begun wait for its end.

The number of callers adapts to how they use the limits, since Harbor's share of their time varies from nearly none to
all. It starts with one caller for each concurrent request. It grows with answers while no request waits, and shrinks
while more than FEW wait. After a 429, FEW callers find out whether Harbor accepts requests again, and each answer
admits one more, up to one for each concurrent request: a proxy may count requests per minute, and then all callers soon
wait again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from harborhook.harbor.limiter import Limiter, Pause

FEW = 4
"""Requests that may wait for the limiters of a connection: some have to, so that each place is used as soon as it is
free. Also the callers that begin after a pause."""


class Window:
    """Belongs to one connection. Its limiters may be shared with others, whose callers are not counted."""

    def __init__(
        self,
        limiters: Sequence[Limiter] = (),
        on_room: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pause = Pause(clock=clock)
        self._limiters = limiters
        self._on_room = on_room
        self._callers = 0
        self._waiting = 0
        """Requests that wait for the end of a pause or for a limiter."""
        self._sending = 0
        self._answers = 0
        """Answers since the size last grew."""
        self._size = self._slots
        self._is_throttled = False
        """Whether a 429 has come since there were no callers."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_awaited = False
        """Whether a caller was refused since `on_room` was last called: nobody else needs to hear of room."""

    @property
    def is_open(self) -> bool:
        """Whether one more caller may begin."""
        has_room = self._has_room
        self._is_awaited = self._is_awaited or not has_room
        return has_room

    @property
    def _has_room(self) -> bool:
        return self._callers < self._size and not self.pause.rest

    def enter(self) -> None:
        """Counts a caller; it calls `leave` at its end."""
        self._callers += 1

    def leave(self) -> None:
        self._grow()  # callers without requests must not hold up each other
        self._callers -= 1
        if not self._callers:
            self._size = min(self._size, self._slots)
            self._is_throttled = False
        self._notify()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until a request may be sent, and holds its place until it is answered."""
        if self._waiting >= FEW:
            self._size = min(self._size, max(1, self._callers - 1))
        async with AsyncExitStack() as turns:
            self._waiting += 1
            try:
                await turns.enter_async_context(await self._turns())
            finally:
                self._waiting -= 1
            self._sending += 1
            try:
                yield
            finally:
                self._sending -= 1
        self._grow()

    def throttle(self, seconds: float) -> None:
        """Sends nothing for so long, because an answer has asked for it."""
        self.pause.extend(seconds)
        self._size = min(self._size, self._slots, FEW)
        self._is_throttled = True
        if self._timer is None:
            self._wake_after_pause()

    @property
    def _slots(self) -> int:
        return min((limiter.slots for limiter in self._limiters), default=sys.maxsize)

    async def _turns(self) -> AsyncExitStack:
        """Returns a turn of each limiter. A pause that began meanwhile holds these requests back too, and they do not
        keep others from the limiters."""
        while True:
            await self.pause.over()
            async with AsyncExitStack() as turns:
                for limiter in self._limiters:
                    await turns.enter_async_context(limiter.turn())
                if not self.pause.rest:
                    return turns.pop_all()

    def _grow(self) -> None:
        """Takes in an answer: while no request waits, one more caller could be served. If many places are free, it is
        admitted at once; otherwise the present callers may need the place that has become free."""
        if self._callers < self._size or self._waiting or self.pause.rest:
            return
        if self._is_throttled and self._size >= self._slots:
            return
        self._answers += 1
        has_idle_slots = self._size < self._slots or self._sending < self._slots / 2
        if has_idle_slots or self._answers >= self._size:
            self._size += 1
            self._answers = 0
            self._notify()

    def _wake_after_pause(self) -> None:
        self._timer = None
        if self.pause.rest:  # it may have been extended
            self._timer = asyncio.get_running_loop().call_later(self.pause.rest, self._wake_after_pause)
        else:
            self._notify()

    def _notify(self) -> None:
        if self._is_awaited and self._has_room:
            self._is_awaited = False
            self._on_room()
