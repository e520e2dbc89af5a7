"""The keyed work queue: only one worker holds a key at a time; changes that arrive meanwhile cause one more visit.

A key waits until it is due, with all causes for which it was added; the earliest time and the strongest cause apply.
Among due keys, those added for a user's change take precedence over resyncs and polls. The latter age: after `AGEING`
seconds of their cause they take precedence over a new change, so none starves. Connections take precedence over
everything, because thousands of resources may wait for theirs. This order applies to keys that compete for the same
workers; `lanes` gives each connection and namespace a share of the workers.

A key also waits while the gate of its lane is closed, which is the limit of its connection. News passes: it needs no
request. When a gate may have opened, its owner calls `wake`.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Flag, auto

from harborhook.api.base import AnyKey, Key
from harborhook.api.kinds import CONNECTION_KINDS
from harborhook.runtime.lanes import NO_LIMIT, Entry, Gate, Lane, Lanes


class Cause(Flag):
    """Why a key is queued; causes add up. They show whether a user asked for a change: a difference in Harbor without
    such a cause is drift."""

    CHANGE = auto()
    """The object is new, or its spec, its deletion or a request annotation changed."""
    SECRET = auto()
    """A Secret or ConfigMap that it refers to has a new version."""
    SWITCH = auto()
    """A switch over its notifications was changed: the global one, or its project's."""
    PROJECT = auto()
    """Its HarborProject changed."""
    CONNECTION = auto()
    """Its connection changed, stopped working, or works again."""
    CLAIM = auto()
    """Another resource claims the same object in Harbor, or no longer does."""
    DEPENDENT = auto()
    """A resource that depends on it was deleted, or has news for its status."""
    RETRY = auto()
    """The last visit failed, or requested another one."""
    RESYNC = auto()
    """A drift check, or the first visit after a start."""
    DELIVERIES = auto()
    """A poll has read news of its notifications: only its status may change."""
    COUNT = auto()
    """The policies of a project have to be counted: only its status may change."""
    HOLD = auto()
    """A resource is about to create something over a connection, which needs the finalizer for it."""
    POLL = auto()
    """A poll of a Harbor project is due."""

    NEWS = DELIVERIES | COUNT | HOLD
    """Findings and requests of other keys, which need no request to Harbor."""


AGEING = {
    Cause.CHANGE: 0.0,
    Cause.SECRET: 1.0,
    Cause.SWITCH: 1.0,
    Cause.PROJECT: 1.0,
    Cause.CONNECTION: 1.0,
    Cause.CLAIM: 1.0,
    Cause.DEPENDENT: 1.0,
    Cause.RETRY: 2.0,
    Cause.DELIVERIES: 5.0,
    Cause.COUNT: 5.0,
    Cause.HOLD: 1.0,
    Cause.POLL: 10.0,
    Cause.RESYNC: 30.0,
}
"""Seconds for which a due key yields to keys with a stronger cause."""

BACKOFF_FIRST = 1.0
BACKOFF_LIMIT = 300.0


@dataclass
class _Waiting:
    """A visit, news to take in, or both, each with its own time: news that is due now must not bring forward a drift
    check that is due in ten minutes."""

    visit: tuple[float, Cause] | None = None
    news: tuple[float, Cause] | None = None
    version: int = 0
    passes: bool = False
    """Whether the key was entered for its news alone, so that no gate holds it back."""

    @property
    def due(self) -> float:
        return min(waiting[0] for waiting in (self.visit, self.news) if waiting is not None)

    def causes(self, now: float) -> Cause:
        """Returns the causes that are due; a visit that is due includes the news."""
        news = self.news[1] if self.news is not None else Cause(0)
        if self.visit is None or self.visit[0] > now or self.passes:
            return news
        return self.visit[1] | news

    def add(self, cause: Cause, due: float) -> None:
        if cause in Cause.NEWS:
            self.news = _sooner(self.news, cause, due)
        else:
            self.visit = _sooner(self.visit, cause, due)


def _sooner(waiting: tuple[float, Cause] | None, cause: Cause, due: float) -> tuple[float, Cause]:
    return (due, cause) if waiting is None else (min(due, waiting[0]), cause | waiting[1])


