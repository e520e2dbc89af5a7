"""Leader election: the operator that holds a Lease works, the others wait.

The leader renews the Lease every `retry_period` seconds. A follower takes the Lease if it is free, or if it has not
changed for `lease_duration` seconds on the follower's clock, so clocks need not agree. The leader stops if it could not
renew the Lease for `renew_deadline` seconds on its own clock, counted from before its last successful request. That
time is shorter, so the leader has stopped before a follower begins.

A process can be paused at any point, so `check` is called right before each write.
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
    """Another operator may be leading: this one must not write any more."""


def since_boot() -> float:
    """Returns seconds on a clock that includes time while the process is stopped and, if there is such a clock, while
    the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


@dataclass
class Leader:
    """`read` returns the Lease or None. `write` creates it, or replaces the version that the body names, and returns
    it. Any exception means that the lease was not acquired or renewed."""

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
    """Another operator was found to hold the lease."""
    _seen: Spec = field(default_factory=dict)
    _seen_at: float = 0.0
    _renewed_at: float | None = None

    @property
    def leads(self) -> bool:
        return self._remaining > 0

    def check(self) -> None:
        """Raises LeadershipLostError. Called right before each write."""
        if not self.leads:
            raise LeadershipLostError("the lease is not held any more")

    async def acquire(self) -> None:
        """Returns once this process holds the lease."""
        while not await self._attempt(self.renew_deadline):
            if _holder(self._seen) and not self.waiting:
                self.waiting = True
                logger.info("Waits: %s leads", _holder(self._seen))
            await asyncio.sleep(self.retry_period)
        self.waiting = False
        logger.info("Leads, as %s", self.identity)

    async def hold(self) -> None:
        """Renews the lease; returns when it is lost."""
        while self.leads:
            await asyncio.sleep(min(self.retry_period, self._remaining))
            if self.leads:
                # Half of the remaining time, so that a request without an answer leaves time for another.
                await self._attempt(min(self.renew_deadline / 2, self._remaining))

    async def release(self, limit: float) -> None:
        """Frees the lease, so that a follower can begin at once. Called once this process can write nothing more."""
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
            logger.info("The lease was not released, so the next leader waits until it expires: %s", _message(error))

    @property
    def _remaining(self) -> float:
        """Returns for how many seconds nobody else can hold the lease, with a margin."""
        if self._renewed_at is None:
            return 0.0
        return self._renewed_at + self.renew_deadline - self.clock()

    async def _attempt(self, limit: float) -> bool:
        """Acquires or renews the lease unless another operator holds it; returns whether this process holds it."""
        # Followers count from when they see the result, which is later.
        started = self.clock()
        try:
            async with asyncio.timeout(limit):
                lease = await self.read()
                if self._is_somebody_elses(lease):
                    self._renewed_at = None
                    return False
                await self.write(self._ours(lease))
        except Exception as error:
            logger.info("The lease was not %s: %s", "renewed" if self.leads else "taken", _message(error))
            return False
        self._renewed_at = started
        return True

    def _is_somebody_elses(self, lease: Body | None) -> bool:
        """Whether another operator holds it and is not known to have stopped. A deleted Lease counts as just renewed:
        its holder may not have noticed the deletion."""
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


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__
