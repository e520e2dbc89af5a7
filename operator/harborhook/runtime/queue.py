"""The keyed work queue: one worker holds a key at a time, what comes meanwhile is done once more afterwards.

A key waits until it is due, with all causes for which it was added: the earliest time and the strongest cause win.
Among the keys that are due, those added for a person's change come before resyncs and polls; the latter age: one that
has waited for its cause's `AGEING` seconds takes precedence over a change that comes in now, so nothing starves.
Connections take precedence over everything: thousands of resources may wait until theirs works again. That is the order
of keys that compete for the same workers; `lanes` gives each connection and each namespace a share of the workers.
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

from harborhook.api.base import AnyKey
from harborhook.api.kinds import CONNECTION_KINDS
from harborhook.runtime.lanes import NO_LIMIT, Entry, Lane, Lanes


class Cause(Flag):
    """Why a key is to be reconciled; several add up. By the cause a reconciler knows what somebody asked for: what
    differs in Harbor although nothing here has changed is drift."""

    CHANGE = auto()
    """The object is new, or its spec, its deletion or a request annotation changed."""
    SECRET = auto()
    """A Secret or ConfigMap that it refers to has another version."""
    SWITCH = auto()
    """A switch over its notifications was turned: the global one, or its project's."""
    PROJECT = auto()
    """Its HarborProject changed."""
    CONNECTION = auto()
    """Its connection changed, stopped working, or works again."""
    CLAIM = auto()
    """Another resource claims the same object in Harbor, or no longer does."""
    DEPENDENT = auto()
    """A resource that depends on it is gone, or has learned something for its status."""
    RETRY = auto()
    """The last visit failed, or asked to come back."""
    RESYNC = auto()
    """A drift check, or the first visit after a start."""
    DELIVERIES = auto()
    """News of its notifications was read: only its status may change."""
    COUNT = auto()
    """The policies of a project are to be counted again: only its status may change."""
    HOLD = auto()
    """A resource is about to make something over a connection, which needs the finalizer for it."""
    POLL = auto()
    """News of notifications is to be read for a Harbor project."""

    NEWS = DELIVERIES | COUNT | HOLD
    """What others have found out or ask for, for which Harbor is not asked."""


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
"""Seconds by which a key that is due lets keys of a stronger cause pass."""

BACKOFF_FIRST = 1.0
BACKOFF_LIMIT = 300.0