@dataclass
class Queue:
    """All times are seconds on `clock`."""

    clock: Callable[[], float]
    workers: int = NO_LIMIT
    """Maximum number of keys held at a time."""
    lane_of: Callable[[AnyKey], Lane] = lambda _: Lane()
    gate_of: Callable[[Key], Gate | None] = lambda _: None
    """Returns the gate of a connection that a lane names."""
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)  # noqa: S311 - no secret
    _waiting: dict[AnyKey, _Waiting] = field(default_factory=dict)
    _later: list[tuple[float, int, AnyKey]] = field(default_factory=list)
    _lanes: Lanes = field(init=False)
    """The due keys, and the keys held by workers."""
    _closed: bool = False
    _failures: dict[AnyKey, int] = field(default_factory=dict)
    _version: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _watch: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one idle worker that waits for the next key; otherwise each key would wake all of them for
    nothing."""

    def __post_init__(self) -> None:
        self._lanes = Lanes(
            lambda entry: self._is_current(entry.key, entry.version), self.clock, self.workers, self.gate_of
        )

    def add(self, key: AnyKey, cause: Cause, *, after: float = 0.0) -> None:
        """Schedules a visit of `key` after so many seconds, or sooner if it already waits for an earlier one."""
        waiting = self._waiting.setdefault(key, _Waiting())
        waiting.add(cause, self.clock() + after)
        self._enter(key, waiting)

    def _enter(self, key: AnyKey, waiting: _Waiting) -> None:
        self._version += 1
        waiting.version = self._version
        waiting.passes = False
        heapq.heappush(self._later, (waiting.due, self._version, key))
        if self._later[0][1] == self._version:  # otherwise the idle worker wakes in time anyway
            self._wake.set()

    def retry(self, key: AnyKey, *, limit: float = BACKOFF_LIMIT) -> float:
        """Queues a key whose visit failed: each consecutive failure doubles the pause, up to `limit`. Returns the
        pause."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        doubled = BACKOFF_FIRST * float(2 ** min(failures - 1, 16))
        pause = min(limit, doubled) * (0.75 + self.jitter() / 2)
        self.add(key, Cause.RETRY, after=pause)
        return pause

    def succeeded(self, key: AnyKey) -> None:
        """Resets the pause for the next failure."""
        self._failures.pop(key, None)

    def drop(self, key: AnyKey) -> None:
        """Forgets a deleted key."""
        self._waiting.pop(key, None)
        self._failures.pop(key, None)

    def waits(self, key: AnyKey) -> bool:
        """Whether a visit of the key is scheduled."""
        return key in self._waiting

    def __len__(self) -> int:
        """Number of due keys, including those that a worker still holds for an earlier visit."""
        now = self.clock()
        return sum(waiting.due <= now for waiting in self._waiting.values())

    def holds(self, key: AnyKey) -> bool:
        """Whether a worker holds it."""
        return key in self._lanes.held

    @property
    def held(self) -> int:
        return len(self._lanes.held)

    @property
    def age(self) -> float:
        """Seconds that the key due longest has waited for a worker; 0 if none waits."""
        now = self.clock()
        return max((now - waiting.due for waiting in self._waiting.values() if waiting.due <= now), default=0.0)

    async def get(self) -> tuple[AnyKey, Cause]:
        """Returns the next key and its causes; the caller holds it until `done`."""
        while True:
            taken = self._take()
            if taken is not None:
                return taken
            async with self._watch:
                # A key may have arrived while another worker watched.
                taken = self._take()
                if taken is not None:
                    return taken
                await self._sleep()

    def done(self, key: AnyKey) -> None:
        self._lanes.leave(key)
        if not self.held:
            self._idle.set()
        if key in self._waiting:  # added again meanwhile
            self._enter(key, self._waiting[key])
        elif not self._lanes.is_empty:  # others may wait for this share of the workers
            self._wake.set()

    def wake(self) -> None:
        """Checks again for a key that may run, after a gate may have opened."""
        if not self._lanes.is_empty:
            self._wake.set()

    async def drain(self) -> None:
        """Hands out no more keys, and returns when no worker holds one."""
        self._closed = True
        while self.held:
            self._idle.clear()
            await self._idle.wait()

    def _take(self) -> tuple[AnyKey, Cause] | None:
        if self._closed:
            return None
        self._ripen()
        key = self._lanes.take()
        return None if key is None else (key, self._take_due(key))

    def _take_due(self, key: AnyKey) -> Cause:
        """Returns the causes of this visit; those not yet due keep waiting."""
        waiting = self._waiting.pop(key)
        causes = waiting.causes(self.clock())
        if causes in Cause.NEWS and waiting.visit is not None:
            rest = self._waiting[key] = _Waiting(visit=waiting.visit)
            self._enter(key, rest)
        return causes

    def _ripen(self) -> None:
        """Moves due keys from the order of time to their lanes."""
        now = self.clock()
        while self._later and self._later[0][0] <= now:
            due, version, key = heapq.heappop(self._later)
            if self._is_current(key, version) and not self.holds(key):  # otherwise `done` enters it
                self._lanes.enter(self._lane(key, now), Entry(due + self._ageing(key), version, key))

    def _lane(self, key: AnyKey, now: float) -> Lane:
        lane, waiting = self.lane_of(key), self._waiting[key]
        waiting.passes = lane.gate is not None and waiting.causes(now) in Cause.NEWS
        return lane._replace(gate=None) if waiting.passes else lane

    def _ageing(self, key: AnyKey) -> float:
        if key.kind in CONNECTION_KINDS:
            return -math.inf
        waiting = self._waiting[key]
        return min(AGEING[cause] for cause in waiting.causes(waiting.due))

    def _is_current(self, key: AnyKey, version: int) -> bool:
        waiting = self._waiting.get(key)
        return waiting is not None and waiting.version == version

    async def _sleep(self) -> None:
        """Waits until a key is added or done, or the next one is due."""
        self._wake.clear()
        is_coming = self._later and not self._closed
        pause = max(0.0, self._later[0][0] - self.clock()) if is_coming else None
        # Not asyncio.wait_for, which until Python 3.12 swallows a cancellation that coincides with the wake-up.
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
