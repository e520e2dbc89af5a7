"""Leader election: of several operators the one that holds a Lease works, the others wait.

The leader renews the Lease every `retry_period` seconds. An operator that waits takes it when it is free, or when it
has not changed for `lease_duration` seconds by the waiter's own clock, so clocks need not agree. The leader in turn
stops when it could not write it for `renew_deadline` seconds by its own clock, counted from before the last request
that succeeded. That is the shorter time: the leader has stopped before another one can begin.

A process can be paused at any point, so `check` is asked again right before each write.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harborhook.api.names import Body

logger = logging.getLogger(__name__)

Spec = dict[str, Any]


class LeadershipLostError(Exception):
    """Another operator may be working by now: this one must not write any more."""


def since_boot() -> float:
    """Seconds by a clock that also runs while the process is stopped and, where there is such a one, while the machine
    sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


@dataclass
class Leader:
    """`read` gets the Lease or None; `write` makes it or replaces the version that the body names, and returns it.
    Whatever they raise means that the lease was not taken or renewed."""

    identity: str
    namespace: str
    name: str
    read: Callable[[], Awaitable[Body | None]]
    write: Callable[[Body], Awaitable[Body]]
    lease_duration: int = 15
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    clock: Callable[[], float] = since_boot
    waiting: bool = False
    """Somebody else was found to hold the lease."""
    _seen: Spec = field(default_factory=dict)
    _seen_at: float = 0.0
    _renewed_at: float | None = None

    @property
    def leads(self) -> bool:
        return self._remaining > 0

    def check(self) -> None:
        """To be called right before a write. Raises LeadershipLostError."""
        if not self.leads:
            raise LeadershipLostError("the lease is not held any more")

    async def acquire(self) -> None:
        """Returns when the lease is ours."""
        while not await self._attempt(self.renew_deadline):
            if _holder(self._seen) and not self.waiting:
                self.waiting = True
                logger.info("Waits: %s leads", _holder(self._seen))
            await asyncio.sleep(self.retry_period)
        self.waiting = False
        logger.info("Leads, as %s", self.identity)

    async def hold(self) -> None:
        """Keeps the lease ours; returns when it is not any more."""
        while self.leads:
            await asyncio.sleep(min(self.retry_period, self._remaining))
            if self.leads:
                # Half of the time, so that one request without an answer is not the last.
                await self._attempt(min(self.renew_deadline / 2, self._remaining))

    async def release(self, limit: float) -> None:
        """Lets the next one begin at once. To be called when nothing of ours can be written any more."""
        if not self.leads:
            return
        self._renewed_at = None
        try:
            async with asyncio.timeout(limit):
                lease = await self.read()
                if lease is not None and _holder(lease["spec"]) == self.identity:
                    spec = {name: value for name, value in lease["spec"].items() if name != "holderIdentity"}
                    await self.write({**lease, "spec": {**spec, "leaseDurationSeconds": 1, "renewTime": _now()}})
        except Exception as error:
            logger.info("The lease was not released, so the next leader waits until it is over: %s", _said(error))

    @property
    def _remaining(self) -> float:
        """For how many seconds nobody else can have the lease, with a margin."""
        if self._renewed_at is None:
            return 0.0
        return self._renewed_at + self.renew_deadline - self.clock()

    async def _attempt(self, limit: float) -> bool:
        """Takes or renews the lease unless somebody else has it; whether it is ours now."""
        # Others count from when they see the result, which is later.
        started = self.clock()
        try:
            async with asyncio.timeout(limit):
                lease = await self.read()
                if self._is_somebody_elses(lease):
                    self._renewed_at = None
                    return False
                await self.write(self._ours(lease))
        except Exception as error:
            logger.info("The lease was not %s: %s", "renewed" if self.leads else "taken", _said(error))
            return False
        self._renewed_at = started
        return True

    def _is_somebody_elses(self, lease: Body | None) -> bool:
        """Whether another operator holds it and is not known to have stopped. A Lease that somebody has deleted counts
        as just renewed: its holder may not have noticed."""
        spec = lease["spec"] if lease is not None else {**self._seen, "deleted": True}
        if spec != self._seen:
            self._seen, self._seen_at = spec, self.clock()
        holder = _holder(spec)
        if not holder or holder == self.identity:
            return False
        return self.clock() - self._seen_at <= (spec.get("leaseDurationSeconds") or self.lease_duration)

    def _ours(self, lease: Body | None) -> Body:
        before: Spec = lease["spec"] if lease is not None else {}
        changes_hands = _holder(before) != self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.lease_duration,
            "acquireTime": _now() if changes_hands else before.get("acquireTime"),
            "renewTime": _now(),
            "leaseTransitions": (before.get("leaseTransitions") or 0) + (changes_hands and lease is not None),
        }
        metadata = lease["metadata"] if lease is not None else {"namespace": self.namespace, "name": self.name}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _holder(spec: Spec) -> str:
    return str(spec.get("holderIdentity") or "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
