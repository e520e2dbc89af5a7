"""Live connections to Harbor: the client, and the known state of the Harbor behind it.

reconcile/connection.py creates and updates a link; visits of projects and policies work over it.
"""

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
"""Seconds that requests in flight have before a retired client is closed."""


@dataclass
class SwitchHistory:
    """How often Harbor's own switch was restored after changes by others."""

    set_to: bool | None = None
    """The value that we last set or confirmed; None while nothing is enforced."""
    restored: list[float] = field(default_factory=list)
    """Times at which others had changed it and we restored it."""


@dataclass
class PendingRemoval:
    """An undeclared webhook policy that is going to be removed."""

    announced_at: float
    disabled: bool = False


@dataclass
class UnmanagedPolicies:
    """The undeclared webhook policies, as found by the drift checks of projects."""

    listed_at: dict[Key, float] = field(default_factory=dict)
    """When the policies of a HarborProject were last listed to find undeclared ones."""
    removals: dict[str, dict[int, PendingRemoval]] = field(default_factory=dict)
    """Policies about to be removed, by Harbor project and policy id."""


@dataclass
class Failures:
    """Resources whose requests failed in a way that may mean a lost connection."""

    unexplained: dict[Key, float] = field(default_factory=dict)
    """Resources waiting for a check of the connection, with the time since when."""
    own: set[Key] = field(default_factory=set)
    """Resources whose requests failed before a check that found the connection working."""
    checked_at: float = float("-inf")
    """When the last such check began."""

    def forget(self, key: Key) -> None:
        self.unexplained.pop(key, None)
        self.own.discard(key)


@dataclass(frozen=True)
class Offer:
    """The state that the resources of a connection depend on: a change of it wakes them."""

    verdict: Verdict | None
    notifications_enabled: bool | None
    policies_off: bool
    read_only: bool | None
    generation: int

    @property
    def switch(self) -> tuple[bool | None, bool]:
        """State of the global switch."""
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
    """The inputs of the client (url, credentials, trust): a change requires a new client."""
    wants_session: bool = True
    """Whether to try a login: Harbor has not refused one yet."""
    verdict: Verdict | None = None
    """Why the connection does not work at present; None while it works."""
    failures: Failures = field(default_factory=Failures)
    version: str | None = None
    principal: Principal | None = None
    read_only: bool | None = None
    """Harbor is in read-only mode and refuses writes."""
    supported: Supported | None = None
    """Features of policies that this Harbor supports; read with the first policy."""
    notifications_enabled: bool | None = None
    """Harbor's own switch for all notifications."""
    policies_off: bool = False
    """The global switch is off and is enforced on each policy."""
    switch: SwitchHistory = field(default_factory=SwitchHistory)
    unmanaged: UnmanagedPolicies = field(default_factory=UnmanagedPolicies)
    applied_values: dict[Key, ResolvedTargets] = field(default_factory=dict, repr=False)
    """Addresses and headers last applied for each WebhookPolicy, to detect a changed Secret."""
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
        """Sends new requests through this client; those in flight complete over the former one."""
        retire(self.client)
        self.client = self.readings.client = client
        self.readings.forget()  # another principal may see other projects

    def writing(self, project: str) -> asyncio.Lock:
        """Returns the lock for writes to a project: Harbor answers simultaneous writes to one with 409 and 500."""
        return self._writing[project]

    async def what_is_supported(self, project: str) -> Supported | None:
        """Reads it once per connection and Harbor version; None if the principal may not read it."""
        async with self._asking:
            if self.supported is None:
                try:
                    self.supported = await self.client.supported(project)
                except RefusedError:
                    return None
            return self.supported

    def forget(self, key: Key) -> None:
        """Forgets a deleted resource."""
        self.applied_values.pop(key, None)
        self.mailbox.forget(key)
        self.failures.forget(key)
        self.unmanaged.listed_at.pop(key, None)


def retire(client: HarborClient) -> None:
    """Closes a client once requests in flight have had time to complete."""

    async def close() -> None:
        await asyncio.sleep(CLOSE_AFTER)
        await client.close()

    task = asyncio.create_task(close(), name="close a retired Harbor client")
    _closing[task] = client
    task.add_done_callback(_closing.pop)


def retired_clients() -> list[HarborClient]:
    """Returns the clients that wait to be closed."""
    return list(_closing.values())


_closing: dict[asyncio.Task[None], HarborClient] = {}
