"""Live connections to Harbor: the client, and what is known of the Harbor behind it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from harborhook.api.base import Key
from harborhook.api.conditions import Verdict
from harborhook.api.connections import AnyConnection, Principal
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import RefusedError
from harborhook.harbor.models import Supported
from harborhook.plan.target_values import ResolvedTargets
from harborhook.reconcile.breaker import Breaker
from harborhook.reconcile.mailbox import Mailbox
from harborhook.reconcile.readings import SHARED_FOR, Readings

CLOSE_AFTER = 60.0
"""Seconds that requests in flight have to end before a retired client is closed."""


@dataclass
class SwitchHistory:
    """How often Harbor's own switch had to be set against somebody else."""

    set_to: bool | None = None
    """What we last set or found as wanted; None while nothing is enforced."""
    restored: list[float] = field(default_factory=list)
    """When it was changed behind our back and set again."""


@dataclass
class PendingRemoval:
    """A webhook policy that nobody declares and that is going to be removed."""

    announced_at: float
    disabled: bool = False


@dataclass
class UnmanagedPolicies:
    """The webhook policies that nobody declares, as the drift checks of projects follow them."""

    listed_at: dict[Key, float] = field(default_factory=dict)
    """When the policies of a HarborProject were last listed to find them."""
    removals: dict[str, dict[int, PendingRemoval]] = field(default_factory=dict)
    """Those that are about to be removed, by Harbor project and policy id."""


@dataclass
class Failures:
    """Resources whose requests failed as if the connection were lost."""

    unexplained: dict[Key, float] = field(default_factory=dict)
    """Those that wait for a check of the connection, and since when."""
    own: set[Key] = field(default_factory=set)
    """Those whose requests failed before a check that found the connection working."""
    checked_at: float = float("-inf")
    """When the last such check began."""

    def forget(self, key: Key) -> None:
        self.unexplained.pop(key, None)
        self.own.discard(key)


@dataclass(frozen=True)
class Offer:
    """What the resources of a connection depend on: a change of it wakes them."""

    verdict: Verdict | None
    notifications_enabled: bool | None
    policies_off: bool
    read_only: bool | None
    generation: int

    @property
    def switch(self) -> tuple[bool | None, bool]:
        """How the global switch stands."""
        return self.notifications_enabled, self.policies_off


@dataclass
class Link:
    """A connection that has worked at least once in this process."""

    key: Key
    connection: AnyConnection
    client: HarborClient
    readings: Readings
    breaker: Breaker
    mailbox: Mailbox = field(default_factory=Mailbox)
    fingerprint: tuple[object, ...] = field(default=(), repr=False)
    """What the client was made of (url, credentials, trust): a change means a new client."""
    wants_session: bool = True
    """Whether a login is worth trying: Harbor has not refused one yet."""
    verdict: Verdict | None = None
    """Why the connection does not work at the moment; None while it does."""
    failures: Failures = field(default_factory=Failures)
    version: str | None = None
    principal: Principal | None = None
    read_only: bool | None = None
    """Harbor's read-only mode: nothing can be written."""
    supported: Supported | None = None
    """What policies can have in this Harbor; read with the first policy."""
    notifications_enabled: bool | None = None
    """Harbor's own switch for all notifications."""
    policies_off: bool = False
    """The global switch is off and has to be enforced on each policy."""
    switch: SwitchHistory = field(default_factory=SwitchHistory)
    unmanaged: UnmanagedPolicies = field(default_factory=UnmanagedPolicies)
    applied_values: dict[Key, ResolvedTargets] = field(default_factory=dict, repr=False)
    """Addresses and headers that Harbor was last given for each WebhookPolicy, to see whether a Secret has changed."""
    _writing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def over(
        cls,
        connection: AnyConnection,
        client: HarborClient,
        *,
        clock: Callable[[], float],
        shared_for: float = SHARED_FOR,
        breaker: Breaker | None = None,
    ) -> Link:
        return cls(connection.key, connection, client, Readings(client, clock, shared_for), breaker or Breaker(clock))

    @property
    def is_robot(self) -> bool:
        return self.principal is not None and self.principal.kind == "Robot"

    @property
    def offer(self) -> Offer:
        return Offer(
            self.verdict,
            self.notifications_enabled,
            self.policies_off,
            self.read_only,
            self.connection.metadata.generation,
        )

    def replace_client(self, client: HarborClient) -> None:
        """From now on requests go through this client; those in flight end over the one before."""
        retire(self.client)
        self.client = self.readings.client = client
        self.readings.forget()  # another principal may see other projects

    def writing(self, project: str) -> asyncio.Lock:
        """To be held while writing to a project: Harbor answers simultaneous writes to one with 409 and 500."""
        return self._writing[project]

    async def what_is_supported(self, project: str) -> Supported | None:
        """Asked once per connection and Harbor version; None if the principal may not know."""
        async with self._asking:
            if self.supported is None:
                try:
                    self.supported = await self.client.supported(project)
                except RefusedError:
                    return None
            return self.supported

    def forget(self, key: Key) -> None:
        """A resource is gone."""
        self.applied_values.pop(key, None)
        self.mailbox.forget(key)
        self.failures.forget(key)
        self.unmanaged.listed_at.pop(key, None)


def retire(client: HarborClient) -> None:
    """Closes a client that nobody will take any more, when the requests in flight have had time to end."""

    async def close() -> None:
        await asyncio.sleep(CLOSE_AFTER)
        await client.close()

    task = asyncio.create_task(close(), name="close a retired Harbor client")
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
