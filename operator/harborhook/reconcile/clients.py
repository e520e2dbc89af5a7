"""Creates Harbor clients for the operator: with its user agent, fenced, counted, and within the limits of
connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from harborhook.api.connections import AnyConnection, ClusterHarborConnection, Limits
from harborhook.harbor.client import HarborClient
from harborhook.harbor.http import Fence
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.transport import Observer, Transport
from harborhook.plan.access import origin_of
from harborhook.reconcile.breaker import Breaker
from harborhook.reconcile.credentials import Admission


@dataclass
class Clients:
    observer: Observer = lambda *_: None
    """Called for each request."""
    on_room: Callable[[], None] = lambda: None
    """Called when visits over a connection may have room again."""
    fence: Fence | None = None
    """Raises an error once this process must not write any more."""
    user_agent: str = "harborhook"
    _limiters: WeakValueDictionary[str, Limiter] = field(default_factory=WeakValueDictionary)
    """By Harbor's origin, and by HarborConnection. An entry lasts only while a client uses it, since a team can give
    its HarborConnections unlimited names."""

    def make(self, connection: AnyConnection, admission: Admission, breaker: Breaker) -> HarborClient:
        def observe(method: str, endpoint: str, status: int) -> None:
            breaker.observe(method, endpoint, status)
            self.observer(method, endpoint, status)

        return HarborClient(
            Transport(
                connection.spec.url,
                admission.credentials,
                tls=admission.tls,
                headers=dict(admission.headers),
                limiters=self.limit(connection),
                on_room=self.on_room,
                observer=observe,
                fence=self.fence,
                user_agent=self.user_agent,
            )
        )

    def limit(self, connection: AnyConnection) -> tuple[Limiter, ...]:
        """Returns the limiters for a connection with its present limits: that of a HarborConnection, then that of the
        Harbor.

        A Harbor's limits are those of its ClusterHarborConnection: a team's connection cannot raise them. Another port
        of the same host is another server with another limiter, so it cannot slow this one down.
        """
        harbor = str(origin_of(connection.spec.url))
        limits = connection.spec.limits
        if isinstance(connection, ClusterHarborConnection):
            return (self._limiter(harbor, limits),)
        shared = self._limiters.setdefault(harbor, Limiter(*_numbers(Limits())))
        return self._limiter(str(connection.key), limits), shared

    def _limiter(self, name: str, limits: Limits) -> Limiter:
        limiter = self._limiters.setdefault(name, Limiter(*_numbers(limits)))
        limiter.configure(*_numbers(limits))
        return limiter


def _numbers(limits: Limits) -> tuple[int, int]:
    return limits.max_concurrent_requests, limits.requests_per_second