@dataclass
class _Waiting:
    """A visit, the taking in of news, or both, each at its own time: news now must not bring forward a drift check that
    is due in ten minutes."""

    visit: tuple[float, Cause] | None = None
    news: tuple[float, Cause] | None = None
    version: int = 0

    @property
    def due(self) -> float:
        return min(waiting[0] for waiting in (self.visit, self.news) if waiting is not None)

    def causes(self, now: float) -> Cause:
        """What is due by now; a visit that is due takes the news with it."""
        news = self.news[1] if self.news is not None else Cause(0)
        if self.visit is None or self.visit[0] > now:
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
    """All times are of `clock`, in seconds."""

    clock: Callable[[], float]
    workers: int = NO_LIMIT
    """How many keys can be held at a time."""
    lane_of: Callable[[AnyKey], Lane] = lambda _: Lane()
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)  # noqa: S311 - no secret
    _waiting: dict[AnyKey, _Waiting] = field(default_factory=dict)
    _later: list[tuple[float, int, AnyKey]] = field(default_factory=list)
    _lanes: Lanes = field(init=False)
    """What is due, and what is held."""
    _closed: bool = False
    _failures: dict[AnyKey, int] = field(default_factory=dict)
    _version: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _watch: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one idle worker that waits for the next key; else each key would wake all of them, for nothing."""

    def __post_init__(self) -> None:
        self._lanes = Lanes(lambda entry: self._is_current(entry.key, entry.version), self.workers)

    def add(self, key: AnyKey, cause: Cause, *, after: float = 0.0) -> None:
        """Lets `key` be visited after so many seconds, or sooner if it already waits for something sooner."""
        waiting = self._waiting.setdefault(key, _Waiting())
        waiting.add(cause, self.clock() + after)
        self._enter(key, waiting)

    def _enter(self, key: AnyKey, waiting: _Waiting) -> None:
        self._version += 1
        waiting.version = self._version
        heapq.heappush(self._later, (waiting.due, self._version, key))
        self._wake.set()

    def retry(self, key: AnyKey, *, limit: float = BACKOFF_LIMIT) -> float:
        """Adds a key whose visit failed: each failure in a row doubles the pause, up to `limit`. Returns the pause."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        doubled = BACKOFF_FIRST * float(2 ** min(failures - 1, 16))
        pause = min(limit, doubled) * (0.75 + self.jitter() / 2)
        self.add(key, Cause.RETRY, after=pause)
        return pause

    def succeeded(self, key: AnyKey) -> None:
        """The next failure of the key starts with a short pause again."""
        self._failures.pop(key, None)

    def drop(self, key: AnyKey) -> None:
        """Forgets a key that is gone."""
        self._waiting.pop(key, None)
        self._failures.pop(key, None)

    def waits(self, key: AnyKey) -> bool:
        """Whether the key is going to be visited again without anything new happening."""
        return key in self._waiting

    def __len__(self) -> int:
        """How many keys are due now, those among them that a worker still holds for an earlier visit."""
        now = self.clock()
        return sum(waiting.due <= now for waiting in self._waiting.values())

    def holds(self, key: AnyKey) -> bool:
        """Whether a worker is at it."""
        return key in self._lanes.held

    @property
    def held(self) -> int:
        return len(self._lanes.held)

    @property
    def age(self) -> float:
        """For how many seconds the key that has been due longest has waited for a worker; 0 if none waits."""
        now = self.clock()
        return max((now - waiting.due for waiting in self._waiting.values() if waiting.due <= now), default=0.0)

    async def get(self) -> tuple[AnyKey, Cause]:
        """The next key to visit and why; the caller holds it until `done`."""
        while True:
            taken = self._take()
            if taken is not None:
                return taken
            async with self._watch:
                # What came while another worker watched is taken at once.
                taken = self._take()
                if taken is not None:
                    return taken
                await self._sleep()

    def done(self, key: AnyKey) -> None:
        self._lanes.leave(key)
        if not self.held:
            self._idle.set()
        if key in self._waiting:  # it was added again meanwhile
            self._enter(key, self._waiting[key])
        elif not self._lanes.is_empty:  # others may have waited for their share of the workers
            self._wake.set()

    async def drain(self) -> None:
        """Hands out nothing any more, and returns when no worker holds a key."""
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
        """Why the key is visited now; a visit that is not yet due goes on waiting."""
        waiting = self._waiting.pop(key)
        causes = waiting.causes(self.clock())
        if causes in Cause.NEWS and waiting.visit is not None:
            rest = self._waiting[key] = _Waiting(visit=waiting.visit)
            self._enter(key, rest)
        return causes

    def _ripen(self) -> None:
        """Moves what is due by now from the order of time to its lane."""
        now = self.clock()
        while self._later and self._later[0][0] <= now:
            due, version, key = heapq.heappop(self._later)
            if self._is_current(key, version) and not self.holds(key):  # else when it is done
                self._lanes.enter(self.lane_of(key), Entry(due + self._ageing(key), version, key))

    def _ageing(self, key: AnyKey) -> float:
        if key.kind in CONNECTION_KINDS:
            return -math.inf
        waiting = self._waiting[key]
        return min(AGEING[cause] for cause in waiting.causes(waiting.due))

    def _is_current(self, key: AnyKey, version: int) -> bool:
        waiting = self._waiting.get(key)
        return waiting is not None and waiting.version == version

    async def _sleep(self) -> None:
        """Until something is added or done, or the next key is due."""
        self._wake.clear()
        is_coming = self._later and not self._closed
        pause = max(0.0, self._later[0][0] - self.clock()) if is_coming else None
        # Not asyncio.wait_for, which until Python 3.12 swallows a cancellation that comes together with the wake-up.
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
